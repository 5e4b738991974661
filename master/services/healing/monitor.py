"""The error monitor: takes everything that is seen of errors, groups it, and says which solutions know it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import msgspec
from msgspec.structs import replace

from master.services.core.exit_meaning import last_words
from master.services.healing.library import SolutionLibrary
from master.services.healing.matching import Match
from master.services.healing.sighting import SeenIn, Sighting
from master.services.healing.undecided_exits import UndecidedExits
from master.supervision.clock import Clock, SystemClock

log = logging.getLogger(__name__)

MAX_QUEUED = 100
"""Of one node; a storm's surplus is dropped and counted, and takes nobody else's room."""
TURN = 10
"""Sightings that are taken in a row, before others have the event loop."""
SEEN_TWICE_S = 10.0
"""The end of a process and its output tell of the same error within this time."""
REPORT_COVERS_S = 900.0
"""Of repeats a node reports some later, counted; its output shows each at once."""
NETWORK_WAIT_S = 5.0
"""What looks like the network's fault waits for so long: the box may be found to be offline meanwhile."""
MAX_REMEMBERED = 2_000
MAX_TEXT_CHARACTERS = 32_768
_KEY_CHARACTERS = 150
_MAX_KEYS = 5
_EXCEPTION_LINE = re.compile(r"([A-Za-z_][\w.]*\.)?([A-Za-z_]\w*)(: .*)?")
_TOLD_ELSEWHERE = re.compile(r"(?:backoff|quarantined|replaced): |degraded: \d+ cogs? failed: ")
"""States that tell of an exit once more, or of cogs: each reports its own error, and who switched one off said so."""
_OF_THE_BOX = re.compile(
    r"Cannot connect to host|ClientConnect|ClientOSError|ServerDisconnected|ConnectionReset|ConnectionRefused|gaierror"
    r"|getaddrinfo|name resolution|Network is unreachable|No route to host|TimeoutError|ConnectionClosed"
    r"|WebSocket closed|connection to Discord|could not (?:reach|connect|log in|stay)"
)


class Groups(Protocol):
    """What groups errors."""

    def take(self, sighting: Sighting) -> str:
        """Return the fingerprint of the group that an error belongs to; empty if it belongs to none."""
        ...


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Solutions that know what was seen."""

    sighting: Sighting
    """Its fingerprint is its group's."""
    matches: tuple[Match, ...]
    """In no order; one solution may be there for several lines."""
    is_known: bool = False
    """Whether it is the end of a process by an error of which the same solutions were told a moment before."""


@dataclass(slots=True)
class _Known:
    """An error of a node, which may show in several places.

    It happened as often as it showed where it showed most.
    """

    at_s: float
    fingerprint: str = ""
    counted: int = 0
    shown: Counter[SeenIn] = field(default_factory=Counter)
    passed_on: Counter[SeenIn] = field(default_factory=Counter)
    """What the groups have heard of it; they take the most of any place, too."""
    solutions: set[str] = field(default_factory=set)
    """Those that were told of it as it happened last."""

    def is_over(self, now_s: float) -> bool:
        """Tell whether what is seen now is another occurrence, wherever it shows."""
        return now_s - self.at_s > (REPORT_COVERS_S if SeenIn.REPORT in self.shown else SEEN_TWICE_S)

    def add(self, sighting: Sighting, now_s: float) -> int:
        """Return how many times it showed in this place, unless all of them are known from others; then 0."""
        if now_s - self.at_s > SEEN_TWICE_S:
            self.passed_on = self.shown.copy()
        self.at_s, place = now_s, sighting.seen_in
        self.shown[place] += sighting.count
        if self.shown[place] <= self.counted:
            return 0
        self.counted = self.shown[place]
        times, self.passed_on[place] = self.shown[place] - self.passed_on[place], self.shown[place]
        return times


