"""Takes repairs back: what a person had made of a channel is put back, and stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from msgspec.structs import replace

from master.errors import ExitCode
from master.ledger.rows.records import ChannelRepair
from master.services.channels.drift import changes_to
from master.services.channels.repairing import Repairing, found_of, wanted_of
from master.services.channels.tools import ChannelTools
from master.services.channels.tree import Look, in_order
from master.services.core.discord_port import Channel
from master.services.core.errors import DiscordNotFound, DiscordRefused, ServiceError


class NothingToUndo(ServiceError):
    """There is no repair that could be taken back."""

    code: ClassVar[str] = "nothing_to_undo"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class _ChangedSince(ServiceError):
    """The channel is not as the repair left it."""


class Undoing:
    """Take repairs back; the caller sees to it that nothing else acts on the channels meanwhile."""

    def __init__(self, tools: ChannelTools, repairing: Repairing) -> None:
        self._tools, self._repairing = tools, repairing

    async def undo(self, repairs: Sequence[ChannelRepair], *, by: str) -> list[ChannelRepair]:
        """Take repairs back, the newest first; returns what became of each.

        Raises
        ------
        NothingToUndo
            None of them is in force, or all are about messages.
        DiscordUnavailable, LedgerError
            What was begun is on record, and can be undone again.
        """
        fit = [one for one in repairs if one.state in ("repaired", "undoing") and one.drift not in ("panel", "pin")]
        if not fit:
            states = ", ".join(sorted({one.state for one in repairs})) or "there is none"
            raise NothingToUndo(
                f"nothing of it can be taken back: {states}", hint="a message that was posted again is simply deleted"
            )
        there = {one.id: one for one in await self._tools.port.channels(self._tools.guild_id)}
        return [await self._undo(one, there, by) for one in sorted(fit, key=lambda one: one.id, reverse=True)]

    async def _undo(self, repair: ChannelRepair, there: dict[int, Channel], by: str) -> ChannelRepair:
        channel_id = self._current(repair, there)
        begun = replace(self._repairing.became(repair, "undoing", by=by), channel_id=channel_id)
        await self._repairing.save([begun])
        try:
            await self._carry_out(repair, channel_id, there)
        except (DiscordRefused, _ChangedSince) as error:
            done = self._repairing.became(begun, "repaired", f"not taken back: {error.message}", by=by)
        else:
            done = self._repairing.became(begun, "undone", by=by)
        await self._repairing.save([done])
        self._repairing.tell([done])
        return done

    def _current(self, repair: ChannelRepair, there: dict[int, Channel]) -> int:
        found = self._tools.moves.current(repair.channel_id)
        return found if found in there or repair.channel_id else repair.channel_id

    async def _carry_out(self, repair: ChannelRepair, channel_id: int, there: dict[int, Channel]) -> None:
        port, reason = self._tools.port, f"Undo {repair.id}"
        if repair.drift == "gone":
            try:
                await port.delete_channel(channel_id, reason=reason)
            except DiscordNotFound:
                return
            return
        look = found_of(repair).look
        if look is None:
            return
        if repair.drift == "permissions" and channel_id in there:
            _check_permissions(repair, look, there[channel_id])
        if look.parent_id not in there:
            look = replace(look, parent_id=None)
        changes = changes_to(look, [repair.drift])
        if changes is not None:
            await port.edit_channel(channel_id, changes, reason=reason)


def _check_permissions(repair: ChannelRepair, look: Look, channel: Channel) -> None:
    """Refuse to write old permissions over newer ones: they might give back what somebody took away on purpose."""
    now = in_order(channel.overwrites)
    # As they were found: an undo was cut off behind the request.
    if now not in (in_order(wanted_of(repair).overwrites), in_order(look.overwrites)):
        raise _ChangedSince("its permissions were changed since")
