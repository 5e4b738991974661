"""The buttons of /runbots and of the masters' questions: what they act on, and that each press is answered."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import discord
import pytest
from discord import app_commands

from master.bot.operation_commands import carries_out
from master.cogs._views import Confirm, OperationModal, lines_in_pages
from master.events import NodeEnded
from master.operations import nodes
from sandbox import Interaction, Message, SandboxError
from tests.cogs.conftest import Scene


def message_of(shown: Interaction) -> Message:
    assert shown.message is not None
    return shown.message


def leaves(message: Message) -> list[dict[str, Any]]:
    return [leaf for row in message.components for leaf in row["components"]]


def chosen_in(message: Message) -> list[str]:
    (menu,) = (leaf for leaf in leaves(message) if ":choose:" in leaf.get("custom_id", ""))
    return [option["label"] for option in menu["options"] if option.get("default")]


async def chooses(scene: Scene, message: Message, *names: str, verb: str = "choose") -> Interaction:
    (menu,) = (leaf for leaf in leaves(message) if f":{verb}:" in leaf.get("custom_id", ""))
    return await scene.ada.selects(message, menu["custom_id"], names)


async def until_state(scene: Scene, name: str, state: str) -> None:
    service = scene.house.services
    with service.bus.subscribe(NodeEnded) as events:
        while service.overview.node(service.directory.find(name)).state != state:
            await asyncio.wait_for(events.get(), 10)


async def test_a_page_from_before_a_restart_of_the_master_works(scene: Scene) -> None:
    await scene.register("atlas", "borealis")
    shown = message_of(await scene.runs("runbots"))
    await chooses(scene, shown, "atlas")
    assert chosen_in(shown) == ["atlas"]
    await scene.connect()
    # What was chosen before is chosen still.
    started = await scene.presses(shown, "Start 1")
    await started.wait_until(lambda i: bool(i.followups))
    assert "start: atlas" in started.followups[0].embeds[0]["title"]
    assert started.followups[0].ephemeral_for == scene.ada.id
    overview, directory = scene.house.services.overview, scene.house.services.directory
    assert overview.node(directory.find("atlas")).pid is not None
    assert overview.node(directory.find("borealis")).pid is None
    # And it is live again.
    (title,) = [embed["title"] for embed in shown.embeds]
    changed = await scene.presses(shown, "Refresh")
    assert changed.kind == "update"
    assert title


async def test_stop_acts_on_what_was_asked_about_and_a_second_press_is_answered(scene: Scene) -> None:
    await scene.register("atlas", "borealis")
    shown = message_of(await scene.runs("runbots"))
    await chooses(scene, shown, "atlas", "borealis")
    await (await scene.presses(shown, "Start 2")).wait_until(lambda i: bool(i.followups))
    await chooses(scene, shown, "atlas")
    question = await scene.presses(shown, "Stop 1")
    assert question.embeds[0]["title"] == "Stop atlas?"
    # Another selection in the meantime does not change what was asked about.
    await chooses(scene, shown, "borealis")
    asked = message_of(question)
    stale = [dict(row) for row in asked.components]
    await scene.ada.presses(asked, "Stop")
    await question.wait_until(lambda i: "stop: atlas" in str(i.embeds))
    await until_state(scene, "atlas", "stopped")
    assert scene.house.services.overview.node(scene.house.services.directory.find("borealis")).pid is not None
    assert asked.components == []
    # A slow client shows the button a little longer.
    asked.components = stale
    again = await scene.ada.presses(asked, "Stop")
    assert "answered already" in again.embeds[0]["title"]
    assert again.ephemeral


async def test_a_question_from_before_a_restart_is_answered_and_nothing_is_done(scene: Scene) -> None:
    await scene.register("atlas")
    shown = message_of(await scene.runs("runbots"))
    await chooses(scene, shown, "atlas")
    await (await scene.presses(shown, "Start 1")).wait_until(lambda i: bool(i.followups))
    question = await scene.presses(shown, "Stop 1")
    await scene.connect()
    pressed = await scene.ada.presses(message_of(question), "Stop")
    assert "Nothing was done now" in pressed.embeds[0]["description"]
    assert scene.house.services.overview.node(scene.house.services.directory.find("atlas")).pid is not None


async def test_a_form_from_before_a_restart_is_answered(scene: Scene) -> None:
    form = await scene.ada.runs_command(scene.office, scene.account, "dupbot")
    await scene.connect()
    sent = await scene.ada.submits_modal(form, {"Name": "atlas", "Bot token": "x" * 50})
    assert "before the master restarted" in sent.embeds[0]["title"]
    assert sent.ephemeral


async def test_pages_are_turned_and_filtered(scene: Scene) -> None:
    await scene.register(*(f"node-{at:02}" for at in range(23)))
    await scene.register("other", tags=("music",))
    shown = message_of(await scene.runs("runbots"))
    assert "page 1 of 2" in shown.embeds[0]["footer"]["text"]
    assert len(shown.embeds[0]["description"].split("\n")) == 20
    await scene.presses(shown, "Next")
    assert "page 2 of 2" in shown.embeds[0]["footer"]["text"]
    assert len(shown.embeds[0]["description"].split("\n")) == 4
    await scene.presses(shown, "Back")
    assert "page 1 of 2" in shown.embeds[0]["footer"]["text"]
    await chooses(scene, shown, "tag music (1)", verb="filter")
    assert "**other** stopped" in shown.embeds[0]["description"]
    assert "node-" not in shown.embeds[0]["description"]
    found = message_of(await scene.runs("runbots", {"find": "DE-2"}))
    assert [line.split("**")[1] for line in found.embeds[0]["description"].split("\n")] == [
        "node-20",
        "node-21",
        "node-22",
    ]


async def test_a_chosen_node_stays_on_its_page_and_one_that_is_gone_is_not_acted_on(scene: Scene) -> None:
    await scene.register("atlas", "borealis")
    shown = message_of(await scene.runs("runbots"))
    await chooses(scene, shown, "borealis")
    directory = scene.house.services.directory
    directory.discard(scene.node_id("borealis"))
    answered = await scene.presses(shown, "Start 1")
    assert "no node is chosen" in answered.embeds[0]["title"].lower()
    await scene.presses(shown, "Refresh")
    assert "borealis" not in shown.embeds[0]["description"]


async def test_a_stranger_presses_nothing(scene: Scene) -> None:
    await scene.register("atlas")
    shown = message_of(await scene.runs("runbots"))
    await chooses(scene, shown, "atlas")
    eve = scene.sandbox.create_human("eve")
    scene.guild.add_member(eve)
    # As if it were for all to see.
    shown.ephemeral_for = None
    for button in ("Start 1", "Stop 1", "Refresh"):
        pressed = await eve.presses(shown, button)
        assert "may not" in pressed.embeds[0]["title"]
        assert pressed.ephemeral
    assert scene.house.services.overview.node(scene.house.services.directory.find("atlas")).pid is None


async def test_a_custom_id_of_nobody_is_answered(scene: Scene) -> None:
    await scene.register("atlas")
    shown = message_of(await scene.runs("runbots"))
    for custom_id in ("runbots1:stop:x", "runbots1:page", "runbots0:page:1", "", "a:b:c" * 15):
        leaves(shown)[2].update(custom_id=custom_id, disabled=False)
        pressed = await scene.ada.presses(shown, "Start")
        assert pressed.ephemeral
        assert pressed.embeds[0]["title"].startswith("❌")


class Broken(OperationModal, title="Broken"):
    """A form with a defect."""

    name: discord.ui.TextInput[Any] = discord.ui.TextInput(label="Name")

    async def on_submit(self, interaction: discord.Interaction[Any], /) -> None:
        """Defer, then fail."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        raise KeyError("a secret of the inside")


