"""Questions to Discord over HTTP with a token, without a login; and whether its gateway says hello."""

from __future__ import annotations

import asyncio
import json

import msgspec

from handshake.redaction import Secret
from master import __version__
from master.configuration.settings import Settings
from master.services.core.errors import DiscordUnavailable
from master.services.onboarding.identity import Answer

DEFAULT_API_BASE = "https://discord.com/api/v10"
TIMEOUT_S = 10.0
ATTEMPTS = 3
PAUSE_S = 1.0
"""Before the second attempt; doubled before the third."""
MAX_ANSWER_BYTES = 4 * 2**20
"""A server with all its roles, emojis and stickers is below one."""
_MAX_WAIT_S = 10.0
_HELLO = 10
"""Opcode: https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway"""


class HttpLookup:
    """Ask Discord's REST API with one token.

    Parameters
    ----------
    api_base
        None for Discord itself.
    gateway_url
        Instead of the one that the server names.
    """

    def __init__(self, api_base: str | None, token: Secret[str], gateway_url: str | None = None) -> None:
        self._base = (api_base or DEFAULT_API_BASE).rstrip("/")
        self._token = token
        self._gateway_url = gateway_url

    async def get(self, path: str) -> Answer:
        """Return the answer to a GET, whatever its status below 500 but 429.

        Raises
        ------
        DiscordUnavailable
            Three attempts timed out, ended with a server error, or were told to wait.
        """
        # Imported on demand: it costs 6 MB, and a master without a token seldom needs it.
        import aiohttp

        trouble = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(PAUSE_S * 2.0 ** (attempt - 1))
            try:
                answer, retry_after = await self._ask(path)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                trouble = str(error) or type(error).__name__
                continue
            if answer.status < 500 and answer.status != 429:
                return answer
            trouble = f"HTTP {answer.status}"
            if answer.status == 429:
                await asyncio.sleep(min(retry_after, _MAX_WAIT_S))
        raise DiscordUnavailable(f"Discord could not be asked: {trouble}", hint="try again in a minute")

    async def _ask(self, path: str) -> tuple[Answer, float]:
        import aiohttp

        headers = {
            "Authorization": f"Bot {self._token.reveal()}",
            "User-Agent": f"DiscordBot (fleetmaster, {__version__})",
        }
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(self._base + path, headers=headers, allow_redirects=False) as response,
        ):
            body = bytearray()
            async for chunk in response.content.iter_chunked(65_536):
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise aiohttp.ClientPayloadError(f"more than {MAX_ANSWER_BYTES} bytes")
            try:
                retry_after = float(response.headers.get("Retry-After", "1"))
            except ValueError:
                retry_after = 1.0
            return Answer(status=response.status, body=bytes(body)), retry_after

    async def hello(self, named_url: str) -> None:
        """Connect to the gateway until it says hello; no IDENTIFY is spent.

        Parameters
        ----------
        named_url
            The URL that the server names; a configured one goes before it.

        Raises
        ------
        DiscordUnavailable
        """
        import aiohttp

        url = f"{(self._gateway_url or named_url).rstrip('/')}/?v=10&encoding=json"
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                aiohttp.ClientSession(timeout=timeout) as session,
                session.ws_connect(url, max_msg_size=2**20) as socket,
            ):
                message = await socket.receive()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            trouble = str(error) or type(error).__name__
            raise DiscordUnavailable(f"the gateway cannot be reached: {trouble}", hint=_GATEWAY_HINT) from error
        if message.type is not aiohttp.WSMsgType.TEXT or not _says_hello(message.data):
            raise DiscordUnavailable("the gateway does not say hello", hint=_GATEWAY_HINT)


def lookup_of(settings: Settings, token: Secret[str]) -> HttpLookup:
    """Return what asks Discord, or the server of the settings, with a token."""
    return HttpLookup(settings.discord.api_base, token, settings.discord.gateway_url)


_GATEWAY_HINT = "a firewall or proxy that lets no WebSocket through; DISCORD['GATEWAY_URL'], if it is set"


def _says_hello(text: str) -> bool:
    try:
        return bool(msgspec.json.decode(text, type=_Frame).op == _HELLO)
    except (msgspec.MsgspecError, json.JSONDecodeError, ValueError):
        return False


class _Frame(msgspec.Struct):
    op: int
