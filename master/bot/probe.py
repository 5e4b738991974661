"""Looks whether Discord can be reached from this box, without a token: its API answers, its gateway says hello."""

from __future__ import annotations

import os

import msgspec

from master import __version__
from master.bot.lookup import DEFAULT_API_BASE
from master.configuration.settings import DiscordSettings

TIMEOUT_S = 4.0
DEFAULT_GATEWAY_URL = "wss://gateway.discord.gg/"
_MAX_BYTES = 65_536
_HELLO = 10


class _Frame(msgspec.Struct):
    op: int


class DiscordProbe:
    """Looks at Discord, or at the server that the settings name."""

    def __init__(self, settings: DiscordSettings) -> None:
        self._url = f"{(settings.api_base or DEFAULT_API_BASE).rstrip('/')}/gateway"
        self._gateway_url = settings.gateway_url or DEFAULT_GATEWAY_URL

    async def look(self) -> str:
        """Return why Discord cannot be reached; empty when it can."""
        # Imported on demand: it costs 6 MB, and a master without a token seldom needs it.
        import aiohttp

        headers = {"User-Agent": f"DiscordBot (fleetmaster, {__version__})"}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        what = "its API"
        try:
            async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
                async with session.get(self._url, allow_redirects=False) as response:
                    trouble = _trouble(response.status, await response.content.read(_MAX_BYTES))
                if trouble:
                    return trouble
                what = "its gateway"
                async with session.ws_connect(self._gateway_url, params={"v": "10", "encoding": "json"}) as gateway:
                    hello = await gateway.receive(TIMEOUT_S)
                    if hello.type is not aiohttp.WSMsgType.TEXT or _op(hello.data) != _HELLO:
                        return "its gateway does not say hello"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # ValueError: a URL or a header that aiohttp cannot use.
            return f"{what} cannot be reached: {_said(error)}"[:300]
        return ""


def _said(error: Exception) -> str:
    """Return an error in words that an operator knows from elsewhere."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error
        # Those of name resolution are negative, and only the error itself knows their text.
        said = os.strerror(reason.errno) if reason.errno is not None and reason.errno > 0 else reason.strerror
        return f"{error.host}: {said or reason}"
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:.0f} s"
    return str(error) or type(error).__name__


def _trouble(status: int, body: bytes) -> str:
    """Return what is wrong with an answer of the API; one that it knows no such path is as good as any."""
    if 400 <= status < 500:
        return ""
    if status != 200:
        return f"its API answers HTTP {status}"
    try:
        msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return "something else answers in its place (a portal to log in to?)"
    return ""


def _op(frame: str) -> int | None:
    try:
        return msgspec.json.decode(frame, type=_Frame).op
    except msgspec.MsgspecError:
        return None
