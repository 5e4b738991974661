"""Search of the real process tree below BOTS_BASE_PATH, including bots started by hand. Blocks: use a worker thread."""

from __future__ import annotations

import os
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from master.supervision.process import parse_stat


@dataclass(frozen=True, slots=True, kw_only=True)
class StrayProcess:
    """A process below BOTS_BASE_PATH that the supervisor did not start."""

    pid: int
    folder: Path
    command: str
    started_at: float
    """Unix time in seconds."""


def map_processes(bots_base_path: Path, known_pids: Set[int]) -> list[StrayProcess]:
    """Find strays: processes with a working folder below ``bots_base_path`` and no known process as ancestor."""
    # Imported here: it would stay in the master for good, for what an operator asks now and then.
    import psutil

    base = bots_base_path.resolve()
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid in known_pids or process.status() == psutil.STATUS_ZOMBIE:
                continue
            folder = Path(process.cwd())
            if not folder.is_relative_to(base) or folder == base:
                continue
            if any(parent.pid in known_pids for parent in process.parents()):
                continue
            found.append(
                StrayProcess(
                    pid=process.pid,
                    folder=folder,
                    command=" ".join(process.cmdline())[:200],
                    started_at=process.create_time(),
                )
            )
        except psutil.Error:
            continue  # It has just ended, or belongs to another user.
    return sorted(found, key=lambda stray: stray.pid)


def find_by_variable(variable: str) -> dict[str, tuple[int, float]]:
    """Find processes by an environment variable.

    Returns its values, each with pid and start (seconds since boot) of the oldest process. Only session leaders count:
    a bot's helper processes inherit its environment.
    """
    marker = f"{variable}=".encode()
    found: dict[str, tuple[int, float]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            if os.getsid(pid) != pid:
                continue
            environment = (folder / "environ").read_bytes().split(b"\0")
            started_at = parse_stat((folder / "stat").read_bytes()).started_at
        except (OSError, ValueError):
            continue  # It has just ended, or belongs to another user.
        value = next((entry[len(marker) :] for entry in environment if entry.startswith(marker)), None)
        if value is not None:
            known = found.get(value.decode("ascii", "replace"))
            if known is None or started_at < known[1]:
                found[value.decode("ascii", "replace")] = (pid, started_at)
    return found
