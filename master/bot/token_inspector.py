"""Token check with Discord over HTTP, without a login; implements ``services.onboarding.identity``."""

from __future__ import annotations

from handshake.redaction import Secret
from master.bot.lookup import HttpLookup
from master.services.onboarding.identity import BotIdentity, identity_of


class DiscordTokenInspector:
    """Ask ``GET /users/@me``: https://discord.com/developers/docs/resources/user#get-current-user.

    Parameters
    ----------
    api_base
        None for Discord itself.
    """

    def __init__(self, api_base: str | None) -> None:
        self._api_base = api_base

    async def inspect(self, token: Secret[str]) -> BotIdentity:
        """Return the token's bot.

        Raises
        ------
        TokenRefused
            Discord rejects the token, or it is not a bot's.
        DiscordUnavailable
            Three attempts timed out or ended with a server error.
        """
        return identity_of(await HttpLookup(self._api_base, token).get("/users/@me"), token)
