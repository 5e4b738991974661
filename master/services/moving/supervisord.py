"""supervisord: the ``[program:x]`` sections of its files. Pure functions of their texts."""

from __future__ import annotations

import configparser
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import structs

from master.services.moving.programs import (
    GRACE,
    LOGS,
    NO_END,
    RESTARTS,
    USER,
    FileNotUnderstood,
    ImportedProgram,
    Lost,
    without_shell,
)

_LOST = {
    **dict.fromkeys(("startsecs", "startretries", "exitcodes"), RESTARTS),
    **dict.fromkeys(("stopwaitsecs",), GRACE),
    **dict.fromkeys(("user",), USER),
    "stopsignal": "it is ended with SIGTERM",
    "umask": "nodes have the master's umask",
    "serverurl": "there is no XML-RPC: fleet --json, or the control socket",
}
_READ = frozenset(
    [
        "command",
        "directory",
        "environment",
        "priority",
        "autostart",
        "autorestart",
        "numprocs",
        "numprocs_start",
        "process_name",
    ]
)
# A node's whole process group is ended anyway.
_IDLE = frozenset(("stopasgroup", "killasgroup"))
_OTHERS = ("fcgi-program:", "eventlistener:")


def include_patterns(text: str, path: Path, environment: Mapping[str, str]) -> list[Path]:
    """Return the patterns of files that a configuration includes.

    Raises
    ------
    FileNotUnderstood
    """
    parser = _parse(text, path)
    if not parser.has_option("include", "files"):
        return []
    files = _expand(parser.get("include", "files"), path, "include.files", _names(path, environment))
    return [path.parent / os.path.expanduser(word) for word in files.split()]


def read_supervisord(parts: Sequence[tuple[Path, str]], environment: Mapping[str, str]) -> list[ImportedProgram]:
    """Return the programs of a configuration.

    Parameters
    ----------
    parts
        The file, and those that it includes, with their texts.
    environment
        For ``%(ENV_X)s``.

    Raises
    ------
    FileNotUnderstood
    """
    files = [(path, _parse(text, path)) for path, text in parts]
    whole: dict[str, str] = {}
    for path, parser in files:
        if parser.has_section("supervisord"):
            whole = {
                key: _expand(text, path, f"supervisord.{key}", _names(path, environment))
                for key, text in parser.items("supervisord")
                if key in ("environment", "directory")
            }
    groups = _groups(files)
    found: list[ImportedProgram] = []
    for path, parser in files:
        for section in parser.sections():
            kind, _, name = section.partition(":")
            if kind == "program":
                found += _programs(parser, path, name.strip(), environment, whole, groups)
            elif section.startswith(_OTHERS):
                trouble = f"an {kind} is no program that a fleet can run"
                found.append(ImportedProgram(name=name, supervisor="supervisord", source=str(path), trouble=trouble))
    if not found:
        raise FileNotUnderstood(
            parts[0][0], "", "has no [program:NAME] section", "is it a configuration of supervisord?"
        )
    return found


def _parse(text: str, path: Path) -> configparser.RawConfigParser:
    # As supervisord itself reads it: supervisor/options.py, UnhosedConfigParser.
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    try:
        parser.read_string(text, str(path))
    except configparser.Error as error:
        line = getattr(error, "lineno", None) or next((number for number, _ in getattr(error, "errors", ())), 0)
        raise FileNotUnderstood(
            path, f"line {line}" if line else "", "is no INI file", "see `supervisord -c FILE`"
        ) from error
    return parser


def _groups(files: Sequence[tuple[Path, configparser.RawConfigParser]]) -> dict[str, str]:
    """Return the group of each program that has one."""
    return {
        program.strip(): section.partition(":")[2]
        for _, parser in files
        for section in parser.sections()
        if section.startswith("group:")
        for program in parser.get(section, "programs", fallback="").split(",")
    }


