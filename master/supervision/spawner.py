"""Spawning a node's process: the request, and the spawner for plain processes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from handshake.boot import BOOT_FD_VARIABLE
from handshake.files import open_regular
from master.supervision import landlock
from master.supervision.errors import FolderMissing, SpawnFailed
from master.supervision.isolation import Isolation
from master.supervision.linked import linked_command, linked_environment
from master.supervision.process import ExitReport, NodeProcess

log = logging.getLogger(__name__)

SPAWN_TIMEOUT_S = 20.0
_NO_FILE = (errno.EINVAL, errno.ELOOP, errno.ENXIO)
"""What is said to an opener of a device or a pipe with a reader, of a link, of a socket or a pipe without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resource limits of a node; 0 for no limit.

    Parameters
    ----------
    data_bytes
        RLIMIT_DATA: the hard limit on its private memory, without a cgroup.
    niceness
        0 to 19; replaces the CPU weight without a cgroup.
    log_bytes_s
        Sustained rate at which it may write to its logs.
    """

    data_bytes: int = 0
    open_files: int = 0
    niceness: int = 0
    log_bytes_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnRequest:
    """Everything that one start needs.

    Parameters
    ----------
    environment
        The complete environment of the node; nothing is inherited.
    boot
        The boot document, read from an inherited descriptor; None for a bot that does not speak the protocol.
    files
        Files that the node inherits open for reading and writing, by the environment variable that holds the number of
        the descriptor.
    cgroup
        The ``cgroup.procs`` of the node; None without cgroups.
    plain
        Never fork it from the zygote.
    linked
        nodekit joins its program to the fleet, which knows nothing of one.
    lent
        Its program uses nodekit, and has an environment of its own: what that does not have is lent to it.
    isolation
        What it may open; None: as much as the master.
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
    lent: bool = False
    isolation: Isolation | None = None
    limits: Limits = Limits()


class Spawner(Protocol):
    """Start processes."""

    trouble: str
    """Why nodes start in another way than they should, in words for the operator; empty when they do not."""

    async def spawn(self, request: SpawnRequest) -> NodeProcess:
        """Start a node in its own session and process group.

        Raises
        ------
        SpawnFailed
        """
        ...

    async def close(self) -> None:
        """Release the spawner's resources; running nodes continue."""
        ...


