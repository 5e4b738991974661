"""Lines that nodes write to their standard error, as events: read from their logs, and only while somebody listens."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from handshake.files import open_regular
from master.bus import EventBus
from master.events import StderrLine
from master.security.tokens import hide_tokens
from master.supervision.clock import Clock
from master.supervision.logs import NodeLogs
from master.supervision.supervisor import Supervisor

READ_EVERY_S = 0.5
MAX_BYTES = 64 * 1024
"""Of one node in one reading; what a flood wrote before that is skipped and counted."""
MAX_LINE_CHARACTERS = 2_000


@dataclass(slots=True)
class _Reading:
    """How far a log has been read."""

    offset: int
    skipped_bytes: int = 0


class StderrLines:
    """Publish what nodes write to standard error while somebody subscribes to :class:`~master.events.StderrLine`.

    A node writes to its file itself, so there is nothing to hook into: the files' sizes are looked at twice a second.
    Without a subscriber nothing runs.
    """

    def __init__(self, bus: EventBus, clock: Clock, logs: NodeLogs, supervisor: Supervisor) -> None:
        self._bus = bus
        self._clock = clock
        self._logs = logs
        self._supervisor = supervisor
        self._wanted = asyncio.Event()
        self.begun, self.ended = asyncio.Event(), asyncio.Event()
        """Whether it reads at present, or has ceased to."""
        bus.on_demand(StderrLine, self._on_demand)

    def _on_demand(self, wanted: bool) -> None:
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()

    async def run(self) -> None:
        """Read while somebody listens, until cancelled."""
        while True:
            await self._wanted.wait()
            # What was written before anybody listened is not news.
            readings = await asyncio.to_thread(self._begin, self._paths())
            self.ended.clear()
            self.begun.set()
            while self._wanted.is_set():
                await asyncio.sleep(READ_EVERY_S)
                for node_id, line, skipped in await asyncio.to_thread(_read_all, readings, self._paths()):
                    self._bus.publish(
                        StderrLine(at=self._clock.now(), node_id=node_id, line=line, skipped_bytes=skipped)
                    )
            self.begun.clear()
            self.ended.set()

    def _paths(self) -> dict[str, Path]:
        return {view.node_id: self._logs.paths(view.name)[1] for view in self._supervisor.snapshot()}

    def _begin(self, paths: dict[str, Path]) -> dict[str, _Reading]:
        return {node_id: _Reading(_size(path)) for node_id, path in paths.items()}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read_all(readings: dict[str, _Reading], paths: dict[str, Path]) -> list[tuple[str, str, int]]:
    """Read what was added; returns node, line, and the bytes skipped before it."""
    found: list[tuple[str, str, int]] = []
    for node_id, path in paths.items():
        reading = readings.setdefault(node_id, _Reading(0))
        for line in _read_new(path, reading):
            found.append((node_id, line, reading.skipped_bytes))
            reading.skipped_bytes = 0
    for gone in readings.keys() - paths.keys():
        del readings[gone]
    return found


def _read_new(path: Path, reading: _Reading) -> list[str]:
    size = _size(path)
    if size < reading.offset:
        # The log was rotated: what stood between the last reading and that is in an older file.
        reading.offset = 0
    if size == reading.offset:
        return []
    if size - reading.offset > MAX_BYTES:
        reading.skipped_bytes += size - MAX_BYTES - reading.offset
        reading.offset = size - MAX_BYTES
    try:
        descriptor = open_regular(path, os.O_RDONLY)
    except OSError:
        return []
    try:
        added = os.pread(descriptor, size - reading.offset, reading.offset)
    except OSError:
        return []
    finally:
        os.close(descriptor)
    whole = added.rfind(b"\n") + 1
    if not whole and len(added) >= MAX_LINE_CHARACTERS:
        whole = len(added)
    reading.offset += whole
    text = added[:whole].decode("utf-8", "replace")
    return [hide_tokens(line)[:MAX_LINE_CHARACTERS] for line in text.splitlines() if line.strip()]
