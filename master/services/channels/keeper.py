"""Keeps the server's channels as they are wanted: looks at them when something happened, repairs, asks, tells."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from functools import partial

from msgspec.structs import replace
from sqlalchemy import Connection

from master.events import (
    ChannelMoved,
    GatewayConnected,
    LedgerReturned,
    ServerChannelChanged,
)
from master.ledger.errors import LedgerError
from master.ledger.rows import server_channels as rows
from master.ledger.rows.records import ChannelRepair
from master.services.channels.culprits import Culprits
from master.services.channels.drift import Drift, plan
from master.services.channels.panels import Panels
from master.services.channels.repairing import Repairing, is_same, state_of
from master.services.channels.survey import NoServer, Survey, Surveyor
from master.services.channels.telling import Telling
from master.services.channels.tools import SYSTEM, ChannelTools
from master.services.channels.tree import look_of
from master.services.channels.undoing import Undoing
from master.services.channels.wishes import row_of
from master.services.core.channel_moves import ASSIGNABLE, TREE
from master.services.core.errors import DiscordNotFound, DiscordPortError, DiscordUnavailable

log = logging.getLogger(__name__)

AN_HOUR = timedelta(hours=1)
MOST_ROUNDS = 6
"""Of plans in one look: categories, what is in them, their order; more only if somebody changes things meanwhile."""
FIRST_RETRY_S, LAST_RETRY_S = 5.0, 300.0
LONGEST_DEBOUNCE = 10
"""Times DEBOUNCE_S: somebody who does not stop changing things is not waited for longer."""


class ChannelKeeper:
    """Look after the channels that the fleet wants.

    Everything that acts on them goes through :meth:`look`, one at a time.
    """

    def __init__(
        self,
        tools: ChannelTools,
        surveyor: Surveyor,
        repairing: Repairing,
        culprits: Culprits,
        telling: Telling,
        panels: Panels,
        undoing: Undoing,
    ) -> None:
        self._tools, self._surveyor, self._repairing = tools, surveyor, repairing
        self._culprits, self._telling, self._panels, self._undoing = culprits, telling, panels, undoing
        self._turn = asyncio.Lock()
        self._woken = asyncio.Event()
        self._due_s: float | None = None
        self._latest_s = float("inf")
        self._retry_s = FIRST_RETRY_S
        self._muted: dict[str, float] = {}
        self.owned: frozenset[int] = frozenset()
        """The channels that are wanted, as they were known at the last look."""
        self.drift_count = 0
        """Drifts that stand: asked about, or impossible to repair."""
        bus = tools.bus
        bus.on(GatewayConnected, lambda _event: self.look_soon(0.0))
        bus.on(LedgerReturned, lambda _event: self.look_soon(0.0))
        bus.on(ServerChannelChanged, self._on_changed)
        bus.on(ChannelMoved, self._on_moved)

    def troubles(self) -> tuple[str, ...]:
        """Return what ``fleet status`` says of the channels."""
        if not self.drift_count:
            return ()
        what = "difference" if self.drift_count == 1 else "differences"
        return (f"{self.drift_count} {what} between the server's channels and the wanted ones: fleet channels diff",)

    # When

    def _on_changed(self, event: ServerChannelChanged) -> None:
        if event.guild_id == self._tools.guild_id and event.channel_id in (self.owned | self._panels.message_ids):
            self.look_soon(self._tools.settings().selffix.debounce_s)

    def _on_moved(self, event: ChannelMoved) -> None:
        self.owned |= {event.new_id}

    def look_soon(self, after_s: float) -> None:
        """Look once nothing happened for a time; something that happens meanwhile begins the time anew."""
        now = self._tools.clock.monotonic()
        if self._due_s is None:
            self._latest_s = now + after_s * LONGEST_DEBOUNCE
        self._due_s = min(now + after_s, self._latest_s)
        self._woken.set()

    async def run(self) -> None:
        """Look whenever there is a reason to, until cancelled."""
        if self._tools.discord is None:
            return
        while True:
            self._woken.clear()
            left_s = None if self._due_s is None else self._due_s - self._tools.clock.monotonic()
            if left_s is not None and left_s <= 0:
                self._due_s = None
                await self._look_or_retry()
                continue
            try:
                async with asyncio.timeout(left_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _look_or_retry(self) -> None:
        if self._tools.settings().selffix.mode == "off" or not self._tools.guild_id:
            return
        try:
            await self.look()
            self._retry_s = FIRST_RETRY_S
        except (DiscordPortError, LedgerError, NoServer) as error:
            log.warning("the channels are looked at later", extra={"why": error.message, "in_s": self._retry_s})
            self.look_soon(self._retry_s)
            self._retry_s = min(self._retry_s * 2, LAST_RETRY_S)

    def look_again(self) -> None:
        """Look at the channels: the settings were changed."""
        if self._tools.discord is not None and not self._turn.locked():
            self.look_soon(self._tools.settings().selffix.debounce_s)

    # A look

    async def look(
        self, *, force: Callable[[Drift, Survey], bool] | None = None, by: str = SYSTEM
    ) -> list[ChannelRepair]:
        """Look at the channels, and do what has to be done; returns what became of each drift that was acted on.

        Parameters
        ----------
        force
            For somebody who asks for it: which drifts are put right whatever was said of them before; the others are
            not touched. None: as the settings say.

        Raises
        ------
        NoServer, DiscordPortError, LedgerError
        """
        async with self._turn:
            told: list[ChannelRepair] = []
            try:
                for _ in range(MOST_ROUNDS):
                    if not await self._round(told, force, by):
                        break
                if force is None or by != SYSTEM:
                    told += await self._panels.look(await self._surveyor.look(), by=by)
            finally:
                self._telling.report(told)
            return told

    async def survey(self) -> Survey:
        """Look at the channels, and change nothing.

        Raises
        ------
        NoServer, DiscordPortError, LedgerError
        """
        return await self._surveyor.look()

    async def _round(self, told: list[ChannelRepair], force: Callable[[Drift, Survey], bool] | None, by: str) -> bool:
        """Plan and carry out once; False when nothing is left to do."""
        survey = await self._surveyor.look()
        if await self._repairing.finish_left(survey):
            survey = await self._surveyor.look()
        survey = await self._without_own_doing(survey)
        await self._remember(survey)
        self._telling.troubles(survey)
        done = {f"{one.key}:{one.drift}" for one in told}
        due: list[Drift] = []
        for drift in survey.drifts:
            if drift.thing in done:
                if drift.kind == "gone" and not _has_failed(drift, told):
                    # Made a moment ago, and gone again: that is somebody's next change.
                    self.look_soon(self._tools.settings().selffix.debounce_s)
                continue
            if force is not None:
                due += [drift] if force(drift, survey) else []
            elif await self._is_due(drift, survey, told):
                due.append(drift)
        steps = plan(due, tuple(survey.wanted.values()), survey.found.values())
        if not steps:
            self.drift_count = sum(state_of(drift, survey) != "left" for drift in survey.drifts)
            return False
        standing = await self._surveyor.standing(survey)
        for step in steps:
            if step.plan is not None and step.drifts[0].channel_id and not await self._is_gone(step.drifts[0]):
                why = "it is there, and the master may not see it: give its role View Channel there"
                hidden = self._repairing.record(step.drifts[0], survey, "failed", by=by, detail=why)
                await self._note(told, survey, [hidden])
                continue
            await self._note(told, survey, await self._repairing.carry_out(step, survey, standing, by=by), saved=True)
        return True

    async def _note(
        self, told: list[ChannelRepair], survey: Survey, repairs: Sequence[ChannelRepair], *, saved: bool = False
    ) -> None:
        """Note what became of drifts; what failed as it did before is not told again."""
        if not saved:
            await self._repairing.save(repairs)
        told += repairs

    async def _is_due(self, drift: Drift, survey: Survey, told: list[ChannelRepair]) -> bool:
        """Tell whether a drift is put right now; what has to be asked is asked."""
        settings = self._tools.settings().selffix
        before = survey.newest.get(drift.thing)
        same = before is not None and is_same(before, drift)
        if same and before is not None and before.state in ("left", "undone", "asked"):
            return False
        if self._muted.get(drift.key, 0.0) > self._tools.clock.monotonic():
            return False
        why = ""
        if settings.mode == "ask":
            why = "SELFFIX['MODE'] is 'ask'"
        else:
            since = self._tools.clock.now() - AN_HOUR
            counts = await self._tools.ledger.read(partial(rows.count_repaired, since=since))
            if counts.get(drift.thing, 0) >= settings.most_an_hour:
                why = f"it was put right {counts[drift.thing]} times within an hour, and somebody changes it again"
        if not why:
            return True
        asked = self._repairing.record(drift, survey, "asked", by=SYSTEM, detail=why)
        await self._repairing.save([asked])
        self._repairing.tell([asked])
        told.append(asked)
        return False

    async def _is_gone(self, drift: Drift) -> bool:
        try:
            await self._tools.port.channel(drift.channel_id)
        except DiscordNotFound:
            return True
        except DiscordUnavailable:
            raise
        except DiscordPortError:
            return False
        return False

    async def _without_own_doing(self, survey: Survey) -> Survey:
        """Take what the master itself changed, at somebody's wish, for what is wanted."""
        own_id, now = self._tools.master_user_id(), self._tools.clock.now()
        keys = {
            drift.key
            for drift in survey.drifts
            if drift.found is not None
            and drift.key in survey.remembered
            and self._culprits.of(drift.channel_id, drift.kind, now).user_id == own_id != 0
            and not drift.key.startswith(TREE)
        }
        if not keys:
            return survey
        for key in keys:
            wanted = survey.wanted[key]
            row = row_of(wanted, look_of(survey.found[wanted.channel_id]), guild_id=survey.guild_id, at=now)
            await self._tools.ledger.write(partial(rows.save_wanted, wanted=row))
        return survey._replace(drifts=[drift for drift in survey.drifts if drift.key not in keys])

    async def _remember(self, survey: Survey) -> None:
        """Write down how the channels are that are as they have to be, and forget those that nobody wants."""
        drifting = {drift.key for drift in survey.drifts}
        now = self._tools.clock.now()
        changed = []
        for wanted in survey.wanted.values():
            channel = survey.found.get(wanted.channel_id)
            if channel is None or wanted.key in drifting:
                continue
            row = row_of(wanted, look_of(channel), guild_id=survey.guild_id, at=now)
            before = survey.remembered.get(wanted.key)
            if before is None or replace(before, changed_at=now) != row:
                changed.append(row)
        named = {*survey.wanted, *survey.unknown}
        gone = [] if survey.refused else [key for key in survey.remembered if key not in named]
        self.owned = frozenset(one.channel_id for one in survey.wanted.values() if one.channel_id)
        self._assign(survey)
        if not changed and not gone:
            return

        def save(connection: Connection) -> None:
            for row in changed:
                rows.save_wanted(connection, row)
            for key in gone:
                rows.forget_wanted(connection, key)

        await self._tools.ledger.write(save)

    def _assign(self, survey: Survey) -> None:
        """Let channels of channels.toml be LOG, VERIFY and PATCH, where config.py names none."""
        own = {name: survey.wanted.get(TREE + name) for name in ASSIGNABLE}
        there = {
            name: one.channel_id for name, one in own.items() if one is not None and one.channel_id in survey.found
        }
        if self._tools.moves.assign(there):
            self._tools.take_effect()

    # Of people

    async def undo(self, repairs: Sequence[ChannelRepair], *, by: str) -> list[ChannelRepair]:
        """Take repairs back.

        Raises
        ------
        NothingToUndo, DiscordPortError, LedgerError
        """
        async with self._turn:
            return await self._undoing.undo(repairs, by=by)

    async def leave(self, repairs: Sequence[ChannelRepair], *, by: str) -> list[ChannelRepair]:
        """Leave drifts as they are that were asked about.

        Raises
        ------
        LedgerError
        """
        async with self._turn:
            left = [self._repairing.became(one, "left", by=by) for one in repairs if one.state == "asked"]
            await self._repairing.save(left)
            self._repairing.tell(left)
            return left

    def mute(self, keys: Collection[str], for_s: float) -> None:
        """Do and ask nothing about channels for a time; a master that begins knows nothing of it."""
        until = self._tools.clock.monotonic() + for_s
        self._muted.update(dict.fromkeys(keys, until))


def _has_failed(drift: Drift, told: Sequence[ChannelRepair]) -> bool:
    return any(f"{one.key}:{one.drift}" == drift.thing and one.state != "repaired" for one in told)
