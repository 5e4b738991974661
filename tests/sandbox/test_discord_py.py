"""The unmodified discord.py works on the sandbox as on Discord."""

from __future__ import annotations

import asyncio
from typing import Any

import discord
import pytest
from discord import app_commands
from discord.ext import commands

from sandbox import ApplicationDidNotRespond, SandboxError, permissions
from sandbox.intents import GUILD_MEMBERS, MESSAGE_CONTENT
from tests.sandbox.conftest import World, connected


async def next_event(client: commands.Bot, name: str) -> Any:
    return await asyncio.wait_for(client.wait_for(name), 5)


async def test_messages_embeds_files_replies_edits_history(world: World) -> None:
    async with connected(world) as client:
        channel = client.get_channel(world.channel.id)
        assert isinstance(channel, discord.TextChannel)
        sent = await channel.send(
            "hello", embed=discord.Embed(title="t").add_field(name="n", value="v"), file=discord.File(__file__)
        )
        assert (await sent.attachments[0].read()).startswith(b'"""The unmodified')
        reply = await sent.reply("again")
        assert reply.reference is not None
        assert reply.reference.message_id == sent.id
        edited = await sent.edit(content="changed")
        assert edited.edited_at is not None
        assert [m.content async for m in channel.history(limit=10)] == ["again", "changed"]
        assert [m.content async for m in channel.history(after=sent)] == ["again"]
        with pytest.raises(discord.Forbidden):
            await reply.pin()
        role_id = world.guild.guild.members[world.bot.id].role_ids[0]
        world.guild.guild.roles[role_id].permissions |= permissions.PIN_MESSAGES
        await reply.pin()
        assert [m.id async for m in channel.pins()] == [reply.id]
        await reply.delete()
        with pytest.raises(discord.NotFound):
            await channel.fetch_message(reply.id)


async def test_reactions_reach_the_bot_as_raw_events(world: World) -> None:
    async with connected(world) as client:
        channel = client.get_partial_messageable(world.channel.id)
        sent = await channel.send("react to me")
        waiting = asyncio.create_task(next_event(client, "raw_reaction_add"))
        await asyncio.sleep(0)
        message = world.channel.messages[-1]
        await world.ada.reacts(message, "✅")
        event = await waiting
        assert (event.user_id, str(event.emoji), event.message_id) == (world.ada.id, "✅", sent.id)
        await sent.add_reaction("✅")
        assert message.reactions == {"✅": [world.ada.id, world.bot.id]}
        fetched = await channel.fetch_message(sent.id)
        assert (fetched.reactions[0].count, fetched.reactions[0].me) == (2, True)
        assert {user.id async for user in fetched.reactions[0].users()} == {world.ada.id, world.bot.id}


async def test_threads_direct_messages_members_and_roles(world: World) -> None:
    world.bot.account.privileged_intents = GUILD_MEMBERS | MESSAGE_CONTENT
    intents = discord.Intents.default()
    intents.members = intents.message_content = True
    async with connected(world, intents) as client:
        channel = client.get_channel(world.channel.id)
        assert isinstance(channel, discord.TextChannel)
        thread = await (await channel.send("start")).create_thread(name="talk")
        await thread.send("inside")
        assert [m.content for m in world.sandbox.world.channels[thread.id].messages.values()] == ["inside"]
        guild = client.get_guild(world.guild.id)
        assert guild is not None
        member = await guild.fetch_member(world.ada.id)
        await member.send("psst")
        from_ada = client.wait_for("message", check=lambda m: m.author.id == world.ada.id)
        waiting = asyncio.create_task(asyncio.wait_for(from_ada, 5))
        await asyncio.sleep(0)
        await world.ada.sends_direct(world.bot, "yes?")
        assert (await waiting).content == "yes?"
        assert {m.id async for m in guild.fetch_members()} == {world.ada.id, world.bot.id}


class Panel(discord.ui.View):
    @discord.ui.button(label="Count", custom_id="count")
    async def count(self, interaction: discord.Interaction, button: discord.ui.Button[Any]) -> None:
        button.label = "Counted"
        await interaction.response.edit_message(content="counted", view=self)

    @discord.ui.select(custom_id="menu", options=[discord.SelectOption(label="A"), discord.SelectOption(label="B")])
    async def menu(self, interaction: discord.Interaction, select: discord.ui.Select[Any]) -> None:
        await interaction.response.send_message(f"chose {select.values[0]}", ephemeral=True)


class Form(discord.ui.Modal, title="Form"):
    name: discord.ui.TextInput[Any] = discord.ui.TextInput(label="Name", max_length=5)

    async def on_submit(self, interaction: discord.Interaction, /) -> None:
        await interaction.response.send_message(f"hello {self.name.value}")


