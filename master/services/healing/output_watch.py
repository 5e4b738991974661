"""What nodes write, looked through for errors: told of by the kernel, read and matched in a worker thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from master.bus import EventBus
from master.events import DirectoryChanged, NodeEnded
from master.ledger.rows.records import ReadinessKind
from master.services.core.directory import NodeDirectory
from master.services.healing.error_blocks import Block, ErrorBlocks
from master.services.healing.exit_output import ExitOutput
from master.services.healing.library import SolutionLibrary
from master.services.healing.matching import Match, Matcher
from master.services.healing.monitor import ErrorMonitor
from master.services.healing.output_tail import Tail, size_of
from master.services.healing.sighting import SeenIn, Sighting
from master.supervision.clock import Clock
from master.supervision.inotify import FolderWatch
from master.supervision.last_output import OutputMark
from master.supervision.logs import NodeLogs

log = logging.getLogger(__name__)

NODE_BUDGET_S = 0.03
"""Of processor time for one stream in one round; of what is left then only the end is read."""
SHARE = 0.1
"""Of a core: what rounds take at most, under whatever storm; the next one waits for as long as that needs."""
LAST_BYTES = 32 * 1024
SMALL_BYTES = 64 * 1024
"""Nodes that wrote less are looked at first, and together."""
YIELD_S = 0.0005
"""Between two pieces of a flood: the event loop takes the interpreter, which a busy thread would keep for 5 ms."""
UNFINISHED_S = 1.0
"""A traceback or a line that does not go on for this long is taken as it is."""
MAX_BLOCKS = 20
"""Different errors of one stream in one round."""
MAX_UNKNOWN_A_MINUTE = 120
"""Errors of one node that no solution knows."""
TOLD_EVERY_S = 3_600.0
_MAX_ENDS = 16
_OLDEST_END = timedelta(minutes=1)
"""The offset of one that is older may be of another file."""
_MAX_SHOWN_BYTES = 32_768
_VARYING = re.compile(r"0x[0-9a-f]+|\d+")


class _End(NamedTuple):
    """The end of a process in a log of its node."""

    offset: int
    at: datetime


@dataclass(slots=True)
class _Stream:
    """One log of one node, and what is unfinished in it."""

    node_id: str
    seen_in: SeenIn
    tail: Tail
    unfinished_s: float
    blocks: ErrorBlocks = field(default_factory=ErrorBlocks)
    ends: deque[_End] = field(default_factory=lambda: deque(maxlen=_MAX_ENDS))
    grew_at_s: float = 0.0
    is_open: bool = False
    told_skipped: int = 0


@dataclass(slots=True)
class _Found:
    """Errors of one kind in one round."""

    block: Block
    at: datetime


class OutputWatch:
    """Look through what nodes write to their logs from now on.

    A node writes to its file itself. The kernel tells which files grew; of those the new lines are read in a worker
    thread, all patterns are tried on them there, and only what is an error comes back. Standard output is read of
    programs that do not speak the protocol, and of all while a solution applies to it.
    """

    def __init__(
        self,
        *,
        bus: EventBus,
        clock: Clock,
        logs: NodeLogs,
        directory: NodeDirectory,
        folders: FolderWatch,
        exit_output: ExitOutput,
        library: SolutionLibrary,
        monitor: ErrorMonitor,
        unfinished_s: float = UNFINISHED_S,
    ) -> None:
        self._unfinished_s = unfinished_s
        self._clock = clock
        self._logs = logs
        self._directory = directory
        self._library = library
        self._monitor = monitor
        self._streams: dict[Path, _Stream] = {}
        self._grew: set[Path] = set()
        self._any_grew = False
        self._news = asyncio.Event()
        self._reads_stdout = False
        self._unknown = Counter[str]()
        self._minute = 0
        self._told_at: dict[str, float] = {}
        self.skipped_bytes = Counter[str]()
        """What was not read of floods, by node."""
        self.left_out = Counter[str]()
        """Errors beyond what is taken in a round or a minute, by node."""
        self.begun = asyncio.Event()
        """Set once it was looked at what was there when it began."""
        bus.on(DirectoryChanged, lambda event: self._on_directory(event.node_id))
        exit_output.follow(self._on_ended)
        library.follow(self._on_library)
        folders.watch(logs.paths("any")[0].parent, self._on_grown)

    # What is watched

    def _on_directory(self, node_id: str) -> None:
        node = self._directory.get(node_id)
        paths = () if node is None else self._logs.paths(node.name)
        if node is None or any(path not in self._streams for path in paths):
            for path in [path for path, stream in self._streams.items() if stream.node_id == node_id]:
                del self._streams[path]
        for path, seen_in in zip(paths, (SeenIn.STDOUT, SeenIn.STDERR), strict=True):
            if path not in self._streams:
                # What was written before, by whomever, is no news.
                self._streams[path] = _Stream(node_id, seen_in, Tail(path, size_of(path)), self._unfinished_s)

    def _on_library(self) -> None:
        self._reads_stdout = any(SeenIn.STDOUT in entry.solution.applies_to for entry in self._library.entries.values())

    def _on_ended(self, event: NodeEnded, mark: OutputMark) -> None:
        for path, offset in zip(self._logs.paths(self._directory.name_of(event.node_id)), mark, strict=True):
            if path in self._streams:
                self._streams[path].ends.append(_End(offset, event.at))

    def _on_grown(self, names: frozenset[str]) -> None:
        folder = self._logs.paths("any")[0].parent
        self._any_grew = self._any_grew or not names
        self._grew.update(path for path in map(folder.joinpath, names) if path in self._streams)
        if self._grew or self._any_grew:
            self._news.set()

    def _is_read(self, stream: _Stream) -> bool:
        if stream.seen_in is SeenIn.STDERR or self._reads_stdout:
            return True
        node = self._directory.get(stream.node_id)
        return node is not None and node.readiness is ReadinessKind.PROCESS

    # Rounds

    async def run(self) -> None:
        """Read until cancelled; sleeps while nobody writes."""
        # What was written before files were watched is read with the first round.
        self._any_grew = True
        while True:
            await self._wait()
            streams = [self._streams[path] for path in self._take_grown() if path in self._streams]
            began = time.monotonic()
            await self._read_all(streams)
            self.begun.set()
            await asyncio.sleep((time.monotonic() - began) * (1 / SHARE - 1))

    async def _wait(self) -> None:
        """Wait until something grew, or what is unfinished has been so for long enough."""
        if self._any_grew:
            return
        is_open = any(stream.is_open for stream in self._streams.values())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._unfinished_s if is_open else None):
                await self._news.wait()
        self._news.clear()

    def _take_grown(self) -> Iterable[Path]:
        grew, self._grew = self._grew, set()
        if self._any_grew:
            self._any_grew = False
            grew = set(self._streams)
        # What is unfinished is looked at with each round: it may have been finished without being told.
        return grew | {path for path, stream in self._streams.items() if stream.is_open}

    async def _read_all(self, streams: Sequence[_Stream]) -> None:
        """Read what grew: first what is little, so that a storm holds up nobody."""
        wanted = [stream for stream in streams if self._is_read(stream)]
        unwanted = [stream for stream in streams if not self._is_read(stream)]
        now, matcher = self._clock.now(), self._library.matcher
        large = await asyncio.to_thread(_sort_out, wanted, unwanted)
        small = [stream for stream in wanted if stream not in large]
        for group in [small, *([stream] for stream in large)]:
            if group:
                self._hand_over(await asyncio.to_thread(_read_streams, group, matcher, now))

    def _hand_over(self, results: list[tuple[_Stream, list[tuple[Sighting, list[Match]]], int]]) -> None:
        minute = int(self._clock.monotonic() // 60)
        if minute != self._minute:
            self._minute = minute
            self._unknown.clear()
        for stream, found, left_out in results:
            node_id = stream.node_id
            self.left_out[node_id] += left_out
            self._tell_skipped(stream)
            for sighting, matches in found:
                if not matches:
                    self._unknown[node_id] += 1
                    if self._unknown[node_id] > MAX_UNKNOWN_A_MINUTE:
                        self.left_out[node_id] += sighting.count
                        continue
                self._monitor.take_matched(sighting, matches)

    def _tell_skipped(self, stream: _Stream) -> None:
        skipped = stream.tail.skipped_bytes - stream.told_skipped
        if not skipped:
            return
        stream.told_skipped = stream.tail.skipped_bytes
        node_id, now = stream.node_id, self._clock.monotonic()
        self.skipped_bytes[node_id] += skipped
        if now - self._told_at.get(node_id, float("-inf")) > TOLD_EVERY_S:
            self._told_at[node_id] = now
            log.warning(
                "a node floods its log: only samples of it are searched for errors",
                extra={"node": self._directory.name_of(node_id), "skipped_bytes": skipped},
            )


# In the worker thread


def _sort_out(wanted: Sequence[_Stream], unwanted: Sequence[_Stream]) -> list[_Stream]:
    """Return the streams that grew by much, the least first; pass by what is not wanted."""
    for stream in unwanted:
        stream.tail.pass_by()
    sizes = {id(stream): stream.tail.added_bytes for stream in wanted}
    large = [stream for stream in wanted if sizes[id(stream)] > SMALL_BYTES]
    return sorted(large, key=lambda stream: sizes[id(stream)])


def _read_streams(
    streams: Sequence[_Stream], matcher: Matcher, now: datetime
) -> list[tuple[_Stream, list[tuple[Sighting, list[Match]]], int]]:
    return [(stream, *_read_stream(stream, matcher, now)) for stream in streams]


def _read_stream(stream: _Stream, matcher: Matcher, now: datetime) -> tuple[list[tuple[Sighting, list[Match]]], int]:
    """Return the errors that a stream has shown since the last round, and how many more there were."""
    gathered, monotonic = _Gathered(stream), time.monotonic()
    if _read_within_budget(stream, matcher, now, gathered):
        stream.grew_at_s = monotonic
    elif monotonic - stream.grew_at_s > 0.9 * stream.unfinished_s:
        unfinished = stream.tail.take_unfinished()
        if unfinished:
            gathered.add(stream.blocks.feed(unfinished, matcher.scan(stream.seen_in, unfinished)), now)
        gathered.add(stream.blocks.flush(), now)
    stream.is_open = stream.blocks.is_open or stream.tail.is_unfinished
    return gathered.sightings(), gathered.left_out


def _read_within_budget(stream: _Stream, matcher: Matcher, now: datetime, gathered: _Gathered) -> bool:
    """Read and match; True if something was there."""
    began, grew, tail = time.thread_time(), False, stream.tail
    ends = [end for end in stream.ends if now - end.at < _OLDEST_END]
    stream.ends.clear()
    for is_rest in (False, True):
        with contextlib.closing(tail.read([end.offset for end in ends])) as pieces:
            for piece in pieces:
                if grew:
                    time.sleep(YIELD_S)
                grew = True
                at = min((end.at for end in ends if piece.end <= end.offset), default=now)
                gathered.add(stream.blocks.feed(piece.content, matcher.scan(stream.seen_in, piece.content)), at)
                if any(piece.end == end.offset for end in ends):
                    gathered.add(stream.blocks.flush(), at)
                if not is_rest and time.thread_time() - began > NODE_BUDGET_S:
                    break
            else:
                return grew
        # Of the rest, only the end.
        gathered.add(stream.blocks.flush(), now)
        tail.skip(tail.added_bytes - LAST_BYTES)
    return grew


class _Gathered:
    """The errors of one stream in one round: those alike are one, counted."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self._found: dict[tuple[frozenset[str], str], _Found] = {}
        self.left_out = 0

    def add(self, blocks: Iterable[Block], at: datetime) -> None:
        for block in blocks:
            solutions = frozenset(match.solution.id for match in block.matches)
            key = (solutions, _VARYING.sub("N", block.lines[-1][:500]))
            known = self._found.get(key)
            if known is not None:
                known.block.count += 1
            elif len(self._found) < MAX_BLOCKS or (solutions and len(self._found) < 2 * MAX_BLOCKS):
                self._found[key] = _Found(block, at)
            else:
                self.left_out += 1

    def sightings(self) -> list[tuple[Sighting, list[Match]]]:
        return [(self._sighting_of(found), found.block.matches) for found in self._found.values()]

    def _sighting_of(self, found: _Found) -> Sighting:
        block = found.block
        return Sighting(
            node_id=self._stream.node_id,
            at=found.at,
            seen_in=self._stream.seen_in,
            text=block.text[:_MAX_SHOWN_BYTES],
            lines_before=block.lines_before,
            exception=block.exception,
            count=block.count,
        )