class PlainSpawner:
    """Start each node as a process of its own, with its own interpreter."""

    trouble = ""

    async def spawn(self, request: SpawnRequest) -> NodeProcess:
        """Start a node in its own session and process group.

        Raises
        ------
        SpawnFailed
        """
        if not request.folder.is_dir():
            raise FolderMissing(f"the folder of {request.name} is gone: {request.folder}", hint="restore it")
        boot = BootPipe(request)
        # In a thread: between fork and exec the caller blocks for milliseconds. Shielded: a started process must not be
        # lost when the caller is cancelled.
        starting = asyncio.ensure_future(asyncio.to_thread(self._start, request, boot))
        try:
            async with asyncio.timeout(SPAWN_TIMEOUT_S):
                popen = await asyncio.shield(starting)
        except TimeoutError:
            starting.add_done_callback(_kill_abandoned)
            raise SpawnFailed(f"{request.name} could not be started within {SPAWN_TIMEOUT_S:g} s") from None
        except asyncio.CancelledError:
            starting.add_done_callback(_kill_abandoned)
            raise
        finally:
            starting.add_done_callback(lambda _started: boot.close_reading())
            if starting.done() and (starting.cancelled() or starting.exception() is not None):
                boot.close()
        try:
            return NodeProcess(popen.pid, lambda: _reap(popen), boot=boot)
        except OSError as error:
            # There is no descriptor left to watch it with, and it must not run unwatched.
            boot.close()
            starting.add_done_callback(_kill_abandoned)
            raise _not_started(request, error) from error

    def _start(self, request: SpawnRequest, boot: BootPipe) -> subprocess.Popen[bytes]:
        opened: list[int] = []
        try:
            inherited = open_inherited(request, boot.reading, opened)
            environment = {**request.environment, **{name: str(number) for name, number in inherited.items()}}
            if request.linked or request.lent:
                environment.update(linked_environment(lent=request.lent))
            if request.isolation is not None:
                # A node may write to its file of variables: LD_PRELOAD must not act before the process is restricted.
                ours = "FLEET_"
                environment = {
                    name if name.startswith(ours) else landlock.LATER + name: value
                    for name, value in environment.items()
                }
            popen = subprocess.Popen(  # noqa: S603 - the command is the node's own
                _command_of(request),
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
        """Do nothing: this spawner has no resources."""


class BootPipe:
    """Holds back a node's boot document until its process is recorded.

    When zygote or master die before that, the unrecorded process reads an empty document, and ends before it could log
    in a second time.

    Raises
    ------
    SpawnFailed
        No file descriptor is available.
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
        """Send the document; it fits into the pipe (``encode_boot`` ensures that)."""
        if self._payload is not None and self._writing >= 0:
            with contextlib.suppress(BrokenPipeError):  # The process has ended.
                os.write(self._writing, self._payload)
        self.close()

    def close(self) -> None:
        """Close our ends; a document that was not released is discarded."""
        self.close_reading()
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    def close_reading(self) -> None:
        """Close the reading end, of which the node has a copy."""
        if self.reading is not None:
            os.close(self.reading)
            self.reading = None


def _command_of(request: SpawnRequest) -> tuple[str, ...]:
    """Return the command that starts a plain process.

    Raises
    ------
    OSError
        There is no such program.
    """
    command = linked_command(request.command) if request.linked or request.lent else request.command
    if request.isolation is None:
        return command
    # What runs first is our own: without this, a program that does not exist would be an exit instead of an error.
    os.stat(command[0])
    if not os.access(command[0], os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), command[0])
    rules = msgspec.json.encode((request.isolation.readable, request.isolation.writable)).decode()
    return (sys.executable, "-I", "-S", landlock.__file__, rules, *command)


def _not_started(request: SpawnRequest, error: OSError) -> SpawnFailed:
    return SpawnFailed(
        f"{request.name} could not be started: {error.strerror or error}",
        hint="`fleet doctor` checks memory, descriptors and the interpreter",
    )


def open_log(path: Path, opened: list[int]) -> int:
    """Open a log for appending; on a full or read-only disk the output is discarded, and the node starts anyway.

    A pipe, a link or a socket in its place is removed: a node that put it there does not hold up its own start.
    """
    try:
        try:
            descriptor = _open_or_make(path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            log.warning("a log was no file, and was replaced", extra={"path": str(path), "why": error.strerror})
            path.unlink()
            descriptor = _open_or_make(path, os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        log.warning("log cannot be opened, output is discarded", extra={"path": str(path), "why": error.strerror})
        descriptor = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    opened.append(descriptor)
    return descriptor


def _open_or_make(path: Path, flags: int) -> int:
    """Open a file; it and its folder are created if missing. What is no file is refused, and not waited for."""
    try:
        return open_regular(path, flags | os.O_CREAT)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return open_regular(path, flags | os.O_CREAT)


def open_inherited(request: SpawnRequest, boot: int | None, opened: list[int]) -> dict[str, int]:
    """Open the descriptors that a node inherits besides its output; returns them by environment variable.

    Raises
    ------
    OSError
    """
    inherited = {}
    if boot is not None:
        inherited[BOOT_FD_VARIABLE] = boot
    for variable, path in request.files.items():
        inherited[variable] = _open_or_make(path, os.O_RDWR)
        opened.append(inherited[variable])
    return inherited


def apply_limits(request: SpawnRequest, pid: int) -> None:
    """Set the limits of a plain process that was just started; it may already have ended."""
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
    # The pidfd has reported the exit, so this does not block.
    code = popen.wait()
    return ExitReport(signal=-code) if code < 0 else ExitReport(exit_code=code)


def _kill_abandoned(starting: asyncio.Future[subprocess.Popen[bytes]]) -> None:
    """Kill a process that started after its caller gave up."""
    if starting.cancelled() or starting.exception() is not None:
        return
    popen = starting.result()
    popen.kill()
    popen.wait()