async def set_up(client: commands.Bot) -> None:
    @client.tree.command(description="x")
    async def echo(
        interaction: discord.Interaction,
        text: str,
        times: app_commands.Range[int, 1, 3] = 1,
        who: discord.User | None = None,
        where: discord.TextChannel | None = None,
    ) -> None:
        named = f" {who.name}" if who else ""
        await interaction.response.send_message(text * times + named + (f" {where.name}" if where else ""))

    @echo.autocomplete("text")
    async def suggest(_: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        return [app_commands.Choice(name=current + "!", value=current + "!")]

    @client.tree.command(description="x")
    async def later(interaction: discord.Interaction) -> None:
        await interaction.response.defer(ephemeral=True)
        await interaction.followup.send("first")
        await interaction.followup.send("second", ephemeral=True)
        await interaction.edit_original_response(content="edited")

    @client.tree.command(description="x")
    async def panel(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("panel", view=Panel())

    @client.tree.command(description="x")
    async def form(interaction: discord.Interaction) -> None:
        await interaction.response.send_modal(Form())

    @client.tree.command(description="x")
    async def silent(interaction: discord.Interaction) -> None:
        pass

    group = app_commands.Group(name="group", description="x", default_permissions=discord.Permissions(8))

    @group.command(description="x")
    async def inner(interaction: discord.Interaction, flag: bool) -> None:
        await interaction.response.send_message(str(flag))

    client.tree.add_command(group)


async def test_commands_with_options_groups_and_autocompletion(world: World) -> None:
    async with connected(world, setup=set_up):
        options = {"text": "ab", "times": 2, "who": world.ada, "where": world.channel}
        answer = await world.ada.runs_command(world.channel, world.bot, "echo", options)
        assert answer.content == "abab ada general"
        suggested = await world.ada.autocompletes(world.channel, world.bot, "echo", {"text": "hi"}, focused="text")
        assert suggested == [{"name": "hi!", "value": "hi!"}]
        inner = await world.ada.runs_command(world.channel, world.bot, "group inner", {"flag": True})
        assert inner.content == "True"
        for bad in ({}, {"text": 5}, {"text": "a", "times": 4}, {"text": "a", "more": 1}):
            with pytest.raises(SandboxError):
                await world.ada.runs_command(world.channel, world.bot, "echo", bad)
        bob = world.sandbox.create_human("bob")
        world.guild.add_member(bob)
        with pytest.raises(SandboxError, match="not shown to bob"):
            await bob.runs_command(world.channel, world.bot, "group inner", {"flag": True})


async def test_deferring_following_up_and_editing(world: World) -> None:
    async with connected(world, setup=set_up):
        answer = await world.ada.runs_command(world.channel, world.bot, "later")
        assert answer.kind == "deferred"
        await answer.wait_until(lambda i: i.content == "edited")
        assert answer.ephemeral
        assert [m.content for m in answer.followups] == ["second"]
        assert world.channel.messages == []


async def test_buttons_selects_and_modals(world: World) -> None:
    async with connected(world, setup=set_up):
        panel = await world.ada.runs_command(world.channel, world.bot, "panel")
        pressed = await world.ada.presses(panel, "Count")
        assert (pressed.kind, panel.content) == ("update", "counted")
        with pytest.raises(SandboxError, match="no button"):
            await world.ada.presses(panel, "Count")
        chosen = await world.ada.selects(panel, "menu", ["B"])
        assert (chosen.content, chosen.ephemeral) == ("chose B", True)
        with pytest.raises(SandboxError, match="offers"):
            await world.ada.selects(panel, "menu", ["C"])
        form = await world.ada.runs_command(world.channel, world.bot, "form")
        with pytest.raises(SandboxError, match="0 to 5"):
            await world.ada.submits_modal(form, {"Name": "too long"})
        sent = await world.ada.submits_modal(form, {"Name": "ada"})
        assert sent.content == "hello ada"


async def test_a_command_without_a_response_is_reported_to_the_user(world: World) -> None:
    async with connected(world, setup=set_up):
        with pytest.raises(ApplicationDidNotRespond):
            await world.ada.runs_command(world.channel, world.bot, "silent", timeout_s=0.3)


async def test_it_resumes_after_a_dropped_connection(world: World) -> None:
    async with connected(world) as client:
        waiting = asyncio.create_task(next_event(client, "resumed"))
        await asyncio.sleep(0)
        await world.sandbox.faults.drop_connections(world.bot.account)
        await waiting
        assert world.sandbox.gateway.identifies[world.bot.id] == 1


async def test_it_resumes_when_it_is_asked_to_reconnect(world: World) -> None:
    async with connected(world) as client:
        waiting = asyncio.create_task(next_event(client, "resumed"))
        await asyncio.sleep(0)
        await world.sandbox.faults.ask_reconnect(world.bot.account)
        await waiting


async def test_it_survives_a_429_and_a_502(world: World) -> None:
    async with connected(world) as client:
        channel = client.get_partial_messageable(world.channel.id)
        world.sandbox.faults.answer_next(429, method="POST", retry_after_s=0.05)
        await channel.send("after the limit")
        assert [m.content for m in world.channel.messages] == ["after the limit"]
