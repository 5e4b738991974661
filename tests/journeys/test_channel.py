"""The handshake through VERIFY_CHANNEL alone, as for a node on another box."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal

import pytest

from handshake.transports.channel import unwrap
from master.demonstration.stage import Stage

pytestmark = pytest.mark.timeout(120)


def kind_of(content: str) -> str:
    text = unwrap(content)
    assert text is not None
    header = text.split(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["typ"])


@pytest.mark.slow
async def test_nodes_prove_themselves_and_pulse_through_the_channel() -> None:
    async with Stage(transport="channel") as stage:
        await stage.start_master()
        async with stage.listen() as tap:
            await stage.register("atlas")
            verified = await tap.wait_for("verified", "atlas")
            assert verified.detail == "by channel"
            await tap.wait_for("ready", "atlas")
            pulse = await stage.verify.wait_for_message(
                lambda m: m.author.id == stage.bots["atlas"].id and len(stage.verify.messages) > 2, timeout_s=15
            )
            assert kind_of(pulse.content) == "heartbeat"  # not the request again: the node has read the answer
            assert not stage.bots["atlas"].account.privileged_intents  # and without MESSAGE_CONTENT
            while (await stage.node("atlas")).last_pulse_s_ago is None:  # noqa: ASYNC110 - believed, not only posted
                await asyncio.sleep(0.05)
            authors = [message.author.username for message in stage.verify.messages]
            assert authors[:3] == ["atlas", "Fleetmaster", "atlas"]  # request, answer, pulse; a pulse is not answered
            since = len(tap.events)
            pid = (await stage.node("atlas")).pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await tap.wait_for("ready", "atlas", since=since)


@pytest.mark.slow
async def test_a_signed_message_posted_by_another_account_is_flagged() -> None:
    async with Stage(transport="channel") as stage:
        await stage.start_master()
        async with stage.listen() as tap:
            await stage.register("atlas")
            await tap.wait_for("ready", "atlas")
            copied = next(m.content for m in stage.verify.messages if m.author.username == "atlas")
            await stage.operator.sends(stage.verify, copied)
            refused = await tap.wait_for("refused", "atlas")
            assert refused.detail in ("replayed", "wrong_author")
            await stage.operator.sends(stage.verify, "people may talk here, and nothing happens")
            await stage.operator.sends(stage.verify, "```\nnot.a.jws\n```")
            await tap.wait_for("refused", "")
            assert (await stage.node("atlas")).state == "ready"


@pytest.mark.slow
async def test_a_node_that_may_not_write_in_the_channel_goes_on_trying_and_the_others_with_it() -> None:
    async with Stage(transport="channel") as stage:
        await stage.start_master()
        async with stage.listen() as tap:
            await stage.register("borealis")
            await tap.wait_for("ready", "borealis")
            bot = stage.sandbox.create_bot("atlas")  # not invited: 403 wherever it writes
            stage.bots["atlas"] = bot
            await stage.duplicate("atlas")
            await tap.wait_for("spawned", "atlas")
            await stage.sandbox.gateway.wait_connected(bot.account, timeout_s=15)
            assert (await stage.node("atlas")).state == "starting"
            assert (await stage.node("borealis")).state == "ready"
