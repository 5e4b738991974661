"""Tests of solutions: what one would find in all that the fleet has stored, and what it would have done."""

from __future__ import annotations

import asyncio
import collections
import heapq
import itertools
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from master.configuration.settings import HealingSettings
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.services.core.directory import NodeDirectory
from master.services.core.exit_meaning import without_stamp
from master.services.core.solution_views import MatchedLine, PatternCost, ReadingProgress, SolutionTest
from master.services.healing.library import SolutionLibrary
from master.services.healing.matching import MAX_LINE_BYTES, Match, Matcher, compile_pattern
from master.services.healing.sighting import SeenIn
from master.services.healing.solution import Solution
from master.services.repair.stored import StoredFile, StoredText, stored_files, stored_texts, time_of_line, whole_lines
from master.supervision.logs import NodeLogs

if TYPE_CHECKING:
    import re2

log = logging.getLogger(__name__)

MOST_BYTES = 256 << 20
"""Of all logs together, the newest first."""
MOST_SECONDS = 30.0
MOST_TIMES = 100_000
"""Matches whose times are kept, to say how often it would have acted."""
SHOWN_LINES = 20
_TIMED_BYTES = 512 << 10
_LEAST_TIMED_BYTES = 64 << 10
"""Of less text a pattern's time would say little: it is read several times."""
_ASKED_OTHERS = 2_000
"""Matching lines that all other solutions are asked about."""
_REST = 0.25
"""After each chunk the thread rests for this part of the time that it took: the master has bots to restart."""
_PROGRESS_S = 0.25
_AN_HOUR_S = 3_600.0

Tell = Callable[[ReadingProgress], Awaitable[None]]


class SolutionTesting:
    """Test solutions on what is stored; one at a time.

    Parameters
    ----------
    healing
        Returns the settings that are in effect.
    """

    def __init__(
        self,
        *,
        library: SolutionLibrary,
        directory: NodeDirectory,
        logs: NodeLogs,
        ledger: Ledger,
        healing: Callable[[], HealingSettings],
    ) -> None:
        self._library = library
        self._directory = directory
        self._logs = logs
        self._ledger = ledger
        self._healing = healing
        self._one_at_a_time = asyncio.Lock()

    async def test(
        self,
        solution: Solution,
        tell: Tell,
        *,
        most_bytes: int = MOST_BYTES,
        most_seconds: float = MOST_SECONDS,
    ) -> SolutionTest:
        """Look for what a solution knows; nothing is done about it. Cancelling it ends the reading."""
        async with self._one_at_a_time:
            nodes, notes = list(self._directory), list[str]()
            try:
                texts = await self._ledger.read(lambda c: stored_texts(c, nodes, solution.applies_to))
            except LedgerError as error:
                texts = []
                notes.append(f"without the ledger's reports: {error.message}")
            reading = _Reading(solution, self._library.matcher, most_bytes=most_bytes, most_seconds=most_seconds)
            await self._read(reading, [node.name for node in nodes], texts, tell)
        return reading.result(self._healing(), nodes=len(nodes), notes=notes)

    async def _read(self, reading: _Reading, names: Sequence[str], texts: Sequence[StoredText], tell: Tell) -> None:
        """Read in a thread, and tell how far it is."""

        def read() -> None:
            reading.read(stored_files(self._logs, names, reading.solution.applies_to), texts)

        work = asyncio.ensure_future(asyncio.to_thread(read))
        try:
            while not (await asyncio.wait((work,), timeout=_PROGRESS_S))[0]:
                await tell(reading.progress())
        finally:
            reading.stop.set()
            await work


