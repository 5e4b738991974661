"""The console of a standing sandbox, and what it shows of a bot of the unmodified discord.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import discord
import pytest
from discord import app_commands

from nodekit.endpoints import apply_endpoints
from sandbox import SandboxError
from sandbox.console import Console, ConsoleError, Quit
from sandbox.screen import Screen
from sandbox.standing import Standing, set_up


class Panel(discord.ui.View):
    """A button and a menu."""

    @discord.ui.button(label="Again")
    async def again(self, interaction: discord.Interaction, button: discord.ui.Button[Any]) -> None:
        await interaction.response.send_message("again!", ephemeral=True)

    @discord.ui.select(placeholder="colour", options=[discord.SelectOption(label=c) for c in ("red", "dark blue")])
    async def pick(self, interaction: discord.Interaction, select: discord.ui.Select[Any]) -> None:
        await interaction.response.edit_message(content=f"picked {select.values[0]}")


class Form(discord.ui.Modal, title="Feedback"):
    """One field."""

    words: discord.ui.TextInput[Any] = discord.ui.TextInput(label="Your words")

    async def on_submit(self, interaction: discord.Interaction, /) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        await interaction.followup.send(f"thanks for {self.words.value}")


class Bot(discord.Client):
    """A bot as people write them."""

    def __init__(self) -> None:
        super().__init__(intents=discord.Intents.all(), guild_ready_timeout=0.05)
        self.tree = app_commands.CommandTree(self)
        self.tree.command(name="pong", description="x")(self.pong)
        self.tree.command(name="feedback", description="x")(self.feedback)

    async def setup_hook(self) -> None:
        await self.tree.sync()

    async def pong(
        self,
        interaction: discord.Interaction,
        who: discord.Member,
        where: discord.TextChannel | None = None,
        times: int = 1,
        loud: bool = False,
    ) -> None:
        embed = discord.Embed(title="Title", description="two\nlines").add_field(name="name", value="value")
        text = f"pong {who.mention} {where.mention if where else ''} {times} {loud}"
        await interaction.response.send_message(text, view=Panel(), embed=embed)

    async def feedback(self, interaction: discord.Interaction) -> None:
        await interaction.response.send_modal(Form())

    async def on_message(self, message: discord.Message) -> None:
        if not message.author.bot:
            await message.reply(f"{message.author.name} said {message.content}")

    async def on_member_join(self, member: discord.Member) -> None:
        await member.guild.text_channels[0].send(f"welcome {member.mention}")

    async def on_raw_reaction_add(self, event: discord.RawReactionActionEvent) -> None:
        await self.get_partial_messageable(event.channel_id).send(f"saw {event.emoji}")

    async def on_message_edit(self, before: discord.Message, after: discord.Message) -> None:
        if not after.author.bot:
            await after.channel.send(f"was {before.content}")

    async def on_message_delete(self, message: discord.Message) -> None:
        await message.channel.send(f"gone: {message.content}")


@dataclass
class Desk:
    """A console and what it has shown."""

    standing: Standing
    console: Console
    shown: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    async def runs(self, *lines: str) -> list[str]:
        """Run lines; returns what was shown since."""
        before = len(self.shown)
        for line in lines:
            await self.console.run(line)
        return self.shown[before:]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    standing = set_up(guild="Home", bots=["Atlas"], channels=["general", "bots"], people=["ann", "ben"])
    shown: list[str] = []
    events: list[dict[str, Any]] = []

    def show(lines: list[str], event: dict[str, Any]) -> None:
        shown.extend(lines)
        events.append(event)

    async with standing.sandbox:
        apply_endpoints(standing.sandbox.api_base, standing.sandbox.gateway_url)
        screen = Screen(standing.sandbox, show)
        bot = Bot()
        running = asyncio.create_task(bot.start(standing.bots["Atlas"].token))
        yield Desk(standing, Console(standing, screen, shown.extend), shown, events)
        await screen.close()
        await bot.close()
        await asyncio.gather(running, return_exceptions=True)


async def test_people_talk_react_edit_delete_join_and_leave(desk: Desk) -> None:
    await desk.runs("wait", "say hello", "expect Atlas: ann said hello")
    assert desk.shown[:2] == ["#general ann: hello", "#general Atlas: ann said hello"]
    await desk.runs("react 👍", "expect saw 👍", "edit hello there", "expect was hello")
    assert "#general ann reacts 👍 to 'ann said hello'" in desk.shown
    await desk.runs("delete", "expect gone: hello there", "join cleo", "expect welcome @cleo")
    await desk.runs("as cleo", "say #bots hi @Atlas", "expect #bots Atlas: cleo said hi @Atlas")
    await desk.runs("as ann", "leave cleo", "dm psst", "expect (direct) Atlas: ann said psst")
    (listed,) = [line for line in await desk.runs("list") if line.startswith("people")]
    assert listed == "people: ann, ben, cleo (left)"
    assert (await desk.runs("in general", "read 1"))[-1] == "#general Atlas: welcome @cleo"


async def test_commands_buttons_menus_and_forms(desk: Desk) -> None:
    shown = await desk.runs("slash /pong who:@ben where:#bots times:2 loud:yes", "expect pong @ben #bots 2 True")
    assert shown == [
        "#general Atlas: pong @ben #bots 2 True",
        "  | Title",
        "  | two",
        "  | lines",
        "  | name: value",
        "  [Again]",
        "  {colour: red, dark blue}",
    ]
    assert await desk.runs("click Again", "expect again!") == ["#general Atlas (only ann sees this): again!"]
    assert "#general Atlas (edited): picked dark blue" in await desk.runs('select "dark blue"', "expect picked")
    assert await desk.runs("slash /feedback", "expect form") == ["form: Feedback", "  Your words"]
    said = await desk.runs('fill "Your words:a lot: of them"', "expect thanks for a lot: of them")
    assert said[-1] == "#general Atlas (only ann sees this): thanks for a lot: of them"
    assert {event["event"] for event in desk.events} == {"message", "form"}
    private = [event["only_for"] for event in desk.events if "again!" in event.get("content", "")]
    assert private == ["ann"]


async def test_what_cannot_be_done_says_why(desk: Desk) -> None:
    await desk.runs("", "  ", "# a comment", "wait")
    for line, words in {
        "jump": "no command 'jump'",
        "as nobody": "there are ann, ben",
        "in nowhere": "no channel 'nowhere'",
        "slash /no": "there is /pong /feedback",
        "slash": "which command",
        "slash /pong who:nobody": "no person 'nobody'",
        "slash /pong who:ann times:x": "'x' is no value for times",
        "slash /pong": "who is required",
        'slash /pong who:"ann': "quotes do not match",
        "click Nothing": "no message",
        "react 👍": "no message in #general",
        "fill a:b": "no form is open",
        "leave ann": "owns the server",
        "join ben": "already",
        "channel general": "not there yet",
    }.items():
        with pytest.raises(SandboxError, match=words):
            await desk.console.run(line)
    with pytest.raises(ConsoleError, match="nothing like it; the last message is"):
        await desk.runs("say x", "expect ann said x", "click Nothing")
    with pytest.raises(Quit):
        await desk.console.run("quit")
    helped = await desk.runs("help")
    assert "  say [#CHANNEL] TEXT" in helped
    assert len(helped) == 2 * 22


async def test_what_is_expected_and_does_not_come_is_an_error(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.console.EXPECT_S", 0.2)
    await desk.runs("wait", "say one", "expect said one")
    with pytest.raises(SandboxError, match="'said one' was not seen"):
        # Of an earlier act.
        await desk.runs("say two", "expect said two", "expect said one")


def test_ids_and_tokens_are_the_same_at_each_start() -> None:
    def facts(people: list[str]) -> tuple[int, int, str]:
        standing = set_up(guild="Home", bots=["Atlas"], channels=["general"], people=people)
        return standing.guild.id, standing.channels["general"].id, standing.bots["Atlas"].token

    assert facts(["ann"]) == facts(["ann", "ben", "cleo"])
