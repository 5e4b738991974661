"""Copies of imported programs that still run, and how their old supervisor stops them. Blocks."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

_SAVES = {"PM2": " && pm2 save"}
_STOPS = {"PM2": "pm2 stop", "supervisord": "supervisorctl stop", "systemd": "systemctl disable --now"}
_CONTAINERS = ("docker", "containerd", "libpod")


class OldCopy(msgspec.Struct, frozen=True, kw_only=True):
    """A process of a program that is to become a node."""

    pid: int
    by: str
    """What runs it: PM2, supervisord, systemd, docker compose; empty for a shell or a screen session."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the processes of a program look like."""

    name: str
    """As its node is called."""
    old_name: str
    supervisor: str
    folder: str
    words: tuple[str, ...]
    inside: tuple[str, ...] = ()
    """Its command line in a container."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel tells of a process."""

    pid: int
    parent: int
    line: tuple[str, ...]
    folder: str = ""
    """Empty if it is another user's."""
    environment: Mapping[str, str] = {}
    groups: str = ""


def find_copies(programs: Sequence[Wanted]) -> dict[str, tuple[OldCopy, ...]]:
    """Return the processes of each program, by its node's name."""
    if not programs:
        return {}
    seen = [process for process in _processes() if process.pid != os.getpid()]
    found = {}
    for program in programs:
        copies = {process.pid: (process, by) for process in seen if (by := launcher_of(program, process)) is not None}
        # What such a process started is a part of it, and ends with it.
        first = [OldCopy(pid=pid, by=by) for pid, (process, by) in copies.items() if process.parent not in copies]
        if first:
            found[program.name] = tuple(first)
    return found


def _processes() -> Iterator[Seen]:
    # Imported here: only this command needs it.
    import psutil

    for process in psutil.process_iter():
        try:
            line, parent = tuple(process.cmdline()), process.ppid()
            groups = Path(f"/proc/{process.pid}/cgroup").read_text("utf-8", "replace")
        except (psutil.Error, OSError):
            continue  # It has just ended.
        try:
            folder, environment = process.cwd(), process.environ()
        except (psutil.Error, OSError):
            folder, environment = "", {}  # It belongs to another user.
        yield Seen(pid=process.pid, parent=parent, line=line, folder=folder, environment=environment, groups=groups)


def launcher_of(program: Wanted, process: Seen) -> str | None:
    """Return what runs a process: empty for nothing in particular, None if it is no process of the program."""
    variables, name = process.environment, program.old_name
    if "FLEET_NODE_ID" in variables:
        return None  # It is a node.
    # What each supervisor tells its own: there it is this program or another one, of the same file perhaps.
    if program.supervisor == "PM2" and "pm_id" in variables and "name" in variables:
        return "PM2" if variables["name"] == name else None
    if program.supervisor == "supervisord" and "SUPERVISOR_PROCESS_NAME" in variables:
        return "supervisord" if variables["SUPERVISOR_PROCESS_NAME"] == name else None
    is_contained = any(word in process.groups for word in _CONTAINERS)
    if program.supervisor == "docker compose" and is_contained and program.inside:
        return "docker compose" if process.line[-len(program.inside) :] == program.inside else None
    if program.supervisor == "systemd" and f"/{name}.service" in process.groups:
        return "systemd"
    if not process.folder or Path(process.folder) != Path(program.folder) or not _is_of(program, process.line):
        return None
    if "pm_id" in variables:
        return "PM2"
    return "supervisord" if "SUPERVISOR_PROCESS_NAME" in variables else ""


def _is_of(program: Wanted, line: Sequence[str]) -> bool:
    """Tell whether a command line runs a program: by its file, or where there is none by all of its words."""
    if not line or not program.words:
        return False
    file = _file_of(program.words)
    if file:
        return any(
            os.path.normpath(Path(program.folder) / word) == os.path.normpath(Path(program.folder) / file)
            for word in line
        )
    return Path(line[0]).name == Path(program.words[0]).name and tuple(line[1:]) == program.words[1:]


def _file_of(words: Sequence[str]) -> str:
    """Return the file that a command line runs; empty if none of its words looks like one."""
    return next((word for word in words[1:] if not word.startswith("-") and Path(word).suffix and " " not in word), "")


def stop_command(supervisor: str, names: Iterable[str], source: str) -> str:
    """Return what stops programs under their old supervisor, and keeps them stopped."""
    listed = " ".join(shlex.quote(name) for name in names)
    if supervisor == "docker compose":
        return f"docker compose -f {shlex.quote(source)} stop {listed}"
    return f"{_STOPS[supervisor]} {listed}{_SAVES.get(supervisor, '')}"
