"""Starting a node's process: what a start needs, and the plain way to do it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from handshake.boot import BOOT_FD_VARIABLE
from master.supervision.errors import FolderMissing, SpawnFailed
from master.supervision.linked import linked_command, linked_environment
from master.supervision.process import ExitReport, NodeProcess

log = logging.getLogger(__name__)

SPAWN_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a node may use; 0 for no limit of ours.

    Parameters
    ----------
    data_bytes
        RLIMIT_DATA: the hard limit on its private memory where no cgroup holds it.
    niceness
        0 to 19; stands for the CPU weight where no cgroup does.
    log_bytes_s
        What it may write to its logs for long.
    """

    data_bytes: int = 0
    open_files: int = 0
    niceness: int = 0
    log_bytes_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnRequest:
    """Everything one start needs.

    Parameters
    ----------
    environment
        The whole environment of the node; nothing else is inherited.
    boot
        What the node reads from its inherited descriptor; None for a bot that does not speak the protocol.
    files
        Files of the master's that the node gets open for reading and writing: an environment variable tells it the
        number of each descriptor.
    cgroup
        The ``cgroup.procs`` that the node enters; None without cgroups.
    plain
        Never fork it from the zygote.
    linked
        nodekit joins its program to the fleet, which knows nothing of one.
    """

    node_id: str
    name: str
    folder: Path
    command: tuple[str, ...]
    environment: dict[str, str]
    stdout_path: Path
    stderr_path: Path
    boot: bytes | None = field(default=None, repr=False)
    files: Mapping[str, Path] = field(default_factory=dict)
    cgroup: Path | None = None
    plain: bool = False
    linked: bool = False
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
        boot = BootPipe(request)
        # In a thread: between fork and exec the caller waits for milliseconds. Shielded: a process that was started
        # must not be lost because whoever asked for it was cancelled.
        starting = asyncio.ensure_future(asyncio.to_thread(self._start, request, boot))
        try:
            popen = await asyncio.wait_for(asyncio.shield(starting), SPAWN_TIMEOUT_S)
        except TimeoutError:
            starting.add_done_callback(_kill_late)
            raise SpawnFailed(f"{request.name} could not be started within {SPAWN_TIMEOUT_S:g} s") from None
        except asyncio.CancelledError:
            starting.add_done_callback(_kill_late)
            raise
        finally:
            starting.add_done_callback(lambda _started: boot.close_reading())
            if starting.done() and (starting.cancelled() or starting.exception() is not None):
                boot.close()
        try:
            return NodeProcess(popen.pid, lambda: _reap(popen), boot=boot)
        except OSError as error:
            # No descriptor left to watch it with: it must not run unwatched.
            boot.close()
            starting.add_done_callback(_kill_late)
            raise _not_started(request, error) from error

    def _start(self, request: SpawnRequest, boot: BootPipe) -> subprocess.Popen[bytes]:
        opened: list[int] = []
        try:
            inherited = open_inherited(request, boot.reading, opened)
            environment = {**request.environment, **{name: str(number) for name, number in inherited.items()}}
            if request.linked:
                environment.update(linked_environment())
            popen = subprocess.Popen(  # noqa: S603 - the command is the node's own
                linked_command(request.command) if request.linked else request.command,
                cwd=request.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=open_log(request.stdout_path, opened),
                stderr=open_log(request.stderr_path, opened),
                pass_fds=tuple(inherited.values()),
                start_new_session=True,
            )
        except OSError as error:
            raise _not_started(request, error) from error
        finally:
            for descriptor in opened:
                os.close(descriptor)
        apply_limits(request, popen.pid)
        return popen

    async def close(self) -> None:
        """Do nothing: plain processes are nobody's."""


class BootPipe:
    """Holds a node's boot document back until its process is on record.

    A process that nobody knows of, because zygote or master died at the wrong moment, reads an empty document, and ends
    before it could log in a second time.

    Raises
    ------
    SpawnFailed
        There is no descriptor left for it.
    """

    def __init__(self, request: SpawnRequest) -> None:
        self._payload = request.boot
        self.reading: int | None = None
        self._writing = -1
        if self._payload is not None:
            try:
                self.reading, self._writing = os.pipe()
            except OSError as error:
                raise _not_started(request, error) from error

    def release(self) -> None:
        """Hand the document over; it fits into the pipe (``encode_boot`` sees to it)."""
        if self._payload is not None and self._writing >= 0:
            with contextlib.suppress(BrokenPipeError):  # It has ended already.
                os.write(self._writing, self._payload)
        self.close()

    def close(self) -> None:
        """Close our ends; what was not released never will be."""
        self.close_reading()
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    def close_reading(self) -> None:
        """Close the end that the node has a copy of."""
        if self.reading is not None:
            os.close(self.reading)
            self.reading = None


def _not_started(request: SpawnRequest, error: OSError) -> SpawnFailed:
    return SpawnFailed(
        f"{request.name} could not be started: {error.strerror or error}",
        hint="`fleet doctor` checks memory, descriptors and the interpreter",
    )


def open_log(path: Path, opened: list[int]) -> int:
    """Open a log for appending; where that fails (a full or read-only disk) the output is lost, not the node."""
    try:
        descriptor = _open_or_make(path, os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        log.warning("log cannot be opened, output is lost", extra={"path": str(path), "why": error.strerror})
        descriptor = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    opened.append(descriptor)
    return descriptor


def _open_or_make(path: Path, flags: int) -> int:
    """Open a file that is made when it is missing, and so is its folder."""
    flags |= os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, flags, 0o600)


def open_inherited(request: SpawnRequest, boot: int | None, opened: list[int]) -> dict[str, int]:
    """Open what a node inherits besides its output: boot document and files, each with its environment variable.

    Raises
    ------
    OSError
    """
    inherited = {}
    if boot is not None:
        inherited[BOOT_FD_VARIABLE] = boot
    for variable, path in request.files.items():
        inherited[variable] = _open_or_make(path, os.O_RDWR | os.O_NOFOLLOW)
        opened.append(inherited[variable])
    return inherited


def apply_limits(request: SpawnRequest, pid: int) -> None:
    """Set the limits of a plain process that has just begun; it may already have ended."""
    limits = request.limits
    try:
        for which, wanted in ((resource.RLIMIT_NOFILE, limits.open_files), (resource.RLIMIT_DATA, limits.data_bytes)):
            if wanted:
                _, hard = resource.prlimit(pid, which)
                resource.prlimit(pid, which, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
        if limits.niceness:
            os.setpriority(os.PRIO_PROCESS, pid, limits.niceness)
        if request.cgroup is not None:
            request.cgroup.write_text(str(pid))
    except ProcessLookupError:
        return
    except OSError as error:
        log.warning("limits not set", extra={"node": request.name, "why": error.strerror})


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
