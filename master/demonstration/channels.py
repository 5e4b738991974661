"""A step of the demo: somebody deletes a channel of the fleet, and it comes back."""

from __future__ import annotations

import time

from master.demonstration.stage import EventTap, Stage, StageError


async def delete_and_see_it_again(stage: Stage, tap: EventTap) -> str:
    """Delete PATCH_CHANNEL as a person; returns how long it took until it was there again, and who was told.

    Raises
    ------
    StageError
        It does not come back.
    TimeoutError
        LOG_CHANNEL does not tell of it.
    """
    since, began = len(tap.events), time.monotonic()
    name, old_id = stage.patch.channel.name, stage.patch.id
    await stage.operator.deletes_channel(stage.patch)
    await tap.wait_for("channel_moved", None, detail=f"PATCH: {old_id}", since=since)
    seconds = time.monotonic() - began
    found = [one for one in stage.guild.guild.channels.values() if one.name == name]
    if len(found) != 1:
        raise StageError(f"there are {len(found)} channels #{name}")
    stage.patch = stage.guild.channel(found[0].id)

    await stage.log.wait_for_message(lambda message: any("put right" in one.get("title", "") for one in message.embeds))
    return f"#{name} is there after {seconds:.1f} s, and LOG_CHANNEL has who did it, with an Undo button"
