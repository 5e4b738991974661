"""A channel of the fleet is deleted: it is made anew, and everybody follows."""

from __future__ import annotations

import asyncio
import signal

import pytest

from master.demonstration.stage import Stage
from sandbox import ChannelHandle
from sandbox.permissions import SEND_MESSAGES
from sandbox.records import Overwrite

pytestmark = pytest.mark.timeout(120)


def named(stage: Stage, name: str) -> ChannelHandle:
    (found,) = [one for one in stage.guild.guild.channels.values() if one.name == name]
    return stage.guild.channel(found.id)


@pytest.mark.slow
async def test_the_log_channel_comes_back_and_everybody_follows_also_after_a_restart() -> None:
    async with Stage() as stage:
        office = stage.guild.create_category("office")
        stage.log.channel.parent_id = office.id
        stage.log.channel.overwrites[stage.guild.id] = Overwrite(stage.guild.id, 0, 0, SEND_MESSAGES)
        stage.log.channel.overwrites[stage.master_bot.id] = Overwrite(stage.master_bot.id, 1, SEND_MESSAGES, 0)
        await stage.start_master()
        async with stage.listen() as tap:
            await stage.register("atlas")
            await tap.wait_for("ready", "atlas")
            await stage.operator.deletes_channel(stage.log)
            moved = await tap.wait_for("channel_moved", None)
            log = named(stage, "fleet-log")
            assert str(log.id) in moved.detail
            assert log.channel.parent_id == office.id
            overwrites = log.channel.overwrites
            assert overwrites[stage.guild.id].deny == SEND_MESSAGES
            assert overwrites[stage.master_bot.id].allow == SEND_MESSAGES
            told = await log.wait_for_message(lambda message: bool(message.embeds))
            assert told.embeds[0]["title"] == "1 channel put right"
            assert "LOG #fleet-log: deleted" in told.embeds[0]["description"]
            await stage.operator.deletes_channel(stage.verify)
            await tap.wait_for("channel_moved", None, detail="VERIFY")
            verify = named(stage, "verify")
            while not followed(stage, verify):  # noqa: ASYNC110 - a line of the node's log
                await asyncio.sleep(0.05)
        # config.py still has the old ids: the next master follows all the same.
        await restart(stage)
        async with stage.listen() as tap:
            log = named(stage, "fleet-log")
            await stage.operator.deletes_channel(log)
            moved = await tap.wait_for("channel_moved", None, detail=f"LOG: {log.id}")
            assert str(named(stage, "fleet-log").id) in moved.detail


def followed(stage: Stage, verify: ChannelHandle) -> bool:
    """Tell whether the node says that it follows VERIFY_CHANNEL."""
    logs = (stage.home / "state" / "logs").rglob("*.log*")
    return any(f"VERIFY_CHANNEL is {verify.id} now" in path.read_text("utf-8", "replace") for path in logs)


async def restart(stage: Stage) -> None:
    """Have another master take over the nodes."""
    assert stage.master is not None
    stage.master.process.send_signal(signal.SIGHUP)
    await stage.master.process.wait()
    await stage.start_master()
