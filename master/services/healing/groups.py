"""Groups of errors: what is the same error, on whichever node, and which of them are news."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

from msgspec import structs

from master.bus import EventBus
from master.events import ErrorGrouped, LedgerReturned, NodeExited
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError, LedgerUnavailable
from master.ledger.identifiers import new_ulid
from master.ledger.rows import error_groups
from master.ledger.rows.records import ErrorEvent, ErrorGroup
from master.ledger.writer.entries import ErrorCounted, GroupSeen, GroupStateSet
from master.services.core.actors import Actor
from master.services.core.error_views import ErrorDetail, ErrorGroupView
from master.services.core.exit_meaning import without_stamp
from master.services.healing.error_book import SEPARATOR, ErrorBook
from master.services.healing.fingerprints import Identifier, Identity, parts_of_report
from master.services.healing.group_alerts import GroupAlerts, News, Novelty
from master.services.healing.group_state import state_now
from master.services.healing.sighting import SeenIn, Sighting
from master.services.healing.templates import Templates, readable
from master.supervision.clock import Clock
from master.wording import encodable
from nodekit.fingerprints import digest

log = logging.getLogger(__name__)

CAPACITY = 2_000
"""Groups in memory; of others the ledger is asked when they are seen."""
WRITE_EVERY_S = 5.0
SAMPLE_EVERY_S = 60.0
NEW_EACH_NODE, NEW_ALL, NEW_WITHIN_S = 30, 100, 3_600.0
"""So many groups may one node, and the fleet, begin in an hour; what comes then is one group of its own."""
_OVERFLOW = Identity(digest("overflow"), "line", "more kinds of errors than are told apart")
_SAME_S = 10.0
"""What is seen of an error within this time in several ways (a report, its traceback in the log, the exit) is one."""
_OWN_ROW = timedelta(seconds=1)
_NODES, _BEFORE, _LINE_CHARACTERS, _TEXT_CHARACTERS = 100, 10, 300, 4_000
_ENTRIES = 100
ENDED = "ended"
"""The source of rows about exits; the crash watch writes others, which have the last lines."""


@dataclass(slots=True)
class _Tally:
    """How often an error was seen on a node lately, in each way."""

    at_s: float
    seen: dict[SeenIn, int] = field(default_factory=dict)

    def add(self, seen_in: SeenIn, count: int, now_s: float) -> int:
        """Return how many errors more there are."""
        if now_s - self.at_s > _SAME_S:
            self.seen.clear()
        before = max(self.seen.values(), default=0)
        self.at_s = now_s
        self.seen[seen_in] = self.seen.get(seen_in, 0) + count
        return max(self.seen.values()) - before


@dataclass(slots=True)
class _Known:
    """A group in memory."""

    record: ErrorGroup
    """Without its sample."""
    is_certain: bool = True
    """Whether the ledger has been asked for it."""
    tallies: dict[str, _Tally] = field(default_factory=dict)
    unwritten: int = 0
    sets_state: bool = False
    sample: str = ""
    sampled_s: float = float("-inf")
    rows: dict[tuple[str, str], ErrorEvent] = field(default_factory=dict)
    """To be written, by node and source."""


class ErrorGroups:
    """Group what is seen of errors, and tell of groups that are new or came back.

    :meth:`take` is synchronous and waits for nothing: groups are in memory, and what changed is written every few
    seconds.

    Parameters
    ----------
    alerts
        None without a master: then nothing is told.
    """

    def __init__(
        self, *, ledger: Ledger, clock: Clock, bus: EventBus, book: ErrorBook, alerts: GroupAlerts | None = None
    ) -> None:
        self._ledger, self._clock, self._bus = ledger, clock, bus
        self._book, self._alerts = book, alerts
        self._templates = Templates()
        self._identifier = Identifier(self._templates)
        self._groups: OrderedDict[str, _Known] = OrderedDict()
        self._dirty: set[str] = set()
        self._begun: deque[tuple[float, str]] = deque()
        """When groups began, and on which nodes."""
        self._is_loaded = self._is_complete = False
        self._written_s = float("-inf")
        self._changed = asyncio.Event()
        bus.on(LedgerReturned, lambda _event: self._changed.set())
        if alerts is not None:
            bus.on(NodeExited, lambda event: alerts.ended(event.node_id))

    def take(self, sighting: Sighting) -> str:
        """Count an error; returns the fingerprint of its group, or nothing if it does not look like one."""
        identity = self._identifier.identify(sighting)
        if identity is None:
            return ""
        now_s = self._clock.monotonic()
        group = self._groups.get(identity.fingerprint)
        if group is None and not self._may_begin(sighting.node_id, now_s):
            identity = _OVERFLOW
            group = self._groups.get(identity.fingerprint)
        if group is None:
            group = self._begin(identity, sighting, now_s)
        else:
            self._see_again(group, identity, sighting)
        self._count(group, sighting, now_s)
        if sighting.seen_in is SeenIn.EXIT:
            self.told(identity.fingerprint)  # By the crash watch.
        if now_s - self._written_s >= WRITE_EVERY_S:
            self.write_now()
        return identity.fingerprint

    def fingerprint_of_exit(self, node_id: str, text: str) -> str:
        """Return the group of a process's end: its text as a sighting has it."""
        return self._identifier.of_exit(node_id, text).fingerprint

    def told(self, fingerprint: str) -> None:
        """Note that somebody else tells of this error: no alert of its group follows, nor one that waits."""
        if self._alerts is not None:
            self._alerts.told(fingerprint)

    def known_to_solution(self, fingerprint: str) -> None:
        """Note that a solution knows an error: its alert waits longer for somebody else to tell of it."""
        if self._alerts is not None:
            self._alerts.known_to_solution(fingerprint)

    def is_muted(self, fingerprint: str) -> bool:
        """Tell whether an operator wants to hear nothing of a group now."""
        group = self._groups.get(fingerprint)
        return group is not None and state_now(group.record, self._clock.now()) == "muted"

    # What is seen

    def _may_begin(self, node_id: str, now_s: float) -> bool:
        while self._begun and now_s - self._begun[0][0] > NEW_WITHIN_S:
            self._begun.popleft()
        of_node = sum(node == node_id for _, node in self._begun)
        return of_node < NEW_EACH_NODE and len(self._begun) < NEW_ALL

    def _begin(self, identity: Identity, sighting: Sighting, now_s: float) -> _Known:
        record = ErrorGroup(
            fingerprint=identity.fingerprint,
            kind=identity.kind,
            title=encodable(identity.title),
            first_at=sighting.at,
            last_at=sighting.at,
            count=0,
        )
        group = self._groups[identity.fingerprint] = _Known(record, is_certain=self._is_complete)
        self._begun.append((now_s, sighting.node_id))
        self._forget_oldest()
        self._tell(group, sighting, "new")
        return group

    def _see_again(self, group: _Known, identity: Identity, sighting: Sighting) -> None:
        record = group.record
        self._groups.move_to_end(record.fingerprint)
        if identity.title != record.title and identity.kind == "line":
            group.record = record = structs.replace(record, title=encodable(identity.title))
        state = state_now(record, sighting.at)
        if state == "resolved":
            self._set_state(group, "regressed", sighting.at)
            self._tell(group, sighting, "regressed")
        elif state != record.state:
            self._set_state(group, state, sighting.at)
            if record.state == "muted":
                self._tell(group, sighting, "unmuted")

    def _set_state(
        self, group: _Known, state: Literal["new", "known", "regressed", "resolved", "muted"], at: datetime
    ) -> None:
        group.record = structs.replace(group.record, state=state, muted_until=None, changed_at=at, changed_by="")
        group.sets_state = True
        self._note_change(group)

    def _note_change(self, group: _Known) -> None:
        if group.record.fingerprint not in self._dirty:
            self._dirty.add(group.record.fingerprint)
            self._changed.set()

    def _tell(self, group: _Known, sighting: Sighting, what: Novelty) -> None:
        """Publish what is news, and have it told if it is still news when others may have told of it."""
        if what != "unmuted" and group.is_certain:
            self._publish(group.record, sighting.node_id, what)
        if self._alerts is not None:
            is_quiet = sighting.seen_in in (SeenIn.EXIT, SeenIn.STATE, SeenIn.GATEWAY_CLOSE)
            self._alerts.add(News(group.record.fingerprint, what, sighting.node_id, is_quiet=is_quiet))
            self._changed.set()

    def _publish(self, record: ErrorGroup, node_id: str, what: Literal["new", "regressed"]) -> None:
        self._bus.publish(
            ErrorGrouped(
                at=self._clock.now(),
                node_id=node_id,
                fingerprint=record.fingerprint,
                title=readable(record.title),
                state=what,
            )
        )

    def _count(self, group: _Known, sighting: Sighting, now_s: float) -> None:
        tally = group.tallies.get(sighting.node_id)
        if tally is None:
            if len(group.tallies) >= _NODES:
                del group.tallies[next(iter(group.tallies))]
            tally = group.tallies[sighting.node_id] = _Tally(now_s)
        added = tally.add(sighting.seen_in, sighting.count, now_s)
        record = group.record
        last_at = max(record.last_at, sighting.at)
        group.record = structs.replace(record, count=record.count + added, last_at=last_at)
        group.unwritten += added
        if now_s - group.sampled_s > SAMPLE_EVERY_S:
            group.sampled_s = now_s
            group.sample = _sample(sighting)
        if self._alerts is not None:
            self._alerts.count(record.fingerprint, sighting)
        self._note_row(group, sighting)
        self._note_change(group)

    def _note_row(self, group: _Known, sighting: Sighting) -> None:
        """Count the error among its node's own."""
        source = ENDED if sighting.seen_in is SeenIn.EXIT else sighting.seen_in.value
        summary, detail = group.record.title, sighting.text
        if sighting.seen_in is SeenIn.REPORT:
            first, _, detail = sighting.text.partition("\n")
            source = parts_of_report(first, sighting.exception)[0][:16]
            summary = first.partition(" ")[2]
        elif group.record.kind == "line":
            summary = without_stamp(detail.rstrip().rpartition("\n")[2])
            detail = detail if "\n" in detail.strip() else ""
        known = group.rows.get((sighting.node_id, source))
        if known is not None:
            group.rows[sighting.node_id, source] = structs.replace(
                known, count=known.count + sighting.count, at=max(known.at, sighting.at)
            )
            return
        group.rows[sighting.node_id, source] = ErrorEvent(
            id=new_ulid(self._clock),
            at=sighting.at,
            node_id=sighting.node_id,
            source=source,
            fingerprint=group.record.fingerprint,
            summary=encodable(summary)[:400],
            detail=encodable(detail)[:_TEXT_CHARACTERS],
            count=sighting.count,
        )

    def _forget_oldest(self) -> None:
        while len(self._groups) > CAPACITY:
            fingerprint, group = next(iter(self._groups.items()))
            if fingerprint in self._dirty:
                self._write([group])
            del self._groups[fingerprint]
            self._is_complete = False

    # The ledger

    def write_now(self) -> None:
        """Write what was counted since the last time; nobody waits."""
        self._written_s = self._clock.monotonic()
        self._write([self._groups[fingerprint] for fingerprint in self._dirty])

    def _write(self, groups: list[_Known]) -> None:
        entries = list[GroupSeen | ErrorCounted]()
        for group in groups:
            record = structs.replace(group.record, count=group.unwritten, sample=group.sample)
            entries.append(GroupSeen(group=record, sets_state=group.sets_state))
            entries += [ErrorCounted(event=row) for row in group.rows.values()]
            group.unwritten, group.sets_state, group.sample = 0, False, ""
            group.rows.clear()
            self._dirty.discard(record.fingerprint)
        for at in range(0, len(entries), _ENTRIES):
            self._ledger.write_soon(*entries[at : at + _ENTRIES])

    async def run(self) -> None:
        """Write and tell until cancelled."""
        try:
            while True:
                await self._load_once()
                await self._wait()
                if self._dirty and self._clock.monotonic() - self._written_s >= WRITE_EVERY_S:
                    self.write_now()
                if self._alerts is not None:
                    await self._alerts.tell_due(self._is_news)
        finally:
            self.write_now()

    async def _wait(self) -> None:
        """Wait until something is to be written or told."""
        due = [] if self._alerts is None else [self._alerts.due_in_s()]
        if self._dirty:
            due.append(max(self._written_s + WRITE_EVERY_S - self._clock.monotonic(), 0.0))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min((delay for delay in due if delay is not None), default=None)):
                await self._changed.wait()
        self._changed.clear()

    async def _load_once(self) -> None:
        """Read the groups that there are, once the ledger can be read."""
        if self._is_loaded or self._ledger.away is not None:
            return
        try:
            found = await self._ledger.read(partial(error_groups.recent, limit=CAPACITY + 1))
        except LedgerError as error:
            log.warning("the groups of errors cannot be read", extra={"why": error.message})
            return
        self._is_loaded, self._is_complete = True, len(found) <= CAPACITY
        for record in reversed(found[:CAPACITY]):
            self._meet(record)
        for group in self._groups.values():
            group.is_certain = group.is_certain or self._is_complete

    def _meet(self, record: ErrorGroup) -> bool:
        """Take a group as the ledger has it; returns whether it is news that it was seen since."""
        if record.kind == "line":
            self._templates.adopt(record.fingerprint, record.title)
        group = self._groups.get(record.fingerprint)
        if group is None:
            self._groups[record.fingerprint] = _Known(record)
            self._groups.move_to_end(record.fingerprint, last=False)
            self._forget_oldest()
            return False
        if group.is_certain:
            return False
        seen = group.record
        state = state_now(record, seen.last_at)
        group.is_certain = True
        group.record = structs.replace(
            record, count=record.count + seen.count, last_at=max(seen.last_at, record.last_at), state=state
        )
        if state == "resolved":
            self._set_state(group, "regressed", seen.last_at)
            return True
        # Its row may be what was written when it was seen.
        return state == "new" and record.first_at > seen.first_at - _OWN_ROW

    async def _is_news(self, news: News) -> ErrorGroup | None:
        """Return a group that is to be told of; None if it turns out to be known, or muted meanwhile."""
        group = self._groups.get(news.fingerprint)
        if group is None:
            return None
        if not group.is_certain:
            if not await self._look_up(group):
                return None
            self._publish(group.record, news.node_id, "regressed" if group.record.state == "regressed" else "new")
        state = group.record.state
        wanted = state == "known" if news.what == "unmuted" else state in ("new", "regressed")
        return group.record if wanted else None

    async def _look_up(self, group: _Known) -> bool:
        """Ask the ledger for a group that was not in memory; returns whether it is news."""
        try:
            found = await self._ledger.read(partial(error_groups.some, fingerprints=[group.record.fingerprint]))
        except LedgerError as error:
            log.info("whether an error is new is not known", extra={"why": error.message})
            return True
        # What was written of it since it was seen is a part of its count.
        news = [self._meet(structs.replace(one, count=max(one.count - group.record.count, 0))) for one in found]
        return all(news)

    # What operators do

    async def list_groups(
        self, *, node: str = "", state: str = "", since: float = 0.0, limit: int = 100
    ) -> list[ErrorGroupView]:
        """Return the groups, the latest first; :meth:`ErrorBook.list_groups` describes the parameters."""
        await self.settle()
        return await self._book.list_groups(node=node, state=state, since=since, limit=limit)

    async def show(self, prefix: str) -> ErrorDetail:
        """Return all that is known of a group.

        Raises
        ------
        NoSuchErrorGroup
        LedgerError
        """
        await self.settle()
        return await self._book.show(prefix)

    async def mute(self, prefix: str, until: datetime | None, actor: Actor) -> ErrorGroupView:
        """Tell nothing of a group until a moment, or for good.

        Raises
        ------
        NoSuchErrorGroup
        LedgerError
        """
        return await self._change(prefix, "muted", actor, until=until)

    async def unmute(self, prefix: str, actor: Actor) -> ErrorGroupView:
        """Tell of a group again; what is not muted stays as it is.

        Raises
        ------
        NoSuchErrorGroup
        LedgerError
        """
        return await self._change(prefix, "known", actor, only="muted")

    async def resolve(self, prefix: str, actor: Actor) -> ErrorGroupView:
        """Take a group for mended: the next time that it is seen is news.

        Raises
        ------
        NoSuchErrorGroup
        LedgerError
        """
        return await self._change(prefix, "resolved", actor)

    async def _change(
        self,
        prefix: str,
        state: Literal["known", "resolved", "muted"],
        actor: Actor,
        *,
        until: datetime | None = None,
        only: str = "",
    ) -> ErrorGroupView:
        await self.settle()
        found = await self._book.find(prefix)
        if only and state_now(found, self._clock.now()) != only:
            return await self._book.view_of(found)
        at, by = self._clock.now(), actor.label
        change = GroupStateSet(fingerprint=found.fingerprint, state=state, muted_until=until, at=at, by=by)
        await self._ledger.write_durable(change)
        changed = structs.replace(found, state=state, muted_until=until, changed_at=at, changed_by=by, sample="")
        group = self._groups.get(found.fingerprint)
        if group is not None:
            group.record = structs.replace(changed, count=group.record.count, last_at=group.record.last_at)
            group.is_certain, group.sets_state = True, False
        return await self._book.view_of(changed)

    async def settle(self) -> None:
        """Have what was counted written, so that it is read."""
        self.write_now()
        with contextlib.suppress(LedgerUnavailable):
            await self._ledger.flush()


def _sample(sighting: Sighting) -> str:
    """Return how an error looks: the lines before, a rule, and its text, of which the end counts."""
    before = [line[:_LINE_CHARACTERS] for line in sighting.lines_before[-_BEFORE:]]
    text = sighting.text
    if len(text) > _TEXT_CHARACTERS:
        text = f"{text[: _TEXT_CHARACTERS // 4]}\n...\n{text[-_TEXT_CHARACTERS * 3 // 4 :]}"
    return encodable("\n".join([*before, SEPARATOR, text] if before else [text])).replace("\x00", "\\0")
