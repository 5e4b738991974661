"""Starting nodes through the zygote; without it, or for what it cannot start, as plain processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from handshake.boot import BOOT_FD_VARIABLE
from master.supervision.errors import FolderMissing, SpawnFailed
from master.supervision.process import ExitReport, NodeProcess
from master.supervision.spawner import (
    PlainSpawner,
    SpawnRequest,
    apply_limits,
    open_log,
    pipe_with,
)
from master.supervision.zygote import MAX_MESSAGE_BYTES, Answer, ForkRequest

log = logging.getLogger(__name__)

PRELOAD = ("discord", "discord.ext.commands", "aiohttp", "handshake.node", "handshake.manifest", "handshake.reports")
"""What nodes import anyway, and what is expensive to: 0.2 CPU-seconds and 25 MB each when they do it alone."""
WARM_TIMEOUT_S = 30.0
FORK_TIMEOUT_S = 10.0
_RESTARTS_BORNE = 5


class ZygoteGone(SpawnFailed):
    """The zygote ended or did not answer."""

    code = "zygote_gone"


class _Connection:
    """One zygote process and the socket to it."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._tickets: dict[int, asyncio.Future[int]] = {}
        self._ticket = 0
        self.reports: dict[int, asyncio.Future[ExitReport]] = {}
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.is_open = True
        control.setblocking(False)
        self._loop.add_reader(control, self._read)

    def _read(self) -> None:
        while True:
            try:
                payload = self._control.recv(MAX_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                payload = b""
            if not payload:
                self.close()
                return
            self._take(msgspec.json.decode(payload, type=Answer))

    def _take(self, answer: Answer) -> None:
        if answer.kind == "ready":
            if not self.ready.done():
                self.ready.set_result(None)
        elif answer.kind == "exited":
            report = self.reports.setdefault(answer.pid, self._loop.create_future())
            if not report.done():
                report.set_result(_report_of(answer.status))
        else:
            ticket = self._tickets.pop(answer.ticket, None)
            if ticket is not None and not ticket.done():
                if answer.kind == "forked":
                    ticket.set_result(answer.pid)
                else:
                    ticket.set_exception(SpawnFailed(f"the zygote could not fork: {answer.problem}"))

    async def fork(self, request: SpawnRequest, descriptors: list[int]) -> int:
        """Ask for a fork; gives the pid.

        Raises
        ------
        SpawnFailed
            The fork failed.
        ZygoteGone
            The zygote is not there.
        """
        self._ticket += 1
        ticket = self._tickets[self._ticket] = self._loop.create_future()
        body = ForkRequest(
            ticket=self._ticket,
            name=request.name,
            folder=str(request.folder),
            entry=request.command[-1],
            environment=request.environment,
            boot_variable=BOOT_FD_VARIABLE,
        )
        try:
            socket.send_fds(self._control, [msgspec.json.encode(body)], descriptors)
            return await asyncio.wait_for(ticket, FORK_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            self.close()
            raise ZygoteGone(f"the zygote did not answer ({type(error).__name__})") from error

    def close(self) -> None:
        """Hang up; the zygote ends, its nodes live on."""
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
                future.exception()  # looked at: nobody may be waiting
        for report in self.reports.values():
            if not report.done():
                report.set_result(ExitReport())

    async def end(self) -> None:
        """Hang up, and wait for the process."""
        self.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, 5.0)


class ZygoteSpawner:
    """Fork nodes from a warmed process.

    A node that is not a plain ``python entry`` is started as a process of its own, and so is every node while no zygote
    can be had: nothing is lost but speed.

    Parameters
    ----------
    environment
        What the zygote itself may see; nothing secret.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._plain = PlainSpawner()
        self._connection: _Connection | None = None
        self._starting = asyncio.Lock()
        self._failures = 0

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
        if request.command != (sys.executable, request.command[-1]) or request.boot is None:
            return await self._plain.spawn(request)
        zygote = await self._zygote()
        if zygote is None:
            return await self._plain.spawn(request)
        try:
            return await self._fork(zygote, request, request.boot)
        except ZygoteGone as error:
            log.warning("starting a plain process instead", extra={"node": request.name, "why": error.message})
            return await self._plain.spawn(request)

    async def _fork(self, zygote: _Connection, request: SpawnRequest, boot: bytes) -> NodeProcess:
        opened: list[int] = []
        try:
            descriptors = [
                pipe_with(boot, opened),
                open_log(request.stdout_path, opened),
                open_log(request.stderr_path, opened),
            ]
            pid = await zygote.fork(request, descriptors)
        except OSError as error:
            raise SpawnFailed(f"{request.name} could not be started: {error.strerror or error}") from error
        finally:
            for descriptor in opened:
                os.close(descriptor)
        apply_limits(request.limits, pid)
        report = zygote.reports.setdefault(pid, asyncio.get_running_loop().create_future())
        report.add_done_callback(lambda _report: zygote.reports.pop(pid, None))
        try:
            return NodeProcess(pid, report)
        except ProcessLookupError:
            # It ended before we could look: too short a life even for a pidfd.
            raise SpawnFailed(f"{request.name} ended at once", hint=f"`fleet logs {request.name}`") from None

    async def _zygote(self) -> _Connection | None:
        async with self._starting:
            if self._connection is not None and self._connection.is_open:
                return self._connection
            if self._failures >= _RESTARTS_BORNE:
                return None
            try:
                self._connection = await self._start()
            except (OSError, TimeoutError, SpawnFailed) as error:
                self._failures += 1
                self._connection = None
                log.error("no zygote, nodes start as plain processes", extra={"why": str(error)})
                return None
            self._failures = 0
            return self._connection

    async def _start(self) -> _Connection:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "master.supervision.zygote", str(theirs.fileno()), *PRELOAD]
            process = await asyncio.to_thread(
                subprocess.Popen,
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        connection = _Connection(process, ours)
        try:
            await asyncio.wait_for(asyncio.shield(connection.ready), WARM_TIMEOUT_S)
        except BaseException:
            connection.close()
            process.kill()
            raise
        return connection

    async def close(self) -> None:
        """End the zygote; running nodes go on."""
        if self._connection is not None:
            await self._connection.end()


def _report_of(status: int) -> ExitReport:
    if os.WIFSIGNALED(status):
        return ExitReport(signal=os.WTERMSIG(status))
    return ExitReport(exit_code=os.WEXITSTATUS(status))
