"""systemd: service units. Pure functions of their texts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from master.services.moving.programs import (
    GRACE,
    LOGS,
    NO_END,
    READY,
    RESTARTS,
    USER,
    FileNotUnderstood,
    ImportedProgram,
    Lost,
    read_size,
    without_shell,
)

_LOST = {
    **dict.fromkeys(("RestartSec", "StartLimitIntervalSec", "StartLimitBurst", "RestartPreventExitStatus"), RESTARTS),
    **dict.fromkeys(("TimeoutStopSec", "TimeoutSec"), GRACE),
    **dict.fromkeys(("User", "Group", "DynamicUser"), USER),
    **dict.fromkeys(("StandardOutput", "StandardError", "SyslogIdentifier"), LOGS),
    **dict.fromkeys(("ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost"), "run it in the program, or by hand"),
    **dict.fromkeys(("ExecReload",), "fleet restart"),
    **dict.fromkeys(("KillSignal", "KillMode"), "its process group is ended with SIGTERM, then SIGKILL"),
    **dict.fromkeys(("WatchdogSec", "NotifyAccess"), READY),
    **dict.fromkeys(
        ("ProtectSystem", "ProtectHome", "PrivateTmp", "ReadWritePaths", "ReadOnlyPaths", "NoNewPrivileges"),
        "nodes are isolated from each other (ISOLATED, READABLE and WRITABLE in config.py)",
    ),
    **dict.fromkeys(("CPUQuota", "Nice"), "CPU_WEIGHT in NODES"),
    "LoadCredential": "put it into a file that its ENV_FILE names",
}
_LIMITS = {"MemoryMax": "MEMORY_HARD_LIMIT_BYTES", "MemoryHigh": "MEMORY_LIMIT_BYTES"}
_NUMBERS = {"LimitNOFILE": "OPEN_FILES_LIMIT", "CPUWeight": "CPU_WEIGHT"}
_READ = frozenset(
    ("Type", "ExecStart", "WorkingDirectory", "Environment", "EnvironmentFile", "Restart", *_LIMITS, *_NUMBERS)
)
_IDLE = frozenset(
    ("RemainAfterExit", "GuessMainPID", "OOMScoreAdjust", "TasksMax", "MemoryAccounting", "CPUAccounting")
)
_REFERENCE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")

Unit = dict[str, list[str]]
"""The lines of a unit, by ``Section.Key``; an empty value takes back those before it."""


def read_unit(path: Path, texts: Sequence[str], *, home: Path, user: str) -> ImportedProgram:
    """Return the program of a service unit.

    Parameters
    ----------
    texts
        The unit, and its drop-ins in their order.
    home, user
        For ``%h`` and ``%u``.

    Raises
    ------
    FileNotUnderstood
    """
    unit: Unit = {}
    for text in texts:
        _parse(text, path, unit)
    name = path.name.removesuffix(".service")
    specifiers = {"h": str(home), "u": user, "n": path.name, "N": name, "%": "%"}
    specifiers["p"], _, specifiers["i"] = name.partition("@")
    specifiers["I"] = specifiers["i"]
    lines = {key: [_specified(value, path, key, specifiers) for value in values] for key, values in unit.items()}
    environment = _environment(lines, path)
    kind = _last(lines, "Service.Type") or "simple"
    folder = _last(lines, "Service.WorkingDirectory").removeprefix("-")
    lost = _lost(lines, kind)
    program = ImportedProgram(
        name=name.replace("@", "-"),
        supervisor="systemd",
        source=str(path),
        words=_words(lines, path, environment),
        folder=str(home) if folder == "~" else folder,
        environment=environment,
        environment_files=tuple(value.removeprefix("-") for value in lines.get("Service.EnvironmentFile", [])),
        options=_options(lines, lost),
        after=tuple(
            word.removesuffix(".service")
            for key in ("Unit.After", "Unit.Requires", "Unit.Wants")
            for value in lines.get(key, [])
            for word in value.split()
            if word.endswith(".service")
        ),
        lost=tuple(lost),
        trouble=_trouble(name, kind),
    )
    return program


def _parse(text: str, path: Path, unit: Unit) -> None:
    section = ""
    for number, line in enumerate(re.sub(r"\\\n[ \t]*(?:[#;][^\n]*\n)*", " ", text).splitlines(), 1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            continue
        key, equals, value = line.partition("=")
        if not equals or not section:
            raise FileNotUnderstood(path, f"line {number}", "is neither a [Section] nor KEY=VALUE")
        values = unit.setdefault(f"{section}.{key.strip()}", [])
        if value.strip():
            values.append(value.strip())
        else:
            values.clear()


def _specified(text: str, path: Path, key: str, specifiers: Mapping[str, str]) -> str:
    def replaced(found: re.Match[str]) -> str:
        if found[1] not in specifiers:
            raise FileNotUnderstood(path, key, f"has the specifier %{found[1]}", "write out what it stands for")
        return specifiers[found[1]]

    return re.sub(r"%(.)", replaced, text)


def _environment(lines: Unit, path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in lines.get("Service.Environment", []):
        for pair in _split(value, path, "Service.Environment"):
            name, _, text = pair.partition("=")
            found[name] = text
    return found


def _words(lines: Unit, path: Path, environment: Mapping[str, str]) -> tuple[str, ...]:
    command = _last(lines, "Service.ExecStart")
    if not command:
        raise FileNotUnderstood(path, "Service.ExecStart", "is missing", "only service units that run a program")
    words: list[str] = []
    for word in _split(command.lstrip("@-:+!|"), path, "Service.ExecStart"):
        whole = _REFERENCE.fullmatch(word)
        # $WORD alone is split into words, ${WORD} within text is not: systemd.service(5).
        if whole is not None and whole[2]:
            words += environment.get(whole[2], "").split()
        else:
            words.append(_REFERENCE.sub(lambda found: environment.get(found[1] or found[2], ""), word))
    return without_shell(tuple(words))


def _split(text: str, path: Path, key: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise FileNotUnderstood(path, key, f"cannot be split into words: {error}") from error


def _last(lines: Unit, key: str) -> str:
    return lines.get(key, [""])[-1] if lines.get(key) else ""


def _options(lines: Unit, lost: list[Lost]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key, name in _LIMITS.items():
        value = _last(lines, f"Service.{key}")
        size = read_size(value) if value else None
        if size is not None:
            options[name] = size
        elif value and value != "infinity":
            lost.append(Lost(key, f"is no size; give {name} in NODES"))
    for key, name in _NUMBERS.items():
        value = _last(lines, f"Service.{key}").partition(":")[0]
        if value.isdigit():
            options[name] = int(value)
        elif value:
            lost.append(Lost(key, f"is no number; give {name} in NODES"))
    return options


def _lost(lines: Unit, kind: str) -> list[Lost]:
    keys = sorted(key.partition(".")[2] for key in lines if key.startswith("Service.") and lines[key])
    lost = [Lost(key, _LOST.get(key, "not known")) for key in keys if key not in _READ | _IDLE]
    if _last(lines, "Service.Restart") in ("", "no"):
        lost.append(Lost("Restart", NO_END))
    if kind.startswith("notify"):
        lost.append(Lost("Type", READY))
    return lost


def _trouble(name: str, kind: str) -> str:
    if name.endswith("@"):
        return "it is a template: copy the unit to one with its instance in the name, such as bot@one.service"
    if kind == "oneshot":
        return "Type=oneshot runs once and ends: leave it to systemd, or to cron"
    if kind == "forking":
        return "Type=forking goes into the background: a node has to stay in the foreground"
    return ""