@dataclass(slots=True)
class _Reading:
    """One test under way. Its thread writes, and the event loop reads figures."""

    solution: Solution
    all_matcher: Matcher
    most_bytes: int
    most_seconds: float
    stop: threading.Event = field(default_factory=threading.Event)
    files: int = 0
    read_bytes: int = 0
    all_bytes: int = 0
    matched: int = 0
    seconds: float = 0.0
    timed: bytes = b""
    times: list[tuple[float, str]] = field(default_factory=list)
    by_node: collections.Counter[str] = field(default_factory=collections.Counter)
    by_pattern: collections.Counter[str] = field(default_factory=collections.Counter)
    others: collections.Counter[str] = field(default_factory=collections.Counter)
    costs: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _newest: list[tuple[float, int, MatchedLine]] = field(default_factory=list)
    _matcher: Matcher = field(init=False)
    _patterns: dict[str, re2._Regexp[str]] = field(init=False)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._matcher = Matcher([self.solution])
        self._patterns = {pattern: compile_pattern(pattern) for pattern in self.solution.patterns}

    def read(self, files: Sequence[StoredFile], texts: Sequence[StoredText]) -> None:
        """Read everything, until it was long enough or is to stop."""
        began = time.monotonic()
        self.all_bytes = sum(file.size for file in files)
        for text in texts:
            self._read_text(text)
        for file in files:
            if self.stop.is_set() or self.read_bytes >= self.most_bytes or self._is_late(began):
                break
            try:
                self._read_file(file, began)
            except OSError as error:
                self.notes.append(f"{file.path.name} could not be read: {error.strerror or error}")
            self.files += 1
        self.costs = {pattern: _ms_per_mb(code, self.timed) for pattern, code in self._patterns.items()}
        self.seconds = time.monotonic() - began

    def _is_late(self, began: float) -> bool:
        return time.monotonic() - began > self.most_seconds

    def _read_text(self, text: StoredText) -> None:
        for line in text.text.encode("utf-8", "replace").split(b"\n"):
            for match in self._matcher.scan(text.seen_in, line):
                self._note(match, line, text.node, text.seen_in, text.at, text.at)

    def _read_file(self, file: StoredFile, began: float) -> None:
        last: float | None = None
        for size, chunk in whole_lines(file, most_bytes=self.most_bytes - self.read_bytes):
            chunk_began = time.monotonic()
            self.read_bytes += size
            if len(self.timed) < _TIMED_BYTES:
                self.timed += chunk + b"\n"
            if self._matcher.scan(file.seen_in, chunk):
                last = self._read_lines(file, chunk, last)
            elif (stamp := time_of_line(chunk[chunk.rfind(b"\n") + 1 :])) is not None:
                last = stamp
            if self._is_late(began) or self.stop.wait((time.monotonic() - chunk_began) * _REST):
                return

    def _read_lines(self, file: StoredFile, chunk: bytes, last: float | None) -> float | None:
        """Read a chunk in which something is known, line by line; returns the last time that was seen."""
        for line in chunk.split(b"\n"):
            last = time_of_line(line) or last
            for match in self._matcher.scan(file.seen_in, line):
                self._note(match, line, file.node, file.seen_in, last, last or file.modified)
        return last

    def _note(self, match: Match, raw: bytes, node: str, seen_in: SeenIn, at: float | None, order: float) -> None:
        self.matched += 1
        self.by_node[node] += 1
        whole = without_stamp(raw[:MAX_LINE_BYTES].decode("utf-8", "replace"))
        self.by_pattern.update(name for name, pattern in self._patterns.items() if pattern.search(whole))
        if len(self.times) < MOST_TIMES:
            self.times.append((order, node))
        if self.matched <= _ASKED_OTHERS:
            known = {other.solution.id for other in self.all_matcher.scan(seen_in, raw)}
            self.others.update(known - {self.solution.id})
        if len(self._newest) < SHOWN_LINES or order > self._newest[0][0]:
            line = MatchedLine(node=node, seen_in=seen_in, at=at, line=match.line, captures=dict(match.captures))
            heapq.heappush(self._newest, (order, next(self._numbers), line))
            if len(self._newest) > SHOWN_LINES:
                heapq.heappop(self._newest)

    def progress(self) -> ReadingProgress:
        """Return how far it is."""
        return ReadingProgress(
            files=self.files, read_bytes=self.read_bytes, all_bytes=self.all_bytes, matched=self.matched
        )

    def result(self, healing: HealingSettings, *, nodes: int, notes: Sequence[str]) -> SolutionTest:
        """Return what was found."""
        would_run, held_back = simulate(self.solution, self.times, node_cap=healing.most_repairs_an_hour)
        said = [*notes, *self.notes]
        if self.matched > len(self.times):
            said.append(f"how often it would have acted is of the first {len(self.times)} lines")
        if set(self.solution.applies_to) == {SeenIn.EXIT} and self.matched:
            said.append("it applies to exits: only lines among the last 20 before an end would count")
        lines = sorted(self._newest, key=lambda one: (-one[0], -one[1]))
        return SolutionTest(
            id=self.solution.id,
            title=self.solution.title,
            nodes=nodes,
            files=self.files,
            read_bytes=self.read_bytes,
            unread_bytes=max(0, self.all_bytes - self.read_bytes),
            seconds=round(self.seconds, 3),
            matched=self.matched,
            matched_by_node=dict(self.by_node.most_common(100)),
            lines=tuple(line for _, _, line in lines),
            patterns=tuple(
                PatternCost(pattern=pattern, matched=self.by_pattern[pattern], ms_per_mb=cost)
                for pattern, cost in self.costs.items()
            ),
            would_run=would_run,
            held_back=held_back,
            others=dict(self.others.most_common(20)),
            notes=tuple(said[:20]),
        )


def simulate(solution: Solution, times: Sequence[tuple[float, str]], *, node_cap: int) -> tuple[int, int]:
    """Return how often a solution would have acted on errors at these times on these nodes, and was held back.

    Each run is taken to help: what comes within the cooldown is the same error, and is not counted as held back.
    """
    last_run, hour = dict[str, float](), collections.deque[tuple[float, str]]()
    runs = held_back = 0
    for at, node in sorted(times):
        if at - last_run.get(node, float("-inf")) < solution.cooldown_s:
            continue
        while hour and hour[0][0] <= at - _AN_HOUR_S:
            hour.popleft()
        if len(hour) >= solution.most_an_hour or sum(of == node for _, of in hour) >= node_cap:
            held_back += 1
            last_run[node] = at
            continue
        runs += 1
        last_run[node] = at
        hour.append((at, node))
    return runs, held_back


def _ms_per_mb(pattern: re2._Regexp[str], text: bytes) -> float:
    """Measure a pattern alone, line by line, in CPU time: other work of the machine does not count."""
    lines = [without_stamp(line[:MAX_LINE_BYTES].decode("utf-8", "replace")) for line in text.split(b"\n")]
    if not text:
        return 0.0
    rounds = -(-_LEAST_TIMED_BYTES // len(text))
    began = time.thread_time()
    for line in lines * rounds:
        pattern.search(line)
    return round((time.thread_time() - began) * 1_000 / (rounds * len(text) / 1e6), 3)
