"""An operator's day, on Discord and at the command line."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time

import psutil
import pytest

from handshake.messages import Heartbeat
from handshake.redaction import Secret
from handshake.signing import NodeKey, Signer
from master.control.client import NoMaster, RemoteError
from master.demonstration.stage import EventTap, Stage
from master.operations.parameters import NamesParams
from master.services.core.views import ActionResult, FleetStatus
from sandbox import CommandNotVisible, permissions

pytestmark = pytest.mark.timeout(120)


@pytest.mark.slow
async def test_runbots_shows_the_fleet_and_its_buttons_steer_it(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    shown = await stage.operator.runs_command(stage.office, stage.master_bot, "runbots")
    await shown.wait_until(lambda i: bool(i.embeds))
    assert shown.ephemeral
    assert "1 of 1 nodes ready" in shown.embeds[0]["title"]
    assert "atlas" in shown.embeds[0]["description"]

    message = shown.message
    assert message is not None
    select = message.components[1]["components"][0]["custom_id"]
    await stage.operator.selects(message, select, ["atlas"])
    since = len(tap.events)
    restarted = await stage.operator.presses(message, "Restart 1")
    await tap.wait_for("spawned", "atlas", since=since)
    await restarted.wait_until(lambda i: bool(i.followups))
    assert "restart: atlas" in restarted.followups[0].embeds[0]["title"]

    # The next master answers the buttons of this one's message, and knows what was chosen.
    assert stage.master is not None
    stage.master.process.kill()
    await stage.master.process.wait()
    await stage.start_master()
    async with stage.listen() as again:
        question = await stage.operator.presses(message, "Stop 1")
        await stage.operator.presses(question, "Stop")
        await again.wait_for("stopped", "atlas")
    await question.wait_until(lambda i: "stop: atlas" in str(i.embeds))
    refreshed = await stage.operator.presses(message, "Refresh")
    assert "0 of 1 nodes ready" in refreshed.embeds[0]["title"]


@pytest.mark.slow
async def test_forcekill_asks_and_kills_the_whole_group(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    choices = await stage.operator.autocompletes(
        stage.office, stage.master_bot, "forcekill", {"node": "at"}, focused="node"
    )
    assert choices == [{"name": "atlas (ready)", "value": "atlas"}]
    pid = (await stage.node("atlas")).pid
    question = await stage.operator.runs_command(stage.office, stage.master_bot, "forcekill", {"node": "atlas"})
    assert "Kill atlas?" in question.embeds[0]["title"]
    left_alone = await stage.operator.presses(question, "Cancel")
    assert "Nothing was done" in left_alone.embeds[0]["title"]
    assert (await stage.node("atlas")).pid == pid

    question = await stage.operator.runs_command(stage.office, stage.master_bot, "forcekill", {"node": "atlas"})
    since = len(tap.events)
    await stage.operator.presses(question, "Kill atlas")
    await tap.wait_for("killed", "atlas")
    # Killed first, and put on record meanwhile: a full disk or a slow database must not hold it up.
    await tap.wait_for("audited", "atlas", since=since)
    node = await stage.node("atlas")
    assert (node.state, node.desired) == ("stopped", "stopped")


@pytest.mark.slow
async def test_an_unknown_node_is_answered_with_what_to_do(stage: Stage) -> None:
    answer = await stage.operator.runs_command(stage.office, stage.master_bot, "forcekill", {"node": "nobody"})
    assert answer.ephemeral
    assert "no node called 'nobody'" in answer.embeds[0]["title"]


FOR_OTHERS = {
    "giveaway": str(permissions.MANAGE_MESSAGES),
    "ticket": str(permissions.MANAGE_MESSAGES),
    "mailbox": str(permissions.MANAGE_MESSAGES),
    "licence": None,
    "license": None,
}
"""Commands of moderators and, without any permission, of members."""


async def test_operators_commands_are_shown_to_who_may_manage_the_server(stage: Stage) -> None:
    eve = stage.sandbox.create_human("eve")
    stage.guild.add_member(eve)
    commands = stage.sandbox.commands.of_scope(stage.master_bot.id, stage.guild.id)
    names = {command["name"] for command in commands}
    assert {"registerbot", "dupbot", "runbots", "forcekill", "fleet"} <= names
    for command in commands:
        shown_to = FOR_OTHERS.get(command["name"], str(permissions.MANAGE_GUILD))
        assert command["default_member_permissions"] == shown_to, command["name"]
        assert command["dm_permission"] is False
    with pytest.raises(CommandNotVisible):
        await eve.runs_command(stage.office, stage.master_bot, "runbots")
    with pytest.raises(CommandNotVisible):
        await eve.autocompletes(stage.office, stage.master_bot, "forcekill", {"node": ""}, focused="node")


async def test_a_stranger_is_refused_and_audited(stage: Stage) -> None:
    mallory = stage.sandbox.create_human("mallory")
    stage.guild.add_member(mallory, [stage.guild.create_role("managers", permissions.MANAGE_GUILD)])
    answer = await mallory.runs_command(stage.office, stage.master_bot, "dupbot")
    assert answer.kind == "message"
    assert answer.ephemeral
    assert "may not duplicate" in answer.embeds[0]["title"]
    assert await mallory.autocompletes(stage.office, stage.master_bot, "forcekill", {"node": ""}, focused="node") == []
    with sqlite3.connect(stage.home / "state" / "ledger.db") as ledger:
        rows = ledger.execute("SELECT actor, action, outcome FROM audit_log").fetchall()
    assert rows == [(f"discord:{mallory.id}", "duplicate", "refused")]


@pytest.mark.slow
async def test_registerbot_takes_a_token_alone_and_shows_a_bad_one_as_an_error(stage: Stage, tap: EventTap) -> None:
    form = await stage.operator.runs_command(stage.office, stage.master_bot, "registerbot")
    bad = await stage.operator.submits_modal(form, {"Name": "atlas", "Bot token": "x" * 50})
    await bad.wait_until(lambda i: bool(i.embeds))
    assert bad.ephemeral
    assert bad.embeds[0]["color"] == 0xE74C3C
    assert "does not accept the token" in bad.embeds[0]["title"]
    assert "does not look like a token of Discord's" in str(bad.embeds[0])

    bot = stage.create_bot("atlas")
    form = await stage.operator.runs_command(stage.office, stage.master_bot, "registerbot")
    good = await stage.operator.submits_modal(form, {"Name": "atlas", "Bot token": bot.token, "Tags": "a, b"})
    await tap.wait_for("ready", "atlas")
    await good.wait_until(lambda i: bool(i.embeds))
    assert good.embeds[0]["color"] == 0x2ECC71
    assert "FM1-" in good.embeds[0]["fields"][0]["value"]
    assert (await stage.node("atlas")).tags == ("a", "b")


@pytest.mark.slow
async def test_a_server_without_modals_gets_words_instead(stage: Stage) -> None:
    stage.sandbox.interactions.modals_supported = False
    answer = await stage.operator.runs_command(stage.office, stage.master_bot, "dupbot")
    assert answer.kind == "message"
    assert "no forms" in answer.embeds[0]["title"]
    assert "fleet dup" in answer.embeds[0]["description"]


@pytest.mark.slow
async def test_an_existing_folder_is_registered_from_discord(stage: Stage, tap: EventTap) -> None:
    folder = stage.home / "bots" / "oldbot"
    folder.mkdir(parents=True)
    (folder / "main.py").write_text("import signal; signal.pause()\n")
    options = {"folder": "oldbot", "entry": "main.py"}
    offered = await stage.operator.autocompletes(
        stage.office, stage.master_bot, "registerbot", {"folder": "old"}, focused="folder"
    )
    assert [choice["value"] for choice in offered] == ["oldbot"]
    form = await stage.operator.runs_command(stage.office, stage.master_bot, "registerbot", options)
    bot = stage.create_bot("old")
    await stage.operator.submits_modal(form, {"Name": "old", "Bot token": bot.token})
    await tap.wait_for("ready", "old")
    node = await stage.node("old")
    assert (node.readiness, node.folder) == ("process", "oldbot")


async def test_the_fleet_outlives_its_master_and_the_next_takes_it_back(stage: Stage, tap: EventTap) -> None:
    for name in ("atlas", "borealis"):
        await stage.register(name)
        await tap.wait_for("ready", name)
    await asyncio.to_thread(
        stage.client.call, "stop", NamesParams(names=("borealis",)), answer=list[ActionResult], timeout_s=20
    )
    pid = (await stage.node("atlas")).pid
    assert pid is not None
    assert stage.master is not None
    stage.master.process.kill()
    await stage.master.process.wait()
    assert psutil.pid_exists(pid)
    with pytest.raises(NoMaster, match="is gone"):
        await asyncio.to_thread(stage.client.call, "ping", answer=FleetStatus)

    await stage.start_master()
    async with stage.listen() as again:
        if (await stage.node("atlas")).state != "ready":
            await again.wait_for("ready", "atlas")
    node = await stage.node("atlas")
    assert (node.pid, node.state, node.restarts) == (pid, "ready", 0)
    assert stage.sandbox.gateway.identifies[stage.bots["atlas"].id] == 1
    assert (await stage.node("borealis")).state == "stopped"


@pytest.mark.slow
async def test_a_node_that_died_while_there_was_no_master_is_started_by_the_next(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    pid = (await stage.node("atlas")).pid
    assert pid is not None
    assert stage.master is not None
    stage.master.process.kill()
    await stage.master.process.wait()
    os.kill(pid, signal.SIGKILL)
    await stage.start_master()
    async with stage.listen() as again:
        if (await stage.node("atlas")).pid is None:
            await again.wait_for("spawned", "atlas")
    assert (await stage.node("atlas")).pid not in (None, pid)


@pytest.mark.slow
async def test_a_second_master_refuses_to_start(stage: Stage) -> None:
    second = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "master.cli", "run", "--home", str(stage.home)), stderr=asyncio.subprocess.PIPE
    )
    _, told = await asyncio.wait_for(second.communicate(), 30)
    assert second.returncode == 7
    assert b"running" in told
    assert (await stage.status()).master.discord == "ready"


@pytest.mark.slow
async def test_discord_refusing_the_master_leaves_the_fleet_running(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    stage.sandbox.world.set_token(stage.master_bot.account)
    await stage.sandbox.faults.drop_connections(stage.master_bot.account, code=4004)
    while not (await stage.status()).master.discord.startswith("refused"):  # noqa: ASYNC110 - told by no event
        await asyncio.sleep(0.05)
    assert (await stage.node("atlas")).state == "ready"
    since = len(tap.events)
    await asyncio.to_thread(
        stage.client.call, "restart", NamesParams(names=("atlas",)), answer=list[ActionResult], timeout_s=20
    )
    await tap.wait_for("ready", "atlas", since=since)


@pytest.mark.slow
async def test_a_missing_intent_of_the_master_is_named_and_the_fleet_runs_without_discord() -> None:
    async with Stage(pulse_s=0.5) as stage:
        stage.master_bot.account.privileged_intents = 0
        await stage.start_master()
        async with stage.listen() as tap:
            assert "MESSAGE CONTENT" in (await stage.status()).master.discord
            await stage.register("atlas")
            await tap.wait_for("ready", "atlas")


@pytest.mark.slow
async def test_a_node_whose_token_was_reset_is_told_apart_and_the_others_go_on(stage: Stage, tap: EventTap) -> None:
    for name in ("atlas", "borealis"):
        await stage.register(name)
        await tap.wait_for("ready", name)
    stage.sandbox.world.set_token(stage.bots["atlas"].account)
    await stage.sandbox.faults.drop_connections(stage.bots["atlas"].account, code=4004)
    exited = await tap.wait_for("exited", "atlas")
    assert "exited with code 65" in exited.detail
    backoff = await tap.wait_for("backoff", "atlas")
    assert "token" in backoff.detail
    assert (await stage.node("borealis")).state == "ready"


@pytest.mark.slow
async def test_a_flag_is_cleared_and_a_quarantine_released_by_the_operator(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    await stage.operator.sends(stage.verify, f"```\n{forged_pulse((await stage.node('atlas')).id)}\n```")
    await tap.wait_for("refused", "atlas")
    assert (await stage.node("atlas")).flag_reason == "bad_signature"
    for verb in ("clear", "release"):
        (result,) = await asyncio.to_thread(
            stage.client.call, verb, NamesParams(names=("atlas",)), answer=list[ActionResult], timeout_s=20
        )
        assert (result.ok, result.state) == (True, "ready")
    assert (await stage.node("atlas")).flag_reason == ""


def forged_pulse(node_id: str) -> str:
    key = NodeKey(node_id, 1, Secret(os.urandom(32)))
    return Signer(key, from_master=False, clock=time.time).sign(Heartbeat(uptime_s=1.0))


@pytest.mark.slow
async def test_unknown_names_and_methods_are_errors_with_codes(stage: Stage) -> None:
    with pytest.raises(RemoteError) as unknown:
        await asyncio.to_thread(stage.client.call, "stop", NamesParams(names=("nobody",)), answer=list[ActionResult])
    assert (unknown.value.code, int(unknown.value.exit_code)) == ("no_such_node", 3)
    with pytest.raises(RemoteError, match="unknown method"):
        await asyncio.to_thread(stage.client.call, "explode", answer=FleetStatus)