class ErrorMonitor:
    """Group and match what is seen, in the order of its coming.

    Parameters
    ----------
    library
        The solutions.
    groups
        None: nothing is grouped.
    exits
        Holds each end of a process until it was looked at.
    """

    def __init__(
        self,
        library: SolutionLibrary,
        groups: Groups | None = None,
        clock: Clock | None = None,
        exits: UndecidedExits | None = None,
    ) -> None:
        self._library = library
        self._groups = groups
        self._clock = clock or SystemClock()
        self._exits = exits or UndecidedExits()
        self._followers = list[Callable[[Finding], None]]()
        self._queue: deque[tuple[Sighting, Sequence[Match] | None]] = deque()
        self._queued = Counter[str]()
        self._held: deque[tuple[float, Sighting, Sequence[Match] | None]] = deque()
        """What may be the network's fault, and when it is looked at."""
        self._arrived = asyncio.Event()
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._is_box_offline = False
        self._last_offline: datetime | None = None
        self.dropped = Counter[str]()
        """Sightings that found no room, by node."""

    def note_offline(self, is_offline: bool) -> None:
        """Note whether the box is offline: while it is, no node is to blame for what the network does."""
        if self._is_box_offline:
            self._last_offline = self._clock.now()
        self._is_box_offline = is_offline

    def _is_the_boxs_fault(self, sighting: Sighting) -> bool:
        """Tell whether what was seen comes of the box being offline, now or a moment before it was seen."""
        if self._is_box_offline:
            return _is_of_the_box(sighting)
        if self._last_offline is None or sighting.at > self._last_offline + timedelta(seconds=NETWORK_WAIT_S):
            return False
        return _is_of_the_network(sighting)

    def follow(self, found: Callable[[Finding], None]) -> None:
        """Call ``found``, which must not block, with each finding."""
        self._followers.append(found)

    @property
    def is_busy(self) -> bool:
        """Tell whether something waits to be looked at."""
        return bool(self._queue or self._held)

    def take(self, sighting: Sighting) -> None:
        """Take something that was seen; never blocks."""
        self._put(sighting, None)

    def take_matched(self, sighting: Sighting, matches: Sequence[Match]) -> None:
        """Take something whose lines were matched already, in another thread."""
        self._put(sighting, matches)

    def _put(self, sighting: Sighting, matches: Sequence[Match] | None) -> None:
        node_id = sighting.node_id
        if self._queued[node_id] >= MAX_QUEUED and sighting.seen_in is not SeenIn.EXIT:
            self.dropped[node_id] += sighting.count
            return
        if len(sighting.text) > MAX_TEXT_CHARACTERS:
            sighting = replace(sighting, text=sighting.text[:MAX_TEXT_CHARACTERS])
        if sighting.seen_in is SeenIn.EXIT:
            self._exits.hold(node_id, sighting.at)
        self._queued[node_id] += 1
        self._queue.append((sighting, matches))
        self._arrived.set()

    async def run(self) -> None:
        """Work off what was taken, until cancelled."""
        while True:
            await self._wait()
            while self._held and self._held[0][0] <= self._clock.monotonic():
                self._look_at(*self._held.popleft()[1:])
            while self._queue:
                for _ in range(min(TURN, len(self._queue))):
                    sighting, matches = self._queue.popleft()
                    self._queued[sighting.node_id] -= 1
                    if not self._queued[sighting.node_id]:
                        del self._queued[sighting.node_id]
                    if _is_of_the_network(sighting):
                        self._hold(sighting, matches)
                    else:
                        self._look_at(sighting, matches)
                await asyncio.sleep(0)

    def _hold(self, sighting: Sighting, matches: Sequence[Match] | None) -> None:
        if len(self._held) == MAX_REMEMBERED:
            _, dropped, _ = self._held.popleft()
            self._let_go(dropped)
        self._held.append((self._clock.monotonic() + NETWORK_WAIT_S, sighting, matches))

    def _let_go(self, sighting: Sighting) -> None:
        if sighting.seen_in is SeenIn.EXIT:
            self._exits.release(sighting.node_id, sighting.at)

    async def _wait(self) -> None:
        """Wait for something that was seen, or for what is held to be due."""
        left_s = max(self._held[0][0] - self._clock.monotonic(), 0.0) if self._held else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await self._arrived.wait()
        self._arrived.clear()

    def _look_at(self, sighting: Sighting, matches: Sequence[Match] | None) -> None:
        try:
            self._pass_on(sighting, matches)
        finally:
            self._let_go(sighting)

    def _pass_on(self, sighting: Sighting, matches: Sequence[Match] | None) -> None:
        if self._is_the_boxs_fault(sighting):
            return
        if matches is None:
            matches = self._library.matcher.scan(sighting.seen_in, sighting.text.encode("utf-8", "replace"))
        sighting, fresh = self._recognise(sighting, matches)
        is_known = bool(matches) and not fresh and sighting.seen_in is SeenIn.EXIT
        if not fresh and not is_known:
            return
        finding = Finding(sighting=sighting, matches=tuple(fresh or matches), is_known=is_known)
        for found in self._followers:
            try:
                found(finding)
            except Exception:
                log.exception("a follower of the error monitor failed", extra={"node": sighting.node_id})

    def _recognise(self, sighting: Sighting, matches: Sequence[Match]) -> tuple[Sighting, Sequence[Match]]:
        """Group what is new; what was seen elsewhere a moment ago is counted once, and acted on once."""
        now, places = self._clock.monotonic(), [(sighting.node_id, key) for key in _keys(sighting)]
        known = next((self._known[place] for place in places if place in self._known), None)
        if known is None or known.is_over(now):
            known = _Known(now)
        times = known.add(sighting, now)
        if times:
            known.solutions.clear()
            known.fingerprint = self._group(replace(sighting, count=times)) or known.fingerprint
        matches = [match for match in matches if match.solution.id not in known.solutions]
        known.solutions |= {match.solution.id for match in matches}
        for place in places:
            self._known[place] = known
            self._known.move_to_end(place)
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return replace(sighting, fingerprint=known.fingerprint or sighting.fingerprint), matches

    def _group(self, sighting: Sighting) -> str:
        if self._groups is None:
            return ""
        if sighting.seen_in is SeenIn.STATE and _TOLD_ELSEWHERE.match(sighting.text):
            return ""
        return self._groups.take(sighting)


