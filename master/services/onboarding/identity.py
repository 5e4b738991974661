"""Interface for token checks with Discord; ``master.bot`` implements it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from handshake.redaction import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class BotIdentity:
    """The bot that a token belongs to, according to Discord."""

    user_id: int
    username: str


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


# View Channels, Send Messages, Embed Links, Attach Files, Read Message History, Add Reactions, Use External Emojis:
# what the template's cogs use. https://discord.com/developers/docs/topics/permissions
NODE_PERMISSIONS = (1 << 10) | (1 << 11) | (1 << 14) | (1 << 15) | (1 << 16) | (1 << 6) | (1 << 18)


def invite_url(bot_user_id: int, permissions: int = NODE_PERMISSIONS) -> str:
    """Return the link that invites a bot with its slash commands.

    Source: https://discord.com/developers/docs/topics/oauth2#bot-authorization-flow
    """
    return (
        f"https://discord.com/oauth2/authorize?client_id={bot_user_id}"
        f"&permissions={permissions}&scope=bot+applications.commands"
    )
