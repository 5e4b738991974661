"""A small console that drives the people of a sandbox, a line at a time: from a terminal, or from a script."""

from __future__ import annotations

import asyncio
import inspect
import shlex
from collections.abc import Awaitable, Callable
from typing import Any

from sandbox.errors import SandboxError
from sandbox.interactions import Interaction
from sandbox.people import BotHandle, ChannelHandle, Person
from sandbox.records import Message
from sandbox.screen import Screen
from sandbox.showing import excerpt, message_lines
from sandbox.standing import Standing

WAIT_S = 30.0
"""For a bot that connects, and registers its commands."""
EXPECT_S = 10.0
_BOOLEANS = {**dict.fromkeys(("true", "yes", "on", "1"), True), **dict.fromkeys(("false", "no", "off", "0"), False)}


class ConsoleError(SandboxError):
    """A line cannot be carried out."""


class Expected(SandboxError):
    """What a script expected did not happen."""


class Quit(SandboxError):
    """The person is done."""


class Console:
    """Carries lines out.

    Parameters
    ----------
    tell
        Gets lines for the person, such as a list.
    """

    def __init__(self, standing: Standing, screen: Screen, tell: Callable[[list[str]], None]) -> None:
        self._standing = standing
        self._sandbox = standing.sandbox
        self._screen = screen
        self._tell = tell
        self._person: Person = next(iter(standing.people.values()))
        self._channel: ChannelHandle = next(iter(standing.channels.values()))
        self._form: Interaction | None = None
        self._mark = 0
        """Where on the screen that which came of the last act begins."""

    async def run(self, line: str) -> None:
        """Carry out one line; an empty one and one that begins with ``#`` do nothing.

        Raises
        ------
        SandboxError
            It cannot be carried out; ``Quit`` for the end.
        """
        verb, _, rest = line.strip().partition(" ")
        if not verb or verb.startswith("#"):
            return
        act, _ = _ACTS.get(verb, (None, ""))
        if act is None:
            raise ConsoleError(f"there is no command {verb!r}; `help` lists them")
        if verb not in _LOOKING:
            self._mark = len(self._screen.lines)
        await act(self, rest.strip())

    # Who, where

    async def as_(self, rest: str) -> None:
        """Be another person from now on."""
        self._person = self._found(self._standing.people, rest, "person")

    async def in_(self, rest: str) -> None:
        """Go to another channel."""
        self._channel = self._found(self._standing.channels, rest.removeprefix("#"), "channel")

    async def join(self, rest: str) -> None:
        """Let a person join the server; a name that is new is a new account."""
        if not rest:
            raise ConsoleError("who joins? join NAME")
        person = self._standing.people.get(rest) or self._sandbox.create_human(rest)
        if person.id in self._standing.guild.guild.members:
            raise ConsoleError(f"{rest} is on the server already")
        self._standing.people[rest] = person
        self._standing.guild.add_member(person)

    async def leave(self, rest: str) -> None:
        """Let a person leave the server."""
        person = self._found(self._standing.people, rest, "person")
        guild = self._standing.guild.guild
        if person.id == guild.owner_id:
            raise ConsoleError(f"{rest} owns the server")
        if person.id not in guild.members:
            raise ConsoleError(f"{rest} is not on the server")
        self._sandbox.world.remove_member(guild, person.user)

    async def channel(self, rest: str) -> None:
        """Make a channel, and go there."""
        name = rest.removeprefix("#")
        if not name or name in self._standing.channels:
            raise ConsoleError("name a channel that is not there yet")
        self._channel = self._standing.channels[name] = self._standing.guild.create_channel(name)

    # What people do

    async def say(self, rest: str) -> None:
        r"""Send a message; @NAME mentions, \n begins a new line."""
        where, _, text = rest.partition(" ")
        if where.startswith("#") and where[1:] in self._standing.channels:
            self._channel, rest = self._standing.channels[where[1:]], text
        await self._person.sends(self._channel, self._mentioned(rest))

    async def reply(self, rest: str) -> None:
        """Answer the last message."""
        await self._person.sends(self._channel, self._mentioned(rest), reply_to=self._last())

    async def dm(self, rest: str) -> None:
        """Send a direct message to the bot."""
        name, _, text = rest.partition(" ")
        bot = self._standing.bots.get(name)
        await self._person.sends_direct(bot or next(iter(self._standing.bots.values())), text if bot else rest)

    async def edit(self, rest: str) -> None:
        """Change one's last message."""
        await self._person.edits(self._last(by=self._person.id), self._mentioned(rest))

    async def delete(self, rest: str) -> None:
        """Delete one's last message."""
        await self._person.deletes(self._last(by=self._person.id))

    async def react(self, rest: str) -> None:
        """React to the last message."""
        await self._person.reacts(self._last(), rest)

    async def unreact(self, rest: str) -> None:
        """Take a reaction back."""
        await self._person.unreacts(self._last(), rest)

    async def slash(self, rest: str) -> None:
        """Run a slash command; quote what has spaces."""
        words = _split(rest.removeprefix("/"))
        path = [word for at, word in enumerate(words) if not any(":" in before for before in words[: at + 1])]
        given = dict(word.partition(":")[::2] for word in words[len(path) :])
        if not path:
            raise ConsoleError("which command? slash /NAME")
        bot, offered = await self._command(path)
        # Most bots register their commands before they connect.
        await self._connected(bot)
        options = {name: self._value(offered.get(name, {}), value) for name, value in given.items()}
        self._followed(await self._person.runs_command(self._channel, bot, " ".join(path), options))

    async def click(self, rest: str) -> None:
        """Press a button, the newest of that label."""
        message = self._with_component(lambda leaf: rest in (leaf.get("label"), leaf.get("custom_id")))
        self._followed(await self._person.presses(message, rest))

    async def select(self, rest: str) -> None:
        """Choose in the newest menu that offers them."""
        values = _split(rest)

        def offers(leaf: dict[str, Any]) -> bool:
            offered = {text for option in leaf.get("options", ()) for text in (option["label"], option["value"])}
            return bool(offered) and set(values) <= offered

        message = self._with_component(offers)
        (menu, *_) = [leaf for row in message.components for leaf in row["components"] if offers(leaf)]
        self._followed(await self._person.selects(message, menu["custom_id"], values))

    async def fill(self, rest: str) -> None:
        """Fill in the form that is open, and send it; quote what has spaces."""
        if self._form is None:
            raise ConsoleError("no form is open")
        filled = dict(word.partition(":")[::2] for word in _split(rest))
        form, self._form = self._form, None
        self._followed(await self._person.submits_modal(form, filled))

    # Looking

    async def list_(self, rest: str) -> None:
        """Show who and what is there."""
        standing, world = self._standing, self._sandbox.world
        lines = [f"you are {self._person.name}, in #{self._channel.channel.name}"]
        for name, bot in standing.bots.items():
            state = "connected" if self._sandbox.gateway.is_connected(bot.account) else "not connected"
            found = self._sandbox.commands.visible(bot.id, standing.guild.id)
            lines.append(f"bot {name}: {state}, " + (" ".join(f"/{one['name']}" for one in found) or "no commands"))
        members = standing.guild.guild.members
        lines.append(
            "people: " + ", ".join(n + ("" if p.id in members else " (left)") for n, p in standing.people.items())
        )
        lines.append(
            "channels: " + " ".join(f"#{channel.name}" for channel in world.channels.values() if channel.guild_id)
        )
        self._tell(lines)

    async def read(self, rest: str) -> None:
        """Show the last messages of the channel: ten, or as many as said."""
        count = int(rest) if rest.isdecimal() else 10
        for message in self._visible()[-max(count, 1) :]:
            self._tell(message_lines(self._sandbox.world, message))

    async def wait(self, rest: str) -> None:
        """Wait until the bots are connected."""
        for bot in self._standing.bots.values():
            await self._connected(bot)

    async def expect(self, rest: str) -> None:
        """Wait until that is seen, of what came since the last act; a script fails if it is not."""
        loop = asyncio.get_running_loop()
        until = loop.time() + EXPECT_S
        while True:
            changed = self._screen.changed
            if any(rest in line for line in self._screen.lines[self._mark :]):
                return
            try:
                await asyncio.wait_for(changed.wait(), until - loop.time())
            except TimeoutError:
                raise Expected(f"{rest!r} was not seen within {EXPECT_S:g} s") from None

    async def help(self, rest: str) -> None:
        """Show this list."""
        lines = [(f"  {usage}", f"      {inspect.getdoc(act)}") for act, usage in _ACTS.values()]
        self._tell([line for pair in lines for line in pair])

    async def quit(self, rest: str) -> None:
        """End."""
        raise Quit("done")

    # Finding

    def _found(self, known: dict[str, Any], name: str, what: str) -> Any:
        found = next((value for key, value in known.items() if key.casefold() == name.casefold()), None)
        if found is None:
            raise ConsoleError(f"there is no {what} {name!r}; there are {', '.join(known)}")
        return found

    def _visible(self) -> list[Message]:
        channel = self._channel.channel
        return [one for one in channel.messages.values() if one.ephemeral_for in (None, self._person.id)]

    def _last(self, *, by: int | None = None) -> Message:
        found = [one for one in self._visible() if by in (None, one.author.id) and one.ephemeral_for is None]
        if not found:
            raise ConsoleError(f"there is no message in #{self._channel.channel.name}")
        return found[-1]

    def _with_component(self, fits: Callable[[dict[str, Any]], bool]) -> Message:
        for message in reversed(self._visible()):
            if any(fits(leaf) for row in message.components for leaf in row.get("components", ())):
                return message
        last = self._visible()[-1:]
        raise ConsoleError(
            f"there is nothing like it; the last message is {excerpt(last[0])!r}" if last else "no message"
        )

    def _followed(self, interaction: Interaction) -> None:
        if interaction.modal is not None:
            self._form = interaction
        self._screen.follow(interaction)

    def _mentioned(self, text: str) -> str:
        """Return text in which @NAME mentions who has that name."""
        ids = {name: person.id for name, person in self._standing.people.items()}
        ids |= {name: bot.id for name, bot in self._standing.bots.items()}
        for name in sorted(ids, key=len, reverse=True):
            text = text.replace(f"@{name}", f"<@{ids[name]}>")
        return text.replace("\\n", "\n")

    async def _connected(self, bot: BotHandle) -> None:
        try:
            await self._sandbox.gateway.wait_connected(bot.account, timeout_s=WAIT_S)
        except TimeoutError:
            raise Expected(f"{bot.name} did not connect within {WAIT_S:g} s") from None

    async def _command(self, path: list[str]) -> tuple[BotHandle, dict[str, dict[str, Any]]]:
        """Return whose command it is, and its options; waits for a bot that has not registered any yet."""
        loop = asyncio.get_running_loop()
        until = loop.time() + WAIT_S
        while not (known := self._commands()) and loop.time() < until:  # noqa: ASYNC110 - told by no event
            await asyncio.sleep(0.1)
        for bot, command in known:
            if command["name"] == path[0]:
                return bot, _options(command, path[1:])
        names = " ".join(f"/{command['name']}" for _, command in known) or "none"
        raise ConsoleError(f"no bot has a command /{path[0]}; there is {names}")

    def _commands(self) -> list[tuple[BotHandle, dict[str, Any]]]:
        guild_id, store = self._standing.guild.id, self._sandbox.commands
        bots = self._standing.bots.values()
        return [(bot, one) for bot in bots for one in store.visible(bot.id, guild_id) if one["type"] == 1]

    def _value(self, option: dict[str, Any], value: str) -> Any:
        """Return the value of an option as its type has it: people, channels and roles by name."""
        standing = self._standing
        roles = {role.name: role for role in standing.guild.guild.roles.values()}
        everybody = {**standing.people, **standing.bots}
        read: dict[int, Callable[[str], Any]] = {
            4: int,
            5: lambda text: _BOOLEANS[text.lower()],
            6: lambda text: self._found(everybody, text.removeprefix("@"), "person"),
            7: lambda text: self._found(standing.channels, text.removeprefix("#"), "channel"),
            8: lambda text: self._found(roles, text.removeprefix("@"), "role"),
            10: float,
        }
        try:
            return read.get(option.get("type", 0), str)(value)
        except (ValueError, KeyError):
            raise ConsoleError(f"{value!r} is no value for {option.get('name')}") from None


