"""Takes presses on giveaways: all that come while one write is under way are the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from sqlalchemy import Connection

from master.ledger.database import Ledger
from master.ledger.rows import giveaways
from master.ledger.rows.records import GiveawayEntry
from master.supervision.clock import Clock

MOST_AT_ONCE = 500
"""Presses in one write; a statement of T-SQL has room for 2,100 parameters."""

Outcome = Literal["entered", "already", "left", "not_in", "closed"]


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a press, and how many people are in."""

    outcome: Outcome
    entries: int


@dataclass(slots=True)
class _Press:
    giveaway_id: str
    user_id: int
    weight: int
    """0: he leaves."""
    done: asyncio.Future[Taken] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GiveawayEntries:
    """Write entries in groups; a press is answered when it is committed.

    Whether a giveaway is open is looked at in the same transaction: none enters one whose draw has begun.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._waiting: list[_Press] = []
        self._writing: asyncio.Task[None] | None = None
        self.writes = 0
        """How many transactions there were."""

    async def enter(self, giveaway_id: str, user_id: int, weight: int) -> Taken:
        """Enter somebody; a second time is no second entry.

        Raises
        ------
        LedgerError
        """
        return await self._take(_Press(giveaway_id, user_id, weight))

    async def leave(self, giveaway_id: str, user_id: int) -> Taken:
        """Take somebody out.

        Raises
        ------
        LedgerError
        """
        return await self._take(_Press(giveaway_id, user_id, 0))

    async def _take(self, press: _Press) -> Taken:
        self._waiting.append(press)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="giveaway entries")
        return await press.done

    async def _write(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            try:
                taken = await self._ledger.write(partial(self._apply, group))
            except BaseException as error:
                # Whoever pressed is told, whatever it is; he presses again.
                for press in group:
                    if not press.done.done():
                        press.done.set_exception(error)
                if not isinstance(error, Exception):
                    raise
                continue
            self.writes += 1
            for press, outcome in zip(group, taken, strict=True):
                if not press.done.done():
                    press.done.set_result(outcome)

    def _apply(self, group: Sequence[_Press], connection: Connection) -> list[Taken]:
        """Carry out presses in their order, giveaway by giveaway; called in the writer's thread."""
        outcomes: dict[int, Outcome] = {}
        counts = {}
        for giveaway_id in {press.giveaway_id for press in group}:
            presses = [(at, press) for at, press in enumerate(group) if press.giveaway_id == giveaway_id]
            outcomes |= self._apply_to(connection, giveaway_id, presses)
            counts[giveaway_id] = giveaways.count_entries(connection, giveaway_id)
        return [Taken(outcomes[at], counts[press.giveaway_id]) for at, press in enumerate(group)]

    def _apply_to(
        self, connection: Connection, giveaway_id: str, presses: Sequence[tuple[int, _Press]]
    ) -> dict[int, Outcome]:
        found, now = giveaways.get(connection, giveaway_id), self._clock.now()
        if found is None or found.state != "open" or found.ends_at <= now:
            return {at: "closed" for at, _ in presses}
        before = giveaways.entered(connection, giveaway_id, list({press.user_id for _, press in presses}))
        weights: dict[int, int] = {}
        """Of those who are in after each press, and were not before."""
        gone, outcomes = set[int](), dict[int, Outcome]()
        for at, press in presses:
            user_id = press.user_id
            is_in = user_id in weights or (user_id in before and user_id not in gone)
            if press.weight:
                outcomes[at] = "already" if is_in else "entered"
                if not is_in:
                    weights[user_id] = press.weight
            else:
                outcomes[at] = "left" if is_in else "not_in"
                weights.pop(user_id, None)
                if user_id in before:
                    gone.add(user_id)
        if gone:
            giveaways.remove_entries(connection, giveaway_id, list(gone))
        added = [GiveawayEntry(giveaway_id=giveaway_id, user_id=u, at=now, weight=w) for u, w in weights.items()]
        if added:
            giveaways.add_entries(connection, added)
        return outcomes