def add(scene: Scene, command: app_commands.Command[Any, ..., Any]) -> None:
    assert scene.bot is not None
    scene.bot.tree.add_command(command, guild=discord.Object(scene.guild.id), override=True)


async def synced(scene: Scene) -> None:
    assert scene.bot is not None
    await scene.bot.tree.sync(guild=discord.Object(scene.guild.id))


async def test_an_unexpected_error_is_answered_with_an_id_that_the_log_has_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(interaction: discord.Interaction) -> None:
        raise ZeroDivisionError("a secret of the inside")

    async def form(interaction: discord.Interaction) -> None:
        await interaction.response.send_modal(Broken())

    async def button(interaction: discord.Interaction) -> None:
        question = discord.Embed(title="Sure?")
        await interaction.response.send_message(embed=question, view=Confirm(nodes.stop, "Sure", fail))

    for name, callback in (("fails", fail), ("form", form), ("button", button)):
        made: app_commands.Command[Any, ..., Any] = app_commands.Command(name=name, description="x", callback=callback)
        add(scene, carries_out(nodes.status)(made))
    await synced(scene)
    with caplog.at_level(logging.ERROR):
        failed = await scene.runs("fails")
        asked = await scene.ada.runs_command(scene.office, scene.account, "form")
        sent = await scene.ada.submits_modal(asked, {"Name": "x"})
        # It was "thinking", and is so no more.
        assert sent.kind == "deferred"
        await sent.wait_until(lambda i: bool(i.embeds))
        pressed = await scene.ada.presses(await scene.runs("button"), "Sure")
    logged = [getattr(record, "error_id", None) for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(logged) == 3
    for answered, error_id in zip((failed, sent, pressed), logged, strict=True):
        assert error_id in answered.embeds[0]["title"]
        assert "secret" not in str(answered.embeds)
        assert answered.ephemeral


async def test_cooldowns_and_missing_permissions_are_answered_as_what_they_are(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async def quick(interaction: discord.Interaction) -> None:
        await interaction.response.send_message(embed=discord.Embed(title="done"), ephemeral=True)

    def made(name: str, check: Any) -> None:
        command = check(app_commands.Command(name=name, description="x", callback=quick))
        add(scene, carries_out(nodes.status)(command))

    made("quick", app_commands.checks.cooldown(1, 60.0))
    made("lacks", app_commands.checks.bot_has_permissions(ban_members=True))
    made("role", app_commands.checks.has_role("nobody has this"))
    await synced(scene)
    with caplog.at_level(logging.WARNING):
        assert (await scene.runs("quick")).embeds[0]["title"] == "done"
        titles = [(await scene.runs(name)).embeds[0]["title"] for name in ("quick", "lacks", "role")]
    assert [title.removeprefix("❌ ") for title in titles] == [
        "Too fast: wait 1m00s, then try again",
        "The master lacks the permission Ban Members here",
        "You need a role for this that you do not have",
    ]
    assert [record for record in caplog.records if record.name.startswith("master")] == []


async def test_the_audit_log_is_in_pages(scene: Scene) -> None:
    await scene.register(*(f"node-{at:02}" for at in range(12)))
    shown = await scene.runs("fleet audit")
    assert shown.ephemeral
    first = shown.embeds[0]["description"].split("\n")
    assert len(first) == 10
    turned = await scene.ada.presses(message_of(shown), "Next")
    second = turned.embeds[0]["description"].split("\n")
    assert 0 < len(second) <= 10
    assert set(first).isdisjoint(second)
    with pytest.raises(SandboxError, match="disabled"):
        await scene.ada.presses(message_of(shown), "Next")
    single = await scene.runs("fleet audit", {"node": "node-01"})
    assert message_of(single).components == []


def test_pages_of_long_lines_fit_into_an_embed() -> None:
    pages = lines_in_pages(["x" * 5000, *["y" * 900] * 9], on_page=10)
    assert [len(page) for page in pages] == [1, 4, 4, 1]
    assert all(sum(len(line) + 1 for line in page) <= 4097 for page in pages)
    assert lines_in_pages([], on_page=5) == [[]]
