"""Copies of imported programs that still run, and how their old supervisor stops them. Blocks."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

_SAVES = {"PM2": " && pm2 save"}
_STOPS = {"PM2": "pm2 stop", "supervisord": "supervisorctl stop", "systemd": "systemctl disable --now"}
_LAUNCHERS = (("PM2 v", "PM2"), ("supervisord", "supervisord"))
MAX_SHOWN_CHARACTERS = 200


class OldCopy(msgspec.Struct, frozen=True, kw_only=True):
    """A process of a program that is to become a node."""

    pid: int
    by: str
    """What runs it: PM2, supervisord, systemd, docker; empty for a shell or a screen session."""


class Wanted(msgspec.Struct, frozen=True):
    """What the processes of a program look like."""

    name: str
    folder: str
    words: tuple[str, ...]


def find_copies(programs: Sequence[Wanted]) -> dict[str, tuple[OldCopy, ...]]:
    """Return the processes of each program, by its name: those with its folder and its file in their command line."""
    # Imported here: only this command needs it.
    import psutil

    found: dict[str, list[OldCopy]] = {}
    for process in psutil.process_iter():
        try:
            folder, line = process.cwd(), process.cmdline()
            for program in programs:
                if program.folder and Path(program.folder).resolve() == Path(folder) and _is_of(program, line):
                    copy = OldCopy(pid=process.pid, by=_launcher(process))
                    found.setdefault(program.name, []).append(copy)
        except (psutil.Error, OSError):
            continue  # It has just ended, or belongs to another user.
    return {name: tuple(copies) for name, copies in found.items()}


def _is_of(program: Wanted, line: Sequence[str]) -> bool:
    """Tell whether a command line runs a program's file."""
    file = file_of(program.words)
    names = {file, str(Path(program.folder) / file)}
    return any(word in names or word == Path(file).name for word in line)


def file_of(words: Sequence[str]) -> str:
    """Return the word of a command line that says most of which program it is: its file, or else its first word."""
    files = [word for word in words[1:] if not word.startswith("-") and Path(word).suffix]
    return files[0] if files else words[0] if words else ""


def _launcher(process: object) -> str:
    """Return what started a process, by its ancestors and its control group."""
    import psutil

    if not isinstance(process, psutil.Process):
        return ""
    for ancestor in process.parents():
        line = " ".join(ancestor.cmdline())
        for sign, name in _LAUNCHERS:
            if sign in line:
                return name
    groups = Path(f"/proc/{process.pid}/cgroup").read_text("utf-8", "replace")
    if "docker" in groups or "containerd" in groups:
        return "docker compose"
    return "systemd" if ".service" in groups and "user@" not in groups else ""


def stop_command(supervisor: str, names: Iterable[str], source: str) -> str:
    """Return what stops programs under their old supervisor, and keeps them stopped."""
    listed = " ".join(shlex.quote(name) for name in names)
    if supervisor == "docker compose":
        return f"docker compose -f {shlex.quote(source)} stop {listed}"
    return f"{_STOPS[supervisor]} {listed}{_SAVES.get(supervisor, '')}"
