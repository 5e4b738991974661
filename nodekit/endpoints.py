"""The Discord server to use, applied in one place for master and nodes.

discord.py's plain client never asks ``/gateway``: it takes ``Route.BASE`` and ``DiscordWebSocket.DEFAULT_GATEWAY``.
"""

from __future__ import annotations

import re


def apply_endpoints(api_base: str | None, gateway_url: str | None) -> None:
    """Point discord.py at another Discord-compatible server; None for both means Discord itself.

    Parameters
    ----------
    api_base
        Such as ``http://127.0.0.1:8080/api/v10``; the version at its end is also used for the gateway.
    gateway_url
        Such as ``ws://127.0.0.1:8080/gateway``.
    """
    if api_base is None and gateway_url is None:
        return
    import discord.gateway
    import discord.http
    import yarl

    if api_base is not None:
        base = api_base.rstrip("/")
        discord.http.Route.BASE = base
        version = re.search(r"/v([0-9]+)\Z", base)
        if version is not None:
            discord.http.INTERNAL_API_VERSION = int(version[1])
    if gateway_url is not None:
        discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
