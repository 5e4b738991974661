"""Signs of readiness (READY_WHEN): a line of a program's log, a port of this box, an answer to HTTP.

Looked for while a program starts, and never afterwards. What it does not show in time is judged by its runner, as a
handshake that does not come.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from handshake.files import open_regular
from master.bus import EventBus
from master.configuration.programs import Pattern, ProgramRefused, ReadySign, compile_pattern, read_ready_sign
from master.events import NodeEnded, NodeSpawned
from master.supervision.logs import NodeLogs
from master.supervision.supervisor import Supervisor

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25
ANSWER_TIMEOUT_S = 5.0
MAX_BYTES = 256 * 1024
"""Of one log in one look; what a flood wrote beyond it is read with the next one."""
MAX_LINE_BYTES = 8_192


@dataclass(slots=True)
class _Tail:
    """What a program adds to one of its logs."""

    path: Path
    offset: int
    unfinished: bytes = b""

    def read(self) -> list[str]:
        """Return the lines that were finished since the last call. Blocks."""
        try:
            descriptor = open_regular(self.path, os.O_RDONLY)
        except OSError:
            return []
        try:
            if os.fstat(descriptor).st_size < self.offset:
                self.offset, self.unfinished = 0, b""  # It was rotated.
            added = os.pread(descriptor, MAX_BYTES, self.offset)
        finally:
            os.close(descriptor)
        self.offset += len(added)
        *whole, last = (self.unfinished + added).split(b"\n")
        self.unfinished = last[-MAX_LINE_BYTES:]
        # A prompt, or a last line without its end, is a line too: it is looked at again when it is longer.
        return [line[:MAX_LINE_BYTES].decode("utf-8", "replace") for line in (*whole, last) if line]


@dataclass(slots=True, eq=False)
class _Start:
    """A start whose sign is awaited."""

    node_id: str
    pid: int
    sign: ReadySign
    pattern: Pattern | None = None
    tails: list[_Tail] = field(default_factory=list)


class ReadySigns:
    """Look for the signs of programs that start, and tell the supervisor.

    Parameters
    ----------
    sign_of
        Returns a node's sign; empty for none.
    log_sizes
        How long a node's two logs were before its last start.
    """

    def __init__(
        self,
        *,
        bus: EventBus,
        supervisor: Supervisor,
        logs: NodeLogs,
        sign_of: Callable[[str], str],
        log_sizes: Mapping[str, tuple[int, int]],
        name_of: Callable[[str], str],
    ) -> None:
        self._supervisor = supervisor
        self._logs = logs
        self._sign_of = sign_of
        self._log_sizes = log_sizes
        self._name_of = name_of
        self._awaited: dict[str, _Start] = {}
        self._begun = asyncio.Event()
        bus.on(NodeSpawned, self._on_spawned)
        bus.on(NodeEnded, self._on_ended)

    def _on_spawned(self, event: NodeSpawned) -> None:
        self._awaited.pop(event.node_id, None)
        text = self._sign_of(event.node_id)
        if not text or event.pid is None:
            return
        try:
            sign = read_ready_sign(text)
            pattern = compile_pattern(sign.value) if sign.kind == "log" else None
        except ProgramRefused as error:
            log.error("a sign of readiness is not valid", extra={"node": event.node_id, "why": error.message})
            return
        start = _Start(event.node_id, event.pid, sign, pattern)
        if sign.kind == "log":
            if event.detail:
                return  # Adopted: its line was written long ago.
            sizes = self._log_sizes.get(event.node_id, (0, 0))
            paths = self._logs.paths(self._name_of(event.node_id))
            start.tails = [_Tail(path, size) for path, size in zip(paths, sizes, strict=True)]
        self._awaited[event.node_id] = start
        self._begun.set()

    def _on_ended(self, event: NodeEnded) -> None:
        self._awaited.pop(event.node_id, None)

    async def run(self) -> None:
        """Look while a sign is awaited, until cancelled."""
        while True:
            await self._begun.wait()
            self._begun.clear()
            looking: dict[_Start, asyncio.Task[None]] = {}
            async with asyncio.TaskGroup() as group:
                while self._awaited:
                    for start in self._awaited.values():
                        if start not in looking:
                            looking[start] = group.create_task(self._await_sign(start))
                    looking = {start: task for start, task in looking.items() if not task.done()}
                    await asyncio.sleep(LOOK_EVERY_S)

    async def _await_sign(self, start: _Start) -> None:
        while self._awaited.get(start.node_id) is start:
            if await self._shows(start):
                if self._awaited.get(start.node_id) is start:
                    del self._awaited[start.node_id]
                    self._supervisor.sign_seen(start.node_id, start.pid)
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def _shows(self, start: _Start) -> bool:
        match start.sign.kind:
            case "log":
                return await asyncio.to_thread(_has_line, start)
            case "port":
                return await _is_open(int(start.sign.value))
            case "http":
                return await _answers(start.sign.value)


def _has_line(start: _Start) -> bool:
    pattern = start.pattern
    return pattern is not None and any(pattern.search(line) is not None for tail in start.tails for line in tail.read())


async def _is_open(port: int) -> bool:
    for host in ("127.0.0.1", "::1"):
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            continue
        await _close(writer)
        return True
    return False


async def _answers(url: str) -> bool:
    """Tell whether a URL of this box answers 2xx; one line of HTTP is all that is read."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\nUser-Agent: fleetmaster\r\n\r\n"
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
            try:
                writer.write(request.encode("ascii", "ignore"))
                status = (await reader.readline()).split(b" ", 2)
            finally:
                await _close(writer)
    except (OSError, TimeoutError, ValueError):
        return False
    return len(status) > 1 and status[0].startswith(b"HTTP/1.") and status[1][:1] == b"2" and len(status[1]) == 3


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
