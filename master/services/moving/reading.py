"""Read the file of another supervisor: find out which it is, open what it names, and hand the texts to its reader."""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from handshake.files import read_regular
from master.services.moving.compose import read_compose
from master.services.moving.ecosystem_module import evaluate_module, no_node
from master.services.moving.pm2 import read_dump, read_ecosystem
from master.services.moving.programs import FileNotUnderstood, ImportedProgram, NoSuchFile
from master.services.moving.supervisord import include_patterns, read_supervisord
from master.services.moving.systemd_units import read_unit

MAX_FILE_BYTES = 4 * 2**20
MAX_INCLUDED = 500
MAX_DEPTH = 50
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_KINDS = "ecosystem.config.js, ecosystem.json, dump.pm2, supervisord.conf, docker-compose.yml or NAME.service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Read files as the operator who types the command.

    Parameters
    ----------
    environment
        The operator's variables.
    home, user
        The operator's.
    variant
        PM2's ``--env``.
    announce
        Called before a program is run, with what is run.
    """

    environment: Mapping[str, str]
    home: Path
    user: str
    variant: str = ""
    announce: Callable[[str], None] = lambda _: None

    def default_file(self) -> Path | None:
        """Return the list that PM2 saved, if there is one."""
        dump = Path(self.environment.get("PM2_HOME") or self.home / ".pm2") / "dump.pm2"
        return dump if dump.is_file() else None

    def read(self, path: Path) -> list[ImportedProgram]:
        """Return the programs that a file names. Blocks.

        Raises
        ------
        FileNotUnderstood
        """
        whole = path.expanduser().absolute()
        match _kind_of(whole):
            case "unit":
                return [self._unit(whole)]
            case "supervisord":
                return self._supervisord(whole)
            case "module":
                return self._module(whole)
            case "json":
                return self._json(whole)
            case _:
                return self._yaml(whole)

    def _unit(self, path: Path) -> ImportedProgram:
        texts = [_text(path)]
        # Drop-ins, as `systemctl edit` writes them.
        texts += [_text(Path(name)) for name in sorted(glob.glob(f"{glob.escape(str(path))}.d/*.conf"))]
        return read_unit(path, texts, home=self.home, user=self.user)

    def _supervisord(self, path: Path) -> list[ImportedProgram]:
        text = _text(path)
        parts = [(path, text)]
        for pattern in include_patterns(text, path, self.environment):
            parts += [(Path(name), _text(Path(name))) for name in sorted(glob.glob(str(pattern)))]
            if len(parts) > MAX_INCLUDED:
                raise FileNotUnderstood(path, "include.files", f"names more than {MAX_INCLUDED} files")
        return read_supervisord(parts, self.environment)

    def _module(self, path: Path) -> list[ImportedProgram]:
        _text(path)  # Whether it is there, before it is run.
        node = shutil.which("node", path=self.environment.get("PATH"))
        if node is None:
            raise no_node(path)
        self.announce(f"{path.name} is a program: it is run with {node}, as PM2 does")
        return read_ecosystem(_checked(evaluate_module(path, node), path), path, variant=self.variant)

    def _json(self, path: Path) -> list[ImportedProgram]:
        try:
            value = _checked(msgspec.json.decode(_text(path)), path)
        except msgspec.MsgspecError as error:
            hint = "JSON has no comments; name it ecosystem.config.js if it has some"
            raise FileNotUnderstood(path, "", f"is no JSON: {error}", hint) from error
        if isinstance(value, list) and value and isinstance(value[0], dict) and "pm_exec_path" in value[0]:
            return read_dump(value, path)
        if isinstance(value, list) and not value:
            raise FileNotUnderstood(path, "", "is empty", "run `pm2 save` while your programs run")
        return read_ecosystem(value, path, variant=self.variant)

    def _yaml(self, path: Path) -> list[ImportedProgram]:
        # Imported here: nothing else needs it.
        import yaml

        try:
            value = _checked(yaml.safe_load(_text(path)), path)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = "" if mark is None else f"line {mark.line + 1}"
            raise FileNotUnderstood(path, line, f"is no YAML: {getattr(error, 'problem', None) or error}") from error
        except RecursionError as error:
            raise FileNotUnderstood(path, "", "is nested too deeply") from error
        if isinstance(value, dict) and "services" in value:
            return read_compose(value, path, {**_dotenv(path.parent / ".env"), **self.environment}, _text_or_none)
        if isinstance(value, dict) and "apps" in value:
            return read_ecosystem(value, path, variant=self.variant)
        raise FileNotUnderstood(path, "", "has neither `services` (docker compose) nor `apps` (PM2)")


def _kind_of(path: Path) -> str:
    """Return which kind of file this is, by its name.

    Raises
    ------
    FileNotUnderstood
    """
    kinds = {
        ".service": "unit",
        ".conf": "supervisord",
        ".ini": "supervisord",
        ".js": "module",
        ".cjs": "module",
        ".mjs": "module",
        ".json": "json",
        ".pm2": "json",
        ".bak": "json",
        ".yml": "yaml",
        ".yaml": "yaml",
    }
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise FileNotUnderstood(path, "", "is of no kind that is known", f"give {_KINDS}")
    return kind


def _text(path: Path) -> str:
    """Read a file; a link is followed.

    Raises
    ------
    FileNotUnderstood
    """
    try:
        data = read_regular(os.path.realpath(path), MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise FileNotUnderstood(path, "", f"is larger than {MAX_FILE_BYTES // 2**20} MB")
        return str(_checked(data.decode("utf-8-sig"), path))
    except FileNotFoundError as error:
        raise NoSuchFile(path, "", "there is no such file") from error
    except OSError as error:
        raise FileNotUnderstood(path, "", f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FileNotUnderstood(path, "", "is no text in UTF-8") from error


def _checked(value: Any, path: Path, depth: int = 0) -> Any:
    """Return what was read, if no text in it has characters that no path or variable can have.

    Raises
    ------
    FileNotUnderstood
    """
    if depth > MAX_DEPTH:
        raise FileNotUnderstood(path, "", "is nested too deeply")
    if isinstance(value, str) and _UNUSABLE.search(value):
        raise FileNotUnderstood(path, "", "holds a NUL or half of a character")
    if isinstance(value, dict | list):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            _checked(item, path, depth + 1)
    return value


def _text_or_none(path: Path) -> str | None:
    return _text(path) if os.path.isfile(path) else None


def read_variables(path: Path) -> dict[str, str]:
    """Return the variables of a file such as ``.env``; none if it cannot be read."""
    return _dotenv(path)


def _dotenv(path: Path) -> dict[str, str]:
    from io import StringIO

    from dotenv import dotenv_values

    try:
        text = _text(path)
    except FileNotUnderstood:
        return {}
    found: dict[str, Any] = dict(dotenv_values(stream=StringIO(text), interpolate=False))
    return {name: value or "" for name, value in found.items()}
