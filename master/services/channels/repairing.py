"""Carries out the steps of a repair: each is on record before it is done, and followed as soon as it is."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection

from master.events import ChannelMoved, ChannelRepaired
from master.ledger.identifiers import new_ulid
from master.ledger.rows import server_channels as rows
from master.ledger.rows.records import ChannelMove, ChannelRepair, ChannelRepairState
from master.services.channels.culprits import Culprits
from master.services.channels.drift import Drift, Step, part
from master.services.channels.obstacles import obstacle
from master.services.channels.survey import Survey
from master.services.channels.tools import SYSTEM, ChannelTools
from master.services.channels.tree import Look, Wanted, in_order, look_of
from master.services.channels.wishes import row_of
from master.services.core.discord_port import Channel
from master.services.core.errors import DiscordNotFound, DiscordRefused, DiscordUnavailable
from master.services.people.ticket_check import Standing
from master.wording import visible

log = logging.getLogger(__name__)


class Found(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found, as it is kept on record."""

    look: Look | None = None
    after_id: int = 0
    """The highest id of a channel on the server then: what was made in its place has a higher one."""
    panel: str = ""


class Repairing:
    """Carry out steps, and finish those that an earlier master had begun."""

    def __init__(self, tools: ChannelTools, culprits: Culprits) -> None:
        self._tools, self._culprits = tools, culprits

    # On record

    def record(self, drift: Drift, survey: Survey, state: ChannelRepairState, *, by: str, detail: str) -> ChannelRepair:
        """Return what is put on record of a drift."""
        now = self._tools.clock.now()
        culprit = self._culprits.of(drift.channel_id, drift.kind, now)
        after_id = max(survey.found, default=0) if drift.kind == "gone" else 0
        found = Found(look=drift.found, after_id=after_id, panel=drift.panel)
        # What fails in the same way at each look is one row; what was asked about becomes what was answered.
        before = survey.newest.get(drift.thing)
        again = before is not None and before.state in ("failed", "found", "asked") and is_same(before, drift)
        return ChannelRepair(
            id=before.id if again and before is not None else new_ulid(self._tools.clock),
            at=before.at if again and before is not None else now,
            guild_id=survey.guild_id,
            key=drift.key,
            channel_id=drift.channel_id,
            drift=drift.kind,
            wanted=msgspec.json.encode(drift.wanted).decode(),
            found=msgspec.json.encode(found).decode(),
            culprit_id=culprit.user_id or None,
            culprit=visible(culprit.name)[:120],
            state=state,
            detail=detail[:400],
            changed_at=now,
            changed_by=by[:120],
        )

    async def save(self, repairs: Sequence[ChannelRepair]) -> None:
        """Put repairs on record, durably.

        Raises
        ------
        LedgerError
        """
        await self._tools.ledger.write(partial(_save, repairs=repairs))

    def became(
        self, repair: ChannelRepair, state: ChannelRepairState, detail: str = "", *, by: str = SYSTEM
    ) -> ChannelRepair:
        """Return a repair in another state."""
        now = self._tools.clock.now()
        return replace(repair, state=state, detail=detail[:400], changed_at=now, changed_by=by[:120])

    def tell(self, repairs: Iterable[ChannelRepair]) -> None:
        """Publish what became of repairs."""
        for one in repairs:
            self._tools.bus.publish(
                ChannelRepaired(
                    at=one.changed_at,
                    repair_id=one.id,
                    key=one.key,
                    what=one.state,
                    detail=f"{one.drift}{f': {one.detail}' if one.detail else ''}",
                )
            )

    # Steps

    async def carry_out(self, step: Step, survey: Survey, standing: Standing, *, by: str) -> list[ChannelRepair]:
        """Carry out a step; returns what became of its drifts.

        Raises
        ------
        DiscordUnavailable
            It stays on record as begun, and is finished later.
        LedgerError
        """
        why = obstacle(step, standing, survey.found)
        if why:
            return await self._failed([self.record(one, survey, "failed", by=by, detail=why) for one in step.drifts])
        repairs = [self.record(one, survey, "repairing", by=by, detail="") for one in step.drifts]
        await self.save(repairs)
        try:
            channel = await self._request(step, survey.guild_id, repairs[0].id)
        except DiscordUnavailable:
            raise
        except DiscordNotFound as error:
            # Deleted in this very moment: the next look finds it gone.
            return await self._failed([self.became(one, "found", error.message, by=by) for one in repairs])
        except DiscordRefused as error:
            detail = f"{error.message}. {error.hint}".removesuffix(" ")
            return await self._failed([self.became(one, "failed", detail, by=by) for one in repairs])
        return await self.finished(survey.wanted[step.key], channel, repairs, by=by)

    async def _request(self, step: Step, guild_id: int, repair_id: str) -> Channel:
        port, reason = self._tools.port, f"Repair {repair_id}"
        if step.plan is not None:
            return await port.create_channel(guild_id, step.plan, reason=reason, patient=True)
        if step.changes is None:
            raise ValueError("a step is a plan or changes")
        return await port.edit_channel(step.channel_id, step.changes, reason=reason)

    async def _failed(self, repairs: list[ChannelRepair]) -> list[ChannelRepair]:
        await self.save(repairs)
        self.tell(repairs)
        return repairs

    async def finished(
        self, wanted: Wanted, channel: Channel, repairs: Sequence[ChannelRepair], *, by: str
    ) -> list[ChannelRepair]:
        """Have everybody follow a channel that was made or changed, and put it on record.

        Raises
        ------
        LedgerError
            It is followed all the same; the record is finished when the ledger is back.
        """
        tools, old_id = self._tools, wanted.channel_id
        moved = any(one.drift == "gone" for one in repairs)
        if moved and old_id:
            tools.moves.add(old_id, channel.id)
            tools.take_effect()
        without = left_out(wanted)
        done = [
            self.became(one, "repaired", without if one.drift in ("gone", "permissions") else "", by=by)
            for one in repairs
        ]
        now = tools.clock.now()
        guild_id = repairs[0].guild_id
        row = row_of(replace(wanted, channel_id=channel.id), look_of(channel), guild_id=guild_id, at=now)
        move = ChannelMove(old_id=old_id, new_id=channel.id, key=wanted.key, guild_id=guild_id, at=now)

        def finish(connection: Connection) -> None:
            _save(connection, done)
            rows.save_wanted(connection, row)
            if moved and old_id:
                rows.save_move(connection, move)

        await tools.ledger.write(finish)
        if moved and old_id:
            await tools.moves.save()
            tools.bus.publish(ChannelMoved(at=now, key=wanted.key, guild_id=guild_id, old_id=old_id, new_id=channel.id))
        self.tell(done)
        return done

    # What was left

    async def finish_left(self, survey: Survey) -> bool:
        """Finish what a master that was killed, or Discord's absence, left between two steps; True if there was any.

        Raises
        ------
        LedgerError
        """
        unfinished = await self._tools.ledger.read(partial(rows.repairs_in_states, states=rows.UNFINISHED))
        left = [one for one in unfinished if one.guild_id == survey.guild_id]
        taken = {one.channel_id for one in survey.wanted.values()}
        things = {one.thing for one in survey.drifts}
        for repair in left:
            wanted = survey.wanted.get(repair.key)
            made = None if wanted is None else _made_for(repair, survey.found, taken)
            if wanted is not None and made is not None and f"{repair.key}:gone" in things:
                taken.add(made.id)
                await self.finished(wanted, made, [repair], by=SYSTEM)
            else:
                await self.save([self._as_it_is(repair, survey, things)])
        return bool(left)

    def _as_it_is(self, repair: ChannelRepair, survey: Survey, things: set[str]) -> ChannelRepair:
        if repair.state == "undoing":
            channel = survey.found.get(repair.channel_id)
            found = found_of(repair)
            if repair.drift == "gone":
                undone = channel is None
            else:
                look = None if channel is None else look_of(channel)
                undone = part(repair.drift, look) == part(repair.drift, found.look)
            return self.became(repair, "undone" if undone else "repaired")
        if f"{repair.key}:{repair.drift}" in things:
            return self.became(repair, "found", "it was cut off before Discord had carried it out")
        return self.became(repair, "repaired")