def _programs(
    parser: configparser.RawConfigParser,
    path: Path,
    name: str,
    environment: Mapping[str, str],
    whole: Mapping[str, str],
    groups: Mapping[str, str],
) -> list[ImportedProgram]:
    """Return the processes of one section; there are several with ``numprocs``."""
    raw = dict(parser.items(f"program:{name}"))
    group = groups.get(name, name)
    names = {**_names(path, environment), "program_name": name, "group_name": group}
    key = f"program:{name}"
    count = _number(_expand(raw.get("numprocs", "1"), path, f"{key}.numprocs", names), path, f"{key}.numprocs")
    first = _number(_expand(raw.get("numprocs_start", "0"), path, key, names), path, f"{key}.numprocs_start")
    found = []
    for number in range(first, first + max(count, 1)):
        numbered = {**names, "process_num": number, "numprocs": count}
        values = {item: _expand(text, path, f"{key}.{item}", numbered) for item, text in raw.items()}
        default = name if count == 1 else f"{name}-{number}"
        program = _program(values, path, key, default, whole, (group,) if name in groups else ())
        # supervisorctl knows a process by its group too, unless both are called the same.
        full = "" if program.name == group else f"{group}:{program.name}"
        found.append(structs.replace(program, full_name=full))
    return found


def _program(
    values: Mapping[str, str], path: Path, key: str, default: str, whole: Mapping[str, str], tags: tuple[str, ...]
) -> ImportedProgram:
    command = values.get("command", "")
    try:
        words = without_shell(tuple(shlex.split(command)))
    except ValueError as error:
        raise FileNotUnderstood(path, f"{key}.command", f"is no command line: {error}") from error
    if not words:
        raise FileNotUnderstood(path, f"{key}.command", "is missing", "name the program that it runs")
    lost = [
        Lost(item, _LOST.get(item, LOGS if "log" in item or "std" in item else "not known"))
        for item in sorted(values)
        if item not in _READ | _IDLE and values[item]
    ]
    if values.get("autorestart", "").lower() in ("false", "no", "off", "0"):
        lost.append(Lost("autorestart", NO_END))
    options: dict[str, Any] = {}
    if "priority" in values:
        options["PRIORITY"] = _number(values["priority"], path, f"{key}.priority")
    directory = values.get("directory") or whole.get("directory", "")
    return ImportedProgram(
        name=values.get("process_name") or default,
        supervisor="supervisord",
        source=str(path),
        words=words,
        folder=os.path.expanduser(directory) if directory else "",
        environment={
            **_pairs(whole.get("environment", ""), path, "supervisord.environment"),
            **_pairs(values.get("environment", ""), path, f"{key}.environment"),
        },
        options=options,
        tags=tags,
        start=values.get("autostart", "true").lower() not in ("false", "no", "off", "0"),
        lost=tuple(lost),
    )


def _names(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``%(...)s`` may name in a file."""
    variables = {f"ENV_{name}": value for name, value in environment.items()}
    return {**variables, "here": str(path.parent), "host_node_name": platform.node()}


def _expand(text: str, path: Path, key: str, names: Mapping[str, Any]) -> str:
    if "%" not in text:
        return text.strip()
    try:
        return (text % names).strip()
    except KeyError as error:
        missing = str(error.args[0])
        if missing.startswith("ENV_"):
            hint = f"set it for this one command: {missing.removeprefix('ENV_')}=... fleet import ..."
            raise FileNotUnderstood(
                path, key, f"names the variable {missing!r}, which is not set here", hint
            ) from error
        raise FileNotUnderstood(path, key, f"names {missing!r}, which supervisord does not know") from error
    except (ValueError, TypeError) as error:
        raise FileNotUnderstood(path, key, "has a % that begins no %(name)s", "write %% for a percent sign") from error


def _number(text: str, path: Path, key: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise FileNotUnderstood(path, key, f"is no number: {text[:20]!r}")
    return int(text)


def _pairs(text: str, path: Path, key: str) -> dict[str, str]:
    """Read ``A="b",C=d``, as supervisord does."""
    lexer = shlex.shlex(text)
    lexer.wordchars += "/.+-():"
    try:
        tokens = list(lexer)
    except ValueError as error:
        raise FileNotUnderstood(path, key, f"is no list of variables: {error}") from error
    pairs: dict[str, str] = {}
    for at in range(0, len(tokens), 4):
        if len(tokens) < at + 3 or tokens[at + 1] != "=" or tokens[at + 3 : at + 4] not in ([], [","]):
            raise FileNotUnderstood(path, key, "is no list of variables", 'write A="1",B="2"')
        pairs[tokens[at]] = tokens[at + 2].strip("'\"")
    return pairs
