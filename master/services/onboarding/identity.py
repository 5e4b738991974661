"""Interface for token checks with Discord; ``master.bot`` implements it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec

from handshake.redaction import Secret
from master.security.tokens import shape_hint
from master.services.core.errors import DiscordUnavailable, TokenRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class BotIdentity:
    """The bot that a token belongs to, according to Discord."""

    user_id: int
    username: str


NO_BOT = BotIdentity(user_id=0, username="")
"""Of a program without a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of Discord's REST API."""

    status: int
    body: bytes


class Lookup(Protocol):
    """Ask Discord with one token, without a login."""

    async def get(self, path: str) -> Answer:
        """Return the answer to a GET, whatever its status below 500 but 429.

        Raises
        ------
        DiscordUnavailable
        """
        ...

    async def hello(self, named_url: str) -> None:
        """Connect to the gateway until it says hello.

        Raises
        ------
        DiscordUnavailable
        """
        ...


class TokenInspector(Protocol):
    """Ask Discord which bot a token belongs to."""

    async def inspect(self, token: Secret[str]) -> BotIdentity:
        """Return the token's bot.

        Raises
        ------
        TokenRefused
            Discord rejects the token, or it is not a bot's.
        DiscordUnavailable
            Discord did not answer in time, or with a server error.
        """
        ...


class _User(msgspec.Struct):
    id: str
    username: str
    bot: bool = False


def identity_of(answer: Answer, token: Secret[str]) -> BotIdentity:
    """Return the bot of an answer to ``GET /users/@me``.

    Source: https://discord.com/developers/docs/resources/user#get-current-user

    Raises
    ------
    TokenRefused
        The token is not accepted, or not a bot's. Its shape is only a hint of what is wrong with it.
    DiscordUnavailable
        The answer is not one of Discord's.
    """
    if answer.status in (401, 403):
        copied = "copy it again from the developer portal (Bot, Reset Token); an old one stops working"
        raise TokenRefused("Discord does not accept the token", hint=shape_hint(token.reveal()) or copied)
    try:
        if answer.status != 200:
            raise ValueError(f"HTTP {answer.status}")
        user = msgspec.json.decode(answer.body, type=_User)
        if not user.bot:
            raise TokenRefused("the token is not a bot's", hint="use the token of a bot, not of a person")
        return BotIdentity(user_id=int(user.id), username=user.username)
    except (msgspec.MsgspecError, ValueError) as error:
        raise DiscordUnavailable(
            f"Discord's response about the token is not valid: {error}", hint="check DISCORD['API_BASE']"
        ) from None


# View Channels, Send Messages, Embed Links, Attach Files, Read Message History, Add Reactions, Use External Emojis:
# what the template's cogs use. https://discord.com/developers/docs/topics/permissions
NODE_PERMISSIONS = (1 << 10) | (1 << 11) | (1 << 14) | (1 << 15) | (1 << 16) | (1 << 6) | (1 << 18)


# View Channel, Send Messages, Embed Links, Attach Files, Read Message History, Add Reactions, Manage Messages.
_TO_TELL = (1 << 10) | (1 << 11) | (1 << 14) | (1 << 15) | (1 << 16) | (1 << 6) | (1 << 13)
# Manage Channels, View Audit Log, Manage Roles, Pin Messages.
_TO_REPAIR = (1 << 4) | (1 << 7) | (1 << 28) | (1 << 51)
MASTER_PERMISSIONS = _TO_TELL | _TO_REPAIR


def invite_url(bot_user_id: int, permissions: int = NODE_PERMISSIONS) -> str:
    """Return the link that invites a bot with its slash commands.

    Source: https://discord.com/developers/docs/topics/oauth2#bot-authorization-flow
    """
    return (
        f"https://discord.com/oauth2/authorize?client_id={bot_user_id}"
        f"&permissions={permissions}&scope=bot+applications.commands"
    )
