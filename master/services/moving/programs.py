"""What the readers of other supervisors' files share: a program as it is run there, and what is lost on the way."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from master.errors import ExitCode, FleetError

SupervisorName = Literal["PM2", "supervisord", "docker compose", "systemd"]

RESTARTS = "the fleet's own: at once, then ever later, then quarantine (SUPERVISION in config.py)"
LOGS = "the fleet keeps and rotates the output: fleet logs NAME"
NO_END = "a node is started again whenever it ends, until it is stopped"
GRACE = 'SUPERVISION["GRACE_S"] in config.py, for the whole fleet'
READY = "NODES: READY_WHEN, a line of its log, a port or an HTTP answer"
USER = "nodes run as the user of the master"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SHELLS = frozenset({"sh", "bash", "dash", "zsh"})
_SHELL_CHARACTERS = re.compile(r"[|&;<>()$`*?\[\]#~=%{}!\n\\]")


class FileNotUnderstood(FleetError):
    """A file cannot be read as what it seems to be.

    Parameters
    ----------
    path, key
        The file, and the place in it; empty for the file as a whole.
    """

    code: ClassVar[str] = "import_file_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED

    def __init__(self, path: Path, key: str, problem: str, hint: str = "") -> None:
        super().__init__(f"{path}: {key}: {problem}" if key else f"{path}: {problem}", hint=hint)
        self.path = path
        self.key = key


class NoSuchFile(FileNotUnderstood):
    """There is no such file."""

    code: ClassVar[str] = "import_file_missing"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class Lost(msgspec.Struct, frozen=True):
    """A setting that is not carried over, and what to do instead."""

    key: str
    instead: str


class ImportedProgram(msgspec.Struct, frozen=True, kw_only=True):
    """A program as another supervisor runs it."""

    name: str
    full_name: str = ""
    """What it is called on the old supervisor's command line, where that is not its name."""
    supervisor: SupervisorName
    source: str
    """The file that names it."""
    words: tuple[str, ...] = ()
    """Its command line, word by word, as the kernel gets it."""
    inside: tuple[str, ...] = ()
    """Its command line in the container that it comes from."""
    folder: str = ""
    """Where it runs, as an absolute path; empty if the file does not say."""
    environment: Mapping[str, str] = {}
    environment_files: tuple[str, ...] = ()
    search_path: str = ""
    """The PATH with which its program is found; empty: the one of whoever imports it."""
    options: Mapping[str, Any] = {}
    """Settings of the node, under the keys of NODES."""
    after: tuple[str, ...] = ()
    """Programs that are started before it, by their names in the file."""
    tags: tuple[str, ...] = ()
    start: bool = True
    lost: tuple[Lost, ...] = ()
    trouble: str = ""
    """Why it cannot become a node."""

    def __repr__(self) -> str:
        return f"ImportedProgram(name={self.name!r}, folder={self.folder!r}, environment=...)"


def read_size(value: object) -> int | None:
    """Return a size such as ``200M``, ``1.5GiB`` or a number of bytes; None for any other text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value > 0 else None
    found = _SIZE.fullmatch(str(value).strip())
    if found is None:
        return None
    return int(float(found[1]) * 1024 ** _UNITS[found[2].lower()]) or None if len(found[1]) < 16 else None


def place_of(base: Path, text: str) -> Path:
    """Return the place that a file names, from the folder ``base`` on; links are followed, ``~`` is the user's home."""
    return Path(os.path.realpath(base / os.path.expanduser(text)))


def part_of(value: object, *keys: str) -> object:
    """Return a part of nested tables; None where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def without_shell(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command line without the ``sh -c`` around it, where no shell is needed to read it."""
    if len(words) == 3 and Path(words[0]).name in _SHELLS and words[1] in ("-c", "-lc"):
        text = words[2].removeprefix("exec ")
        if _SHELL_CHARACTERS.search(text) is None:
            try:
                return tuple(shlex.split(text)) or words
            except ValueError:
                return words
    return words


def texts_of(value: object) -> list[str]:
    """Return a value that may be one text or a list of them."""
    if value is None:
        return []
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]


def table_of(value: object, path: Path, key: str) -> dict[str, Any]:
    """Return a value that has to be a table.

    Raises
    ------
    FileNotUnderstood
    """
    if not isinstance(value, dict):
        raise FileNotUnderstood(path, key, f"is no table of keys but {_kind(value)}")
    return {str(name): item for name, item in value.items()}


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", int: "a number", type(None): "empty"}
    return kinds.get(type(value), "something else")


def variable_text(value: object) -> str:
    """Return an environment variable's value as its program sees it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