def left_out(wanted: Wanted) -> str:
    """Return whose permissions could not be put back, as they are not on the server any more; empty for nobody's."""
    named = [f"{one.kind} {one.target_id}" for one in wanted.left_out]
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""
    return f"without the permissions of {', '.join(named[:5])}{more}: not on the server any more" if named else ""


def is_same(repair: ChannelRepair, drift: Drift) -> bool:
    """Tell whether a drift is the one that is on record: the same thing was found."""
    if repair.channel_id != drift.channel_id:
        return False
    return drift.kind == "gone" or part(drift.kind, found_of(repair).look) == part(drift.kind, drift.found)


def state_of(drift: Drift, survey: Survey) -> str:
    """Return what becomes of a drift without anybody asking: ``due``, ``left``, ``asked`` or ``failed``."""
    before = survey.newest.get(drift.thing)
    if before is None or not is_same(before, drift):
        return "due"
    return {"left": "left", "undone": "left", "asked": "asked", "failed": "failed"}.get(before.state, "due")


def found_of(repair: ChannelRepair) -> Found:
    """Return what was found."""
    return msgspec.json.decode(repair.found, type=Found)


def wanted_of(repair: ChannelRepair) -> Look:
    """Return how the channel had to be."""
    return msgspec.json.decode(repair.wanted, type=Look)


def _made_for(repair: ChannelRepair, found: Mapping[int, Channel], taken: set[int]) -> Channel | None:
    """Return the channel that was made in a repair that nobody saw the end of.

    Its permissions have to fit too: somebody may have made one of this name meanwhile, which everybody reads.
    """
    if repair.drift != "gone" or repair.state != "repairing":
        return None
    look, after_id = wanted_of(repair), found_of(repair).after_id
    fitting = (
        channel
        for channel in found.values()
        if channel.id > after_id
        and channel.id not in taken
        and (channel.name, channel.kind, channel.parent_id) == (look.name, look.kind, look.parent_id)
        and in_order(channel.overwrites) == in_order(look.overwrites)
    )
    return min(fitting, key=lambda channel: channel.id, default=None)


def _save(connection: Connection, repairs: Sequence[ChannelRepair]) -> None:
    for repair in repairs:
        rows.save_repair(connection, repair)
