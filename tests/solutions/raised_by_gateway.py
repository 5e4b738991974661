"""Errors of logging in and of the gateway, made to happen."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any
from unittest.mock import patch

import discord
import discord.gateway
import discord.http
from discord.ext import commands

from handshake.boot import BootDocument
from handshake.messages import Heartbeat
from master.services.healing.sighting import SeenIn
from nodekit.link import NodeFacts, NodeLink
from tests.solutions.raising import CASES, Case, Place, Shown, logs, raises


@raises("token_refused", where="on_connect", source="event")
async def token_refused(place: Place) -> None:
    _, bot = await place.discord()
    async with discord.Client(intents=discord.Intents.none()) as client:
        await client.login(bot.token[:-4] + "nope")


@raises("token_missing", where="setup", source="startup")
async def token_missing(place: Place) -> None:
    async with discord.Client(intents=discord.Intents.none()) as client:
        await client.login(os.environ.get("TOKEN_OF_NOBODY"))  # type: ignore[arg-type]


async def _closed_with(place: Place, code: int) -> None:
    sandbox, bot = await place.discord()
    sandbox.faults.refuse_identify(bot.account, code)
    async with discord.Client(intents=discord.Intents.none()) as client:
        await client.start(bot.token)


@raises("intents_refused", where="gateway", source="event")
async def intents_refused(place: Place) -> None:
    await _closed_with(place, 4014)


@raises("intents_invalid", where="gateway", source="event")
async def intents_invalid(place: Place) -> None:
    await _closed_with(place, 4013)


@raises("library_too_old", where="gateway", source="event")
async def gateway_version_refused(place: Place) -> None:
    await _closed_with(place, 4012)


@raises("sharding_needed", where="gateway", source="event")
async def sharding_needed(place: Place) -> None:
    await _closed_with(place, 4011)


@raises("sharding_needed", where="gateway", source="event")
async def shard_refused(place: Place) -> None:
    await _closed_with(place, 4010)


@raises("token_refused", where="gateway", source="event")
async def token_refused_by_the_gateway(place: Place) -> None:
    await _closed_with(place, 4004)


def _closes(code: int, solution: str) -> None:
    async def closed(place: Place) -> list[Shown]:
        return [Shown(SeenIn.GATEWAY_CLOSE, f"gateway closed with {code}")]

    CASES.append(Case(f"gateway_{code}", solution, frozenset(), {"code": str(code)}, closed))


for _code, _solution in {
    4000: "gateway_reconnects",
    4001: "gateway_reconnects",
    4002: "gateway_reconnects",
    4003: "gateway_session_refused",
    4004: "token_refused",
    4005: "gateway_reconnects",
    4007: "gateway_session_refused",
    4008: "gateway_reconnects",
    4009: "gateway_reconnects",
    4010: "sharding_needed",
    4011: "sharding_needed",
    4012: "library_too_old",
    4013: "intents_invalid",
    4014: "intents_refused",
}.items():
    _closes(_code, _solution)


class _Blocked:
    """The answer of an event loop that is blocked ``times`` times ten seconds."""

    def __init__(self, times: int) -> None:
        self.left = times

    def result(self, timeout: float | None = None) -> None:
        self.left -= 1
        if self.left >= 0:
            raise TimeoutError


class _Socket:
    """What discord.py's heartbeat, and nodekit's bounds on it, need of a connection."""

    socket = threading.Event()
    thread_id = threading.get_ident()
    _max_heartbeat_timeout = 60.0
    sequence = 1
    HEARTBEAT = 1
    loop = None

    async def send_heartbeat(self, data: object) -> None:
        """Do nothing."""

    async def close(self, code: int) -> None:
        """Do nothing."""


def _beat(times: int, *, silent_s: float = 0.0) -> None:
    """Run discord.py's own heartbeat; only its waits are cut short, ten seconds each."""
    from discord.gateway import KeepAliveHandler

    beat = KeepAliveHandler(ws=_Socket(), interval=0.001, shard_id=0)  # type: ignore[arg-type]
    beat._last_recv -= silent_s

    def submit(coro: Any, loop: object) -> _Blocked:
        coro.close()
        beat.stop()
        return _Blocked(times)

    with patch("asyncio.run_coroutine_threadsafe", submit):
        beat.run()


@logs("heartbeat_blocked")
async def heartbeat_blocked(place: Place) -> None:
    _beat(1)


@logs("heartbeat_stuck", "heartbeat_blocked")
async def heartbeat_stuck(place: Place) -> None:
    _beat(6)


@logs("gateway_stopped_responding")
async def gateway_stopped_responding(place: Place) -> None:
    _beat(0, silent_s=61)


@logs("event_loop_stalled")
async def event_loop_stalled(place: Place) -> None:
    boot = BootDocument(
        node_id="0" * 26, name="atlas", token="t", key=b"k" * 32, key_epoch=1, channel_pulse_interval_s=0.01
    )
    link = NodeLink(
        boot,
        NodeFacts(licence="l", version="1.0.0", bot_user_id=1, library=""),
        describe=lambda: Heartbeat(uptime_s=0, latency_ms=0, guilds=0),
        post_to_channel=None,
        on_refused=print,
    )
    with patch("nodekit.link.STALL_S", 0.04):
        pulsing = asyncio.create_task(link._pulse_until_asked())
        await asyncio.sleep(0)
        await _block(0.06)
        await asyncio.sleep(0.001)
        pulsing.cancel()
        await asyncio.wait({pulsing})


@logs("event_loop_stalled")
async def slow_callback(place: Place) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.001
    try:
        await asyncio.create_task(_block(0.01))
        await asyncio.sleep(0)
    finally:
        loop.set_debug(False)


async def _block(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - this is the error


@logs("gateway_send_limit")
async def gateway_send_limit(place: Place) -> None:
    from discord.gateway import GatewayRatelimiter

    limiter = GatewayRatelimiter(count=1, per=0.05)
    limiter.shard_id = 0
    for _ in range(2):
        await limiter.block()


@logs("message_content_missing")
async def message_content_missing(place: Place) -> None:
    async with commands.Bot("!", intents=discord.Intents.default()):
        """The warning is of its beginning."""
