"""Whose a demo's folder is; and the removal of one whose owner was killed before it could clean up."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import psutil

from master.supervision.probe import map_processes

PREFIX = "fleet-demo-"
_LOCK_NAME = "demo.lock"
_END_TIMEOUT_S = 30.0


class Owner:
    """A lock in a demo's folder, which the kernel releases with the demo's process, however that ends."""

    def __init__(self) -> None:
        self._descriptor = -1

    def claim(self, home: Path) -> None:
        """Take a new folder, or one that an earlier demo left.

        Raises
        ------
        OSError
            BlockingIOError if another demo has it.
        """
        # Locked before it has its name: between the two, another demo would take the folder for an abandoned one.
        path = home / _LOCK_NAME
        unnamed = path.with_suffix(f".{os.getpid()}")
        self._descriptor = os.open(
            path if path.exists() else unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            raise
        if unnamed.exists():
            unnamed.replace(path)

    def release(self) -> None:
        """Let go of the folder."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def remove_abandoned() -> list[str]:
    """Remove the folders of demos that were killed, with their masters and nodes; returns a line about each. Blocks."""
    removed = []
    for home in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        # Without a lock it is one that is being made, or no demo's.
        if home.is_symlink() or not (home / _LOCK_NAME).exists() or home.stat().st_uid != os.geteuid():
            continue
        owner = Owner()
        try:
            owner.claim(home)
        except BlockingIOError:
            continue
        try:
            ended = _end_master(home) + kill_below(home)
            shutil.rmtree(home, ignore_errors=True)
        finally:
            owner.release()
        removed.append(f"removed {home}, which a demo left that was killed ({ended} processes)")
    return removed


def _end_master(home: Path) -> int:
    """End the master of a demo, which stops its nodes; returns how many processes that were."""
    masters = [process for process in psutil.process_iter(["cmdline"]) if _is_master(process, home)]
    for process in masters:
        process.terminate()
    _, alive = psutil.wait_procs(masters, timeout=_END_TIMEOUT_S)
    for process in alive:
        process.kill()
    return len(masters)


def _is_master(process: psutil.Process, home: Path) -> bool:
    line = process.info["cmdline"] or []
    return "--home" in line[:-1] and line[line.index("--home") + 1] == str(home)


def kill_below(home: Path) -> int:
    """Kill the processes that are left in a demo's folder; returns how many there were."""
    strays = map_processes(home / "bots", set())
    for stray in strays:
        try:
            psutil.Process(stray.pid).kill()
        except psutil.Error:
            continue
    return len(strays)
