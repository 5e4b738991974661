"""The spawner that forks nodes from the zygote, with plain processes as a fallback."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

import handshake
import nodekit
from master.supervision.errors import FolderMissing, SpawnFailed
from master.supervision.process import ExitReport, NodeProcess, parse_stat
from master.supervision.spawner import (
    BootPipe,
    PlainSpawner,
    SpawnRequest,
    open_inherited,
    open_log,
)
from master.supervision.zygote import MAX_MESSAGE_BYTES, MERGE_MEMORY, Answer, ForkRequest

log = logging.getLogger(__name__)

PRELOAD = (
    "discord",
    "discord.ext.commands",
    "aiohttp",
    "nodekit.bot",
    "nodekit.running",
    "nodekit.linking",
    "nodekit.patching",
    "nodekit.settling",
    "nodekit.warmup.warm_up()",
)
"""Expensive modules that every node imports: 0.2 CPU-seconds and 25 MB for each node without the zygote."""
WARM_TIMEOUT_S = 30.0
WARM_PATIENCE_S = 2.0
"""How long a start waits for the successor of a zygote that hung; then it is a plain process."""
ANSWER_TIMEOUT_S = 2.0
"""How long a zygote that was asked for something may say nothing at all; a fork takes it milliseconds."""
LIBRARIES_CHECK_S = 2.0
END_TIMEOUT_S = 5.0
_MAX_FAILURES = 5
_LOOK_EVERY_S = 0.25


class ZygoteGone(SpawnFailed):
    """The zygote ended or did not answer."""

    code = "zygote_gone"


class _Forked(NamedTuple):
    pid: int
    pidfd: int
    report: asyncio.Future[ExitReport]


class _Libraries:
    """Modification times of the libraries when a zygote loaded them."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = [str(path) for path in paths]
        self._times = self._read()

    @property
    def changed(self) -> bool:
        """Whether a library has changed since. On the restart path, so it reads each time only once."""
        return self._read() != self._times

    def _read(self) -> list[int]:
        return [_time_of(path) for path in self._paths]