def _keys(sighting: Sighting) -> list[str]:
    """Return what tells an error of a node from its others, wherever it shows: exception and message."""
    lines = sighting.text.splitlines()
    if sighting.seen_in is SeenIn.REPORT and sighting.exception and lines:
        message = lines[0].partition(f"{sighting.exception}: ")[2]
        found = [f"{sighting.exception.rpartition('.')[2]}: {message}"]
    else:
        own = lines
        if sighting.seen_in is SeenIn.EXIT:
            # Its first line says how it ended; one that was killed did not end by what it wrote last.
            own = lines[1:] if lines and lines[0].startswith("exit code") else []
        found = [_plain(last_words(own))] if own else []
    if "Traceback (most recent call last)" in sighting.text:
        # Of chained ones a node reports the first, where its output ends with the last.
        chain = [line for line in lines[1:] if line[:1].isalpha() and "Error" in line.partition(":")[0]]
        found += map(_plain, chain[-_MAX_KEYS:])
    return [key[:_KEY_CHARACTERS].strip() for key in found if len(key) > 3]


def _plain(line: str) -> str:
    """Return an exception's line without the name of its module."""
    found = _EXCEPTION_LINE.fullmatch(line)
    return line if found is None else f"{found[2]}{found[3] or ': '}"


def _is_of_the_network(sighting: Sighting) -> bool:
    """Tell whether what was seen looks like the network's fault: the box may be found to be offline a moment later."""
    if sighting.seen_in in (SeenIn.STATE, SeenIn.GATEWAY_CLOSE):
        return False
    return _is_of_the_box(sighting) and _OF_THE_BOX.search(sighting.text) is not None


def _is_of_the_box(sighting: Sighting) -> bool:
    """Tell whether what was seen comes of the box being offline."""
    match sighting.seen_in:
        case SeenIn.STATE | SeenIn.GATEWAY_CLOSE:
            return True
        case SeenIn.EXIT:
            # Who was killed was not waiting for Discord.
            return "SIGKILL" not in sighting.text.partition("\n")[0]
        case _:
            return _OF_THE_BOX.search(sighting.text) is not None
