"""Token check with Discord over HTTP, without a login; implements ``services.onboarding.identity``."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from handshake.redaction import Secret
from master import __version__
from master.services.core.errors import DiscordUnavailable, TokenRefused
from master.services.onboarding.identity import BotIdentity

log = logging.getLogger(__name__)

DEFAULT_API_BASE = "https://discord.com/api/v10"
TIMEOUT_S = 10.0
ATTEMPTS = 3
_MAX_WAIT_S = 10.0


class _User(msgspec.Struct):
    id: str
    username: str
    bot: bool = False


class DiscordTokenInspector:
    """Ask ``GET /users/@me``: https://discord.com/developers/docs/resources/user#get-current-user.

    Parameters
    ----------
    api_base
        None for Discord itself.
    """

    def __init__(self, api_base: str | None) -> None:
        self._url = f"{(api_base or DEFAULT_API_BASE).rstrip('/')}/users/@me"

    async def inspect(self, token: Secret[str]) -> BotIdentity:
        """Return the token's bot.

        Raises
        ------
        TokenRefused
            Discord rejects the token, or it is not a bot's.
        DiscordUnavailable
            Three attempts timed out or ended with a server error.
        """
        # Imported on demand: it costs 6 MB, and a master without a token seldom needs it.
        import aiohttp

        trouble = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(2.0**attempt / 2)
            try:
                status, body, retry_after = await self._ask(token)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                trouble = str(error) or type(error).__name__
                continue
            if status == 200:
                return _identity_of(body)
            if status in (401, 403):
                raise TokenRefused(
                    "Discord does not accept the token",
                    hint="copy it again from the developer portal (Bot, Reset Token); an old one stops working",
                )
            trouble = f"HTTP {status}"
            if status == 429:
                await asyncio.sleep(min(retry_after, _MAX_WAIT_S))
        raise DiscordUnavailable(f"Discord could not be asked about the token: {trouble}", hint="try again in a minute")

    async def _ask(self, token: Secret[str]) -> tuple[int, bytes, float]:
        import aiohttp

        headers = {
            "Authorization": f"Bot {token.reveal()}",
            "User-Agent": f"DiscordBot (fleetmaster, {__version__})",
        }
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(self._url, headers=headers) as response,
        ):
            body = await response.content.read(65_536)
            try:
                retry_after = float(response.headers.get("Retry-After", "1"))
            except ValueError:
                retry_after = 1.0
            return response.status, body, retry_after


def _identity_of(body: bytes) -> BotIdentity:
    try:
        user = msgspec.json.decode(body, type=_User)
        if not user.bot:
            raise TokenRefused("the token is not a bot's", hint="use the token of a bot, not of a person")
        return BotIdentity(user_id=int(user.id), username=user.username)
    except (msgspec.MsgspecError, ValueError):
        raise DiscordUnavailable(
            "Discord's response about the token is not valid", hint="check DISCORD['API_BASE']"
        ) from None
