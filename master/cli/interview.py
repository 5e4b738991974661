"""The questions of ``fleet init``: each answer is checked when it is given, and Discord asked about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import msgspec
import typer

from handshake.redaction import Secret
from master.errors import ExitCode, FleetError
from master.security.tokens import check_token_text
from master.services.core.errors import DiscordUnavailable
from master.terminal import console, one_line

if TYPE_CHECKING:
    from master.services.onboarding.identity import Lookup

T = TypeVar("T")


class AnswerRefused(FleetError):
    """An answer that cannot be right."""

    code: ClassVar[str] = "answer_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class _Guild(msgspec.Struct):
    name: str
    owner_id: str


class _User(msgspec.Struct):
    username: str


class _Member(msgspec.Struct):
    user: _User


class _Channel(msgspec.Struct):
    type: int
    name: str | None = None
    guild_id: str | None = None


@dataclass(slots=True)
class Answers:
    """What was answered; empty texts are for later."""

    token: str = ""
    guild: str = ""
    verify: str = ""
    log: str = ""
    operators: list[str] = field(default_factory=list)
    invited: bool = False
    """Whether the master was found on the server."""
    channels: bool = False
    """Whether the master is to make its channels itself, those of channels.toml."""


@dataclass(slots=True)
class Interview:
    """Asks at a terminal, until an answer is right or empty.

    Parameters
    ----------
    lookup_of
        Returns what asks Discord with a token; None: answers are checked for their form alone.
    """

    lookup_of: Callable[[Secret[str]], Lookup] | None
    _lookup: Lookup | None = None
    _bot: str = "the master"
    _bot_id: int = 0
    _owner_id: str = ""

    def hold(self, given: Answers) -> Answers:
        """Ask for all that is not given; what is given is checked in the same way, and asked for if it is wrong."""
        made = Answers()
        made.token = self._ask("The master's bot token (hidden; empty: later)", self._token, given.token, hidden=True)
        self._show_invitation()
        made.guild = self._ask("Id of your server (empty: later)", self._guild, given.guild)
        made.invited = bool(made.guild and self._owner_id)
        made.verify = self._channel("VERIFY_CHANNEL, where nodes prove themselves", given.verify, made.guild)
        made.log = self._channel("LOG_CHANNEL, where alerts go", given.log, made.guild)
        made.channels = self._wants_channels(made)
        for operator in given.operators or [""]:
            answer = self._person(operator, made.guild)
            made.operators += [answer] if answer else []
        return made

    def _ask(
        self,
        question: str,
        check: Callable[[str], str],
        given: str = "",
        *,
        hidden: bool = False,
        proposed: str = "",
    ) -> str:
        """Ask until the answer is right; Enter alone takes what is proposed, or leaves it for later.

        Parameters
        ----------
        check
            Returns what the answer is, in words.
        given
            The first answer, from an option.
        """
        answer = given
        while True:
            if not answer:
                answer = str(
                    typer.prompt(question, default=proposed, show_default=bool(proposed), hide_input=hidden)
                ).strip()
            if not answer:
                return ""
            try:
                console.print(one_line(("  ✓ ", "green"), check(answer)), soft_wrap=True)
                return answer
            except DiscordUnavailable as error:
                console.print(one_line(("  ! ", "yellow"), f"not checked: {error.message}"), soft_wrap=True)
                return answer
            except FleetError as error:
                console.print(one_line(("  ✗ ", "red"), error.message), soft_wrap=True)
                if error.hint:
                    console.print(one_line(("    -> ", "cyan"), (error.hint, "cyan")), soft_wrap=True)
                answer = ""

    def _token(self, token: str) -> str:
        from master.services.onboarding.identity import identity_of

        check_token_text(token)
        if self.lookup_of is None:
            return "it has the form of a token"
        secret = Secret(token)
        self._lookup = None
        lookup = self.lookup_of(secret)
        bot = identity_of(asyncio.run(lookup.get("/users/@me")), secret)
        self._lookup, self._bot, self._bot_id = lookup, bot.username, bot.user_id
        return f"it is {bot.username}'s"

    def _show_invitation(self) -> None:
        """Show what is clicked next in the usual order: a new bot is on no server yet."""
        from master.services.onboarding.identity import MASTER_PERMISSIONS, invite_url

        if self._bot_id:
            url = invite_url(self._bot_id, MASTER_PERMISSIONS)
            console.print(one_line("  If it is on no server yet, invite it: ", (url, "cyan")), soft_wrap=True)

    def _guild(self, text: str) -> str:
        check_id(text)
        if self._lookup is None:
            return "it has the form of an id"
        found = self._get(f"/guilds/{text}", _Guild)
        if found is None:
            raise AnswerRefused(
                f"{self._bot} is on no server {text}",
                hint="invite it there first, by the link above; then give it again",
            )
        self._owner_id = found.owner_id
        return f"{self._bot} is on {found.name}"

    def _channel(self, what: str, given: str, guild: str) -> str:
        def check(text: str) -> str:
            check_id(text)
            if self._lookup is None:
                return "it has the form of an id"
            found = self._get(f"/channels/{text}", _Channel)
            if found is None:
                raise AnswerRefused(
                    f"{self._bot} sees no channel {text}", hint="give its role View Channel there, or another id"
                )
            if found.type not in (0, 5):
                raise AnswerRefused(f"#{found.name} is no text channel", hint="right-click a text channel, Copy ID")
            if guild and found.guild_id != guild:
                raise AnswerRefused(f"#{found.name} is on another server", hint="name one of the server above")
            return f"#{found.name}"

        return self._ask(f"Id of {what} (empty: later)", check, given)

    def _wants_channels(self, made: Answers) -> bool:
        """Offer all channels of a new server, where it is known and has none of those that the fleet needs."""
        # Imported on demand: most servers have their channels.
        from master.services.channels.tree_file import BUILT_IN, parse_tree
        from master.services.core.channel_moves import ASSIGNABLE

        if self._lookup is None or not made.invited or made.verify or made.log:
            return False
        tree = parse_tree(BUILT_IN, Path("channels.toml"))
        try:
            there = self._get(f"/guilds/{made.guild}/channels", list[_Channel])
        except DiscordUnavailable:
            return False
        needed = {one.name for one in tree.channel if one.key in ASSIGNABLE}
        if there is None or needed & {one.name for one in there}:
            return False
        console.print(one_line("It has none of the fleet's channels. The master can make and keep these:"))
        for category in tree.category:
            names = [f"#{one.name}" for one in tree.channel if one.category == category.key]
            console.print(one_line(f"  {category.name}: ", (", ".join(names), "bold")))
        return typer.confirm("Make them when the master starts (channels.toml)?", default=False)

    def _person(self, given: str, guild: str) -> str:
        def check(text: str) -> str:
            check_id(text)
            if self._lookup is None or not guild:
                return "it has the form of an id"
            found = self._get(f"/guilds/{guild}/members/{text}", _Member)
            if found is None:
                raise AnswerRefused(f"nobody on that server has the id {text}", hint="click your own name, Copy ID")
            return f"{found.user.username} may steer the fleet"

        whose = " (Enter: the owner of the server)" if self._owner_id else " (empty: later)"
        return self._ask(f"Your own user id{whose}", check, given, proposed=self._owner_id)

    def _get(self, path: str, kind: type[T]) -> T | None:
        """Return Discord's answer; None for what is not there, or not for this bot to see."""
        assert self._lookup is not None  # noqa: S101 - callers looked
        answer = asyncio.run(self._lookup.get(path))
        if answer.status != 200:
            return None
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except msgspec.MsgspecError as error:
            raise DiscordUnavailable(f"Discord's answer is not valid: {error}") from error


def check_id(text: str) -> None:
    """Check the form of a Discord id.

    Raises
    ------
    AnswerRefused
    """
    if not (text.isascii() and text.isdecimal() and 15 <= len(text) <= 20):
        raise AnswerRefused(f"{text[:60]!r} is not a Discord id", hint="17 to 20 digits: Developer Mode, Copy ID")
