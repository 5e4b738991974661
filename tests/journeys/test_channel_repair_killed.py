"""A real master is killed with SIGKILL in the middle of a repair: the next one finishes it, and makes nothing twice."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

import pytest

from master.demonstration.stage import Stage, StageError
from master.operations import channels
from master.operations.parameters import ChannelsHistoryParams, ChannelsRepairParams, NoParams
from sandbox.events import Event

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
OWN = ("fleet-log", "patch", "verify")


def kill_at_creations(stage: Stage, times: int) -> None:
    """Kill each master as Discord has made a channel for it, before it can hear of that."""
    left = times

    def strike(event: Event) -> None:
        nonlocal left
        if event.name == "CHANNEL_CREATE" and left:
            left -= 1
            assert stage.master is not None
            stage.master.process.kill()

    # Before the gateway's, which tells the bot.
    stage.sandbox.world.listeners.insert(0, strike)


def ids(stage: Stage) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {name: [] for name in OWN}
    for one in stage.guild.guild.channels.values():
        found.setdefault(one.name, []).append(one.id)
    return found


async def killed(stage: Stage) -> None:
    assert stage.master is not None
    assert await stage.master.process.wait() == -signal.SIGKILL


async def until_all_are_there(stage: Stage) -> None:
    async with asyncio.timeout(60):
        while True:
            view = await asyncio.to_thread(stage.client.run, channels.listing, NoParams())
            if {row.state for row in view.channels} == {"ok"}:
                return
            await asyncio.sleep(0.05)


async def test_killed_at_two_creations_everything_is_there_once() -> None:
    async with Stage() as stage:
        await stage.start_master()
        # It has looked at them once when this is answered.
        await asyncio.to_thread(stage.client.run, channels.repair, ChannelsRepairParams())
        before = ids(stage)
        kill_at_creations(stage, 2)
        for channel in (stage.log, stage.patch, stage.verify):
            await stage.operator.deletes_channel(channel)
        await killed(stage)
        assert sum(len(ids(stage)[name]) for name in OWN) == 1
        with suppress(StageError):  # it may be killed before it is up
            await stage.start_master()
        await killed(stage)
        assert sum(len(ids(stage)[name]) for name in OWN) == 2
        await stage.start_master()
        await until_all_are_there(stage)
        after = ids(stage)
        assert {name: len(found) for name, found in after.items()} == {**dict.fromkeys(OWN, 1), "operators": 1}
        assert not {before[name][0] for name in OWN} & {after[name][0] for name in OWN}
        view = await asyncio.to_thread(stage.client.run, channels.listing, NoParams())
        assert {row.name.removeprefix("#"): row.channel_id for row in view.channels} == {
            name: after[name][0] for name in OWN
        }
        rows = await asyncio.to_thread(stage.client.run, channels.history, ChannelsHistoryParams())
        assert sorted((row.key, row.drift, row.state) for row in rows) == [
            (key, "gone", "repaired") for key in ("LOG", "PATCH", "VERIFY")
        ]