def _options(command: dict[str, Any], path: list[str]) -> dict[str, dict[str, Any]]:
    offered = command.get("options", [])
    for step in path:
        offered = next((one.get("options", []) for one in offered if one["name"] == step), [])
    return {one["name"]: one for one in offered}


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConsoleError(f"the quotes do not match: {error}") from None


Act = Callable[[Console, str], Awaitable[None]]
_ACTS: dict[str, tuple[Act, str]] = {
    "say": (Console.say, "say [#CHANNEL] TEXT"),
    "reply": (Console.reply, "reply TEXT"),
    "dm": (Console.dm, "dm [BOT] TEXT"),
    "edit": (Console.edit, "edit TEXT"),
    "delete": (Console.delete, "delete"),
    "react": (Console.react, "react EMOJI"),
    "unreact": (Console.unreact, "unreact EMOJI"),
    "slash": (Console.slash, "slash /COMMAND [SUB] [OPTION:VALUE ...]"),
    "click": (Console.click, "click LABEL"),
    "select": (Console.select, "select OPTION [OPTION ...]"),
    "fill": (Console.fill, "fill FIELD:VALUE ..."),
    "as": (Console.as_, "as NAME"),
    "in": (Console.in_, "in #CHANNEL"),
    "join": (Console.join, "join NAME"),
    "leave": (Console.leave, "leave NAME"),
    "channel": (Console.channel, "channel NAME"),
    "list": (Console.list_, "list"),
    "read": (Console.read, "read [COUNT]"),
    "wait": (Console.wait, "wait"),
    "expect": (Console.expect, "expect TEXT"),
    "help": (Console.help, "help"),
    "quit": (Console.quit, "quit"),
}
_LOOKING = frozenset({"list", "read", "wait", "expect", "help", "as", "in"})
