"""What the action ``recreate_channels`` of a solution does: the channels of config.py that are gone are made anew."""

from __future__ import annotations

from collections.abc import Callable

from master.configuration.settings import Settings
from master.services.channels.drift import Drift
from master.services.channels.keeper import ChannelKeeper
from master.services.channels.survey import Survey
from master.services.core.channel_moves import ChannelMoves, named_channels
from master.services.repair.errors import ActionFailed, ActionSkipped


async def recreate(keeper: ChannelKeeper, written: Callable[[], Settings], moves: ChannelMoves) -> str:
    """Make the channels of config.py anew that are gone; returns what was done, in one line.

    Parameters
    ----------
    written
        Returns the settings as config.py has them.

    Raises
    ------
    ActionSkipped
        None is gone, or nobody knows what it looked like.
    ActionFailed
        Discord does not let it.
    FleetError
        Discord or the ledger is away.
    """
    survey = await keeper.survey()
    if survey.unknown:
        unknown = ", ".join(f"{key} = {channel_id}" for key, channel_id in survey.unknown.items())
        raise ActionSkipped(
            f"nothing is remembered of {unknown}: a channel without its permissions might be open to all",
            hint="create it by hand, and put its id into config.py",
        )
    if not any(drift.kind == "gone" for drift in survey.drifts):
        raise ActionSkipped("no channel of the fleet is gone")
    done = await keeper.look(force=_is_gone, by="system:solution")
    if failed := [one for one in done if one.state == "failed"]:
        raise ActionFailed(failed[0].detail)
    said = "; ".join(f"{one.key} is there again" for one in done if one.drift == "gone")
    # config.py names those by their old ids.
    moved = [
        f"{key} = {moves.current(channel_id)}"
        for key, channel_id in named_channels(written()).items()
        if channel_id != moves.current(channel_id)
    ]
    return f"{said}; put into config.py: {', '.join(moved)}" if moved else said


def _is_gone(drift: Drift, _survey: Survey) -> bool:
    return drift.kind == "gone"