def _time_of(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


class _Connection:
    """One zygote process and the socket to it."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, libraries: _Libraries) -> None:
        self._process = process
        self._control = control
        self.libraries = libraries
        self._loop = asyncio.get_running_loop()
        self._tickets: dict[int, asyncio.Future[_Forked]] = {}
        self._ticket = 0
        self._reports: dict[int, asyncio.Future[ExitReport]] = {}
        self._processes: dict[int, NodeProcess] = {}
        self._retired = False
        self._heard_at = time.monotonic()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.is_open = True
        control.setblocking(False)
        self._loop.add_reader(control, self._read)

    def _read(self) -> None:
        while self.is_open:
            try:
                payload, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, 1)
            except BlockingIOError:
                return
            except OSError:
                payload, descriptors = b"", []
            if not payload:
                self.close()
                return
            self._heard_at = time.monotonic()
            self._handle(msgspec.json.decode(payload, type=Answer), descriptors)

    def _handle(self, answer: Answer, descriptors: list[int]) -> None:
        match answer.kind:
            case "ready":
                if not self.ready.done():
                    self.ready.set_result(None)
            case "exited":
                self._processes.pop(answer.pid, None)
                report = self._reports.pop(answer.pid, None)
                if report is not None and not report.done():
                    report.set_result(_report_of(answer))
                if self._retired and not self._reports:
                    self.close()
            case "stopped":
                if answer.pid in self._processes:
                    self._processes[answer.pid].notify_stopped()
            case _:
                self._resolve_ticket(answer, descriptors)

    def _resolve_ticket(self, answer: Answer, descriptors: list[int]) -> None:
        ticket = self._tickets.pop(answer.ticket, None)
        if ticket is None or ticket.done():
            # The caller gave up: without its boot document the node ends by itself.
            for descriptor in descriptors:
                os.close(descriptor)
        elif answer.kind == "forked" and descriptors:
            report = self._reports[answer.pid] = self._loop.create_future()
            ticket.set_result(_Forked(answer.pid, descriptors[0], report))
        else:
            ticket.set_exception(SpawnFailed(f"the zygote could not fork: {answer.problem}"))

    async def fork(self, request: SpawnRequest, inherit: tuple[str, ...], descriptors: list[int]) -> _Forked:
        """Request a fork; returns the pid, a pidfd, and a future of the exit report.

        Raises
        ------
        SpawnFailed
            The fork failed.
        ZygoteGone
            The zygote has ended or does not answer.
        """
        self._ticket += 1
        ticket = self._tickets[self._ticket] = self._loop.create_future()
        limits = request.limits
        body = ForkRequest(
            ticket=self._ticket,
            name=request.name,
            folder=str(request.folder),
            entry=request.command[-1],
            environment=request.environment,
            inherit=inherit,
            cgroup=request.cgroup is not None,
            open_files=limits.open_files,
            data_bytes=limits.data_bytes,
            niceness=limits.niceness,
            log_bytes_s=limits.log_bytes_s,
            linked=request.linked,
            isolated=request.isolation is not None,
            readable=() if request.isolation is None else request.isolation.readable,
            writable=() if request.isolation is None else request.isolation.writable,
        )
        try:
            socket.send_fds(self._control, [msgspec.json.encode(body)], descriptors)
            return await self._answered(ticket)
        except (OSError, TimeoutError) as error:
            self.kill()
            raise ZygoteGone(f"the zygote did not answer ({type(error).__name__})") from error

    async def _answered(self, ticket: asyncio.Future[_Forked]) -> _Forked:
        """Wait for an answer for as long as the zygote says anything: it may have others to fork first.

        Raises
        ------
        TimeoutError
            It has said nothing for :data:`ANSWER_TIMEOUT_S`.
        """
        asked_at = time.monotonic()
        while not ticket.done():
            left_s = max(asked_at, self._heard_at) + ANSWER_TIMEOUT_S - time.monotonic()
            if left_s <= 0 or self.is_stopped:
                raise TimeoutError
            await asyncio.wait((ticket,), timeout=min(left_s, _LOOK_EVERY_S))
        return ticket.result()

    @property
    def is_stopped(self) -> bool:
        """Whether a signal has stopped the zygote: it would never answer."""
        try:
            return parse_stat(Path(f"/proc/{self._process.pid}/stat").read_bytes()).stopped
        except (OSError, ValueError):
            return False  # It has ended, which its socket tells.

    def kill(self) -> None:
        """End a zygote that does not answer; its nodes keep running."""
        self.close()
        self._process.kill()

    def watch(self, forked: _Forked, boot: BootPipe, *, bounded_output: bool) -> NodeProcess:
        """Return the forked process, watched."""
        process = NodeProcess(forked.pid, forked.report, pidfd=forked.pidfd, boot=boot, bounded_output=bounded_output)
        if not forked.report.done():
            self._processes[forked.pid] = process
        return process

    def retire(self) -> None:
        """Accept no more requests; close once the last node has ended."""
        self._retired = True
        if not self._reports:
            self.close()

    def close(self) -> None:
        """Close the socket; the zygote ends, its nodes keep running."""
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._control)
        self._control.close()
        gone = ZygoteGone("the zygote is gone")
        waiting: list[asyncio.Future[Any]] = [self.ready, *self._tickets.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(gone)
                future.exception()  # mark as retrieved: there may be no waiter
        self._processes.clear()
        reports, self._reports = self._reports, {}
        for report in reports.values():
            if not report.done():
                report.set_result(ExitReport())

    async def end(self) -> None:
        """Close, and wait for the process."""
        self.close()
        try:
            await asyncio.to_thread(self._process.wait, END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)


class ZygoteSpawner:
    """Fork nodes from a warmed-up process.

    A node that is not a plain ``python entry`` is started as a plain process. So is every node while no zygote can be
    started: only speed is lost.

    Parameters
    ----------
    environment
        Environment of the zygote itself; must not contain secrets.
    libraries
        Returns the folders and files that change when a library of the nodes is upgraded.
    check_interval_s
        Minimum seconds between two checks of them.
    merge_memory
        Let the kernel merge equal pages of the zygote and its nodes; see :mod:`master.supervision.merging`.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        libraries: Callable[[], list[Path]] | None = None,
        check_interval_s: float = LIBRARIES_CHECK_S,
        merge_memory: bool = False,
    ) -> None:
        self._arguments = (*PRELOAD, *((MERGE_MEMORY,) if merge_memory else ()))
        self._environment = dict(environment)
        self._libraries = libraries or library_folders
        self._check_interval_s = check_interval_s
        self._plain = PlainSpawner()
        self._connection: _Connection | None = None
        self._retired: list[_Connection] = []
        self._starting: asyncio.Task[_Connection | None] | None = None
        self._failures = 0
        self.trouble = ""
        """Why nodes start as plain processes now, in words for the operator; empty when the zygote forks them."""
        self._checked_at = float("-inf")

    async def warm(self) -> None:
        """Start the zygote before it is needed; a failure is logged, and nodes start as plain processes."""
        await self._zygote()

    async def spawn(self, request: SpawnRequest) -> NodeProcess:
        """Start a node in its own session and process group.

        Raises
        ------
        SpawnFailed
        """
        if not request.folder.is_dir():
            raise FolderMissing(f"the folder of {request.name} is gone: {request.folder}", hint="restore it")
        if request.plain or request.boot is None or request.command != (sys.executable, request.command[-1]):
            return await self._plain.spawn(request)
        zygote = await self._zygote()
        if zygote is None:
            return await self._plain.spawn(request)
        try:
            return await self._fork(zygote, request)
        except ZygoteGone as error:
            # If it has already forked: that process never gets its boot document, and ends by itself.
            log.warning("starting a plain process instead", extra={"node": request.name, "why": error.message})
            self.trouble = f"{error.message}; it is replaced"
            self._begin()
            return await self._plain.spawn(request)

    async def _fork(self, zygote: _Connection, request: SpawnRequest) -> NodeProcess:
        opened: list[int] = []
        boot = BootPipe(request)
        try:
            descriptors = [open_log(request.stdout_path, opened), open_log(request.stderr_path, opened)]
            inherited = open_inherited(request, boot.reading, opened)
            descriptors += inherited.values()
            if request.cgroup is not None:
                opened.append(os.open(request.cgroup, os.O_WRONLY | os.O_CLOEXEC))
                descriptors.append(opened[-1])
            forked = await zygote.fork(request, tuple(inherited), descriptors)
        except BaseException as error:
            boot.close()
            if isinstance(error, OSError):
                raise SpawnFailed(f"{request.name} could not be started: {error.strerror or error}") from error
            raise
        finally:
            boot.close_reading()
            for descriptor in opened:
                os.close(descriptor)
        return zygote.watch(forked, boot, bounded_output=request.limits.log_bytes_s > 0)

    async def _zygote(self) -> _Connection | None:
        """Return the zygote; None while none can be had, and where replacing one that hung takes too long."""
        connection = self._connection
        if connection is not None and connection.is_open:
            if connection.is_stopped:
                self.trouble = "a signal has stopped the zygote; it is replaced"
                log.warning("the zygote was stopped by a signal, and is replaced")
                connection.kill()
            elif not self._libraries_changed(connection):
                return connection
            else:
                log.info("the libraries changed: a new zygote, beside the old one until its nodes have ended")
                self._retire(connection)
        starting = self._begin()
        if starting is None:
            return None
        await asyncio.wait((starting,), timeout=WARM_PATIENCE_S if self.trouble else None)
        return starting.result() if starting.done() and not starting.cancelled() else None

    def _begin(self) -> asyncio.Task[_Connection | None] | None:
        """Begin to start a zygote, or return the start that has begun; None after too many failures."""
        if self._starting is None or self._starting.done():
            if self._failures >= _MAX_FAILURES:
                return None
            self._connection = None
            self._starting = asyncio.create_task(self._start_or_give_up(), name="zygote")
        return self._starting

    async def _start_or_give_up(self) -> _Connection | None:
        try:
            connection = await self._start()
        except (OSError, TimeoutError, SpawnFailed) as error:
            self._failures += 1
            self.trouble = f"no zygote ({error}): nodes start as plain processes"
            log.error("no zygote, nodes start as plain processes", extra={"why": str(error)})
            return None
        self._failures, self.trouble, self._connection = 0, "", connection
        return connection

    def _libraries_changed(self, connection: _Connection) -> bool:
        """Check the libraries, but not again for each of a hundred starts."""
        now = time.monotonic()
        if now - self._checked_at < self._check_interval_s:
            return False
        self._checked_at = now
        return connection.libraries.changed

    def _retire(self, connection: _Connection) -> None:
        self._retired = [old for old in self._retired if old.is_open]
        connection.retire()
        if connection.is_open:
            self._retired.append(connection)

    async def _start(self) -> _Connection:
        libraries = _Libraries(self._libraries())
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "master.supervision.zygote", str(theirs.fileno()), *self._arguments]
            process = await asyncio.to_thread(
                subprocess.Popen,
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        connection = _Connection(process, ours, libraries)
        try:
            async with asyncio.timeout(WARM_TIMEOUT_S):
                await asyncio.shield(connection.ready)
        except BaseException:
            connection.close()
            process.kill()
            raise
        return connection

    async def close(self) -> None:
        """End the zygote; running nodes continue."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        for connection in (*self._retired, self._connection):
            if connection is not None:
                await connection.end()


def library_folders() -> list[Path]:
    """Return the folders and files that change when a library of the nodes is upgraded.

    An installer adds and removes a ``.dist-info`` folder in site-packages, which changes that folder's own time.
    """
    found = (importlib.util.find_spec(name) for name in ("discord", "msgspec"))
    folders = {Path(spec.origin).parents[1] for spec in found if spec is not None and spec.origin}
    own = [Path(package.__path__[0]) for package in (handshake, nodekit)]
    return [*sorted(folders), *own, *sorted(path for folder in own for path in folder.glob("*.py"))]


def _report_of(answer: Answer) -> ExitReport:
    status = answer.status
    return ExitReport(
        exit_code=None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status),
        signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        cpu_s=answer.cpu_s,
        peak_rss_bytes=answer.peak_rss_bytes,
    )
