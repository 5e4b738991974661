"""Starting a node's process. The zygote will be another ``Spawner`` behind the same interface."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from handshake.boot import BOOT_FD_VARIABLE
from master.supervision.errors import FolderMissing, SpawnFailed
from master.supervision.process import ExitReport, NodeProcess

log = logging.getLogger(__name__)

SPAWN_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a node may use; 0 for no limit."""

    memory_bytes: int = 0
    open_files: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnRequest:
    """Everything one start needs.

    Parameters
    ----------
    environment
        The whole environment of the node; nothing else is inherited.
    boot
        What the node reads from its inherited descriptor; None for a bot that does not speak the protocol.
    """

    node_id: str
    name: str
    folder: Path
    command: tuple[str, ...]
    environment: dict[str, str]
    stdout_path: Path
    stderr_path: Path
    boot: bytes | None = field(default=None, repr=False)
    limits: Limits = Limits()


class Spawner(Protocol):
    """Start processes."""

    async def spawn(self, request: SpawnRequest) -> NodeProcess:
        """Start a node in its own session and process group.

        Raises
        ------
        SpawnFailed
        """
        ...

    async def close(self) -> None:
        """Let go of what the spawner holds; running nodes go on."""
        ...


class PlainSpawner:
    """Start each node as a process of its own, with its own interpreter."""

    async def spawn(self, request: SpawnRequest) -> NodeProcess:
        """Start a node in its own session and process group.

        Raises
        ------
        SpawnFailed
        """
        if not request.folder.is_dir():
            raise FolderMissing(f"the folder of {request.name} is gone: {request.folder}", hint="restore it")
        # In a thread: between fork and exec the caller waits for milliseconds. Shielded: a process that was started
        # must not be lost because whoever asked for it was cancelled.
        starting = asyncio.ensure_future(asyncio.to_thread(self._start, request))
        try:
            popen = await asyncio.wait_for(asyncio.shield(starting), SPAWN_TIMEOUT_S)
        except TimeoutError:
            starting.add_done_callback(_kill_late)
            raise SpawnFailed(f"{request.name} could not be started within {SPAWN_TIMEOUT_S:g} s") from None
        except asyncio.CancelledError:
            starting.add_done_callback(_kill_late)
            raise
        return NodeProcess(popen.pid, lambda: _reap(popen))

    def _start(self, request: SpawnRequest) -> subprocess.Popen[bytes]:
        opened: list[int] = []
        try:
            environment = dict(request.environment)
            inherited: tuple[int, ...] = ()
            if request.boot is not None:
                descriptor = pipe_with(request.boot, opened)
                environment[BOOT_FD_VARIABLE] = str(descriptor)
                inherited = (descriptor,)
            popen = subprocess.Popen(  # noqa: S603 - the command is the node's own
                request.command,
                cwd=request.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=open_log(request.stdout_path, opened),
                stderr=open_log(request.stderr_path, opened),
                pass_fds=inherited,
                start_new_session=True,
            )
        except OSError as error:
            raise SpawnFailed(
                f"{request.name} could not be started: {error.strerror or error}",
                hint="`fleet doctor` checks memory, descriptors and the interpreter",
            ) from error
        finally:
            for descriptor in opened:
                os.close(descriptor)
        apply_limits(request.limits, popen.pid)
        return popen

    async def close(self) -> None:
        """Do nothing: plain processes are nobody's."""


def pipe_with(payload: bytes, opened: list[int]) -> int:
    """Give the reading end of a pipe that already holds ``payload``, which fits (``encode_boot`` sees to it)."""
    reading, writing = os.pipe()
    opened.append(reading)
    try:
        os.write(writing, payload)
    finally:
        os.close(writing)
    return reading


def open_log(path: Path, opened: list[int]) -> int:
    """Open a log for appending; where that fails (a full or read-only disk) the output is lost, not the node."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        log.warning("log cannot be opened, output is lost", extra={"path": str(path), "why": error.strerror})
        descriptor = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    opened.append(descriptor)
    return descriptor


def apply_limits(limits: Limits, pid: int) -> None:
    """Set the limits of a process that has just begun; it may already have ended."""
    if not limits.open_files:
        return
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        wanted = limits.open_files if hard == resource.RLIM_INFINITY else min(limits.open_files, hard)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (wanted, hard))
    except ProcessLookupError:
        return


def _reap(popen: subprocess.Popen[bytes]) -> ExitReport:
    # The pidfd said that it has ended, so this does not wait.
    code = popen.wait()
    return ExitReport(signal=-code) if code < 0 else ExitReport(exit_code=code)


def _kill_late(starting: asyncio.Future[subprocess.Popen[bytes]]) -> None:
    """End a process whose start nobody waits for any more."""
    if starting.cancelled() or starting.exception() is not None:
        return
    popen = starting.result()
    popen.kill()
    popen.wait()
