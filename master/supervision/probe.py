"""The real process tree below BOTS_BASE_PATH, bots started by hand included. Blocks: call it from a worker thread."""

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
    """Find strays: processes whose working folder is below ``bots_base_path``, and that no known process started."""
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
            continue  # It ended while we looked, or it is another user's.
    return sorted(found, key=lambda stray: stray.pid)


def find_marked(variable: str) -> dict[str, tuple[int, float]]:
    """Find processes by an environment variable: its value -> pid and start (seconds since boot) of the oldest one.

    Only leaders of their own session: a bot's helpers inherit its environment.
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
            continue  # It ended while we looked, or it is another user's.
        value = next((entry[len(marker) :] for entry in environment if entry.startswith(marker)), None)
        if value is not None:
            known = found.get(value.decode("ascii", "replace"))
            if known is None or started_at < known[1]:
                found[value.decode("ascii", "replace")] = (pid, started_at)
    return found
