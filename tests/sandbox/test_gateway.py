"""The gateway without a library: close codes, resumes, compression, intents."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from sandbox import intents
from tests.conftest import TurnableClock
from tests.sandbox.conftest import World

PLAIN = intents.GUILDS | intents.GUILD_MESSAGES


class Socket:
    """A gateway client without a library."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._inflate = zlib.decompressobj()

    async def send(self, op: int, data: Any) -> None:
        await self._socket.send_json({"op": op, "d": data})

    async def raw(self, text: str) -> None:
        await self._socket.send_str(text)

    async def receive(self) -> dict[str, Any]:
        message = await self._socket.receive(timeout=5)
        if message.type is aiohttp.WSMsgType.BINARY:
            assert message.data.endswith(b"\x00\x00\xff\xff")
            return dict(json.loads(self._inflate.decompress(message.data)))
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return dict(json.loads(message.data))

    async def until(self, name: str) -> dict[str, Any]:
        while True:
            payload = await self.receive()
            if payload["t"] == name:
                return payload

    async def close(self, code: int) -> None:
        await self._socket.close(code=code)

    async def close_code(self) -> int:
        while True:
            message = await self._socket.receive(timeout=5)
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                return int(self._socket.close_code or 0)

    async def identify(self, token: str, bits: int = PLAIN, **more: Any) -> None:
        properties = {"os": "linux", "browser": "test", "device": "test"}
        await self.send(2, {"token": token, "intents": bits, "properties": properties, **more})


@asynccontextmanager
async def dial(world: World, query: str = "v=10&encoding=json") -> AsyncIterator[Socket]:
    async with world.http.ws_connect(f"{world.sandbox.gateway_url}?{query}") as socket:
        yield Socket(socket)


async def test_hello_ready_and_the_guild(world: World) -> None:
    async with dial(world) as socket:
        hello = await socket.receive()
        assert (hello["op"], hello["d"]["heartbeat_interval"]) == (10, 41250)
        await socket.identify(world.bot.token)
        ready = await socket.until("READY")
        assert ready["d"]["guilds"] == [{"id": str(world.guild.id), "unavailable": True}]
        guild = await socket.until("GUILD_CREATE")
        assert guild["s"] == 2
        await socket.send(1, guild["s"])
        assert (await socket.receive())["op"] == 11


async def test_zlib_stream(world: World) -> None:
    async with dial(world, "v=10&encoding=json&compress=zlib-stream") as socket:
        assert (await socket.receive())["op"] == 10
        await socket.identify(world.bot.token)
        assert (await socket.until("READY"))["d"]["user"]["username"] == "Atlas"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"op": 99, "d": None}, 4001),
        ("not json", 4002),
        ("[" * 5000, 4002),
        ({"op": 3, "d": {}}, 4003),
        ({"op": 2, "d": {"token": "wrong", "intents": 1}}, 4004),
        ({"op": 2, "d": "nothing"}, 4002),
        ({"op": 6, "d": {"token": "wrong", "session_id": "x", "seq": 1}}, 4004),
    ],
)
async def test_close_codes(world: World, payload: Any, code: int) -> None:
    async with dial(world) as socket:
        await socket.receive()
        await socket.raw(payload if isinstance(payload, str) else json.dumps(payload))
        assert await socket.close_code() == code


@pytest.mark.parametrize(
    ("bits", "more", "code"),
    [
        (-1, {}, 4013),
        (1 << 40, {}, 4013),
        (intents.MESSAGE_CONTENT, {}, 4014),
        (intents.GUILD_MEMBERS, {}, 4014),
        (PLAIN, {"shard": [2, 1]}, 4010),
    ],
)
async def test_bad_intents_and_shards(world: World, bits: int, more: dict[str, Any], code: int) -> None:
    async with dial(world) as socket:
        await socket.receive()
        await socket.identify(world.bot.token, bits, **more)
        assert await socket.close_code() == code


async def test_an_unsupported_version_is_4012(world: World) -> None:
    async with dial(world, "v=6&encoding=json") as socket:
        assert await socket.close_code() == 4012


async def test_identifying_twice_is_4005(world: World) -> None:
    async with dial(world) as socket:
        await socket.identify(world.bot.token)
        await socket.until("READY")
        await socket.identify(world.bot.token)
        assert await socket.close_code() == 4005


async def test_more_than_120_events_a_minute_are_4008(world: World) -> None:
    async with dial(world) as socket:
        for _ in range(121):
            await socket.send(1, None)
        assert await socket.close_code() == 4008


async def test_a_resume_replays_missed_events_and_costs_no_identify(world: World) -> None:
    async with dial(world) as socket:
        await socket.identify(world.bot.token)
        session = (await socket.until("READY"))["d"]["session_id"]
        last = (await socket.until("GUILD_CREATE"))["s"]
        await socket.close(4000)
    await world.sandbox.gateway.wait_connected(world.bot.account, connected=False)
    for number in range(3):
        await world.ada.sends(world.channel, f"<@{world.bot.id}> {number}")
    async with dial(world) as socket:
        await socket.send(6, {"token": world.bot.token, "session_id": session, "seq": last})
        missed = [(await socket.until("MESSAGE_CREATE"))["d"]["content"][-1] for _ in range(3)]
        assert missed == ["0", "1", "2"]
        await socket.until("RESUMED")
    assert world.sandbox.gateway.identifies[world.bot.id] == 1
    assert world.sandbox.gateway.resumes[world.bot.id] == 1


@pytest.mark.parametrize(("code", "outlives"), [(1000, False), (1001, False), (4000, True), (4009, True)])
async def test_with_what_code_a_client_closes_decides_whether_its_session_ends(
    world: World, code: int, outlives: bool
) -> None:
    async with dial(world) as socket:
        await socket.identify(world.bot.token)
        session = (await socket.until("READY"))["d"]["session_id"]
        await socket.close(code)
    await world.sandbox.gateway.wait_connected(world.bot.account, connected=False)
    async with dial(world) as socket:
        await socket.receive()
        await socket.send(6, {"token": world.bot.token, "session_id": session, "seq": 1})
        assert (await socket.receive())["op"] == (0 if outlives else 9)


async def test_an_unknown_session_is_invalid_and_a_wrong_sequence_4007(world: World) -> None:
    async with dial(world) as socket:
        await socket.receive()
        await socket.send(6, {"token": world.bot.token, "session_id": "nope", "seq": 1})
        assert await socket.receive() == {"op": 9, "d": False, "s": None, "t": None}
        await socket.identify(world.bot.token)
        session = (await socket.until("READY"))["d"]["session_id"]
        await socket.close(4000)
    async with dial(world) as socket:
        await socket.send(6, {"token": world.bot.token, "session_id": session, "seq": 10_000})
        assert await socket.close_code() == 4007


async def test_the_thousand_and_first_identify_of_a_day_resets_the_token(world: World, clock: TurnableClock) -> None:
    clock.seconds = world.sandbox.world.clock()
    world.sandbox.world.clock = clock
    token = world.bot.token
    for _ in range(1000):
        assert world.sandbox.gateway._within_daily_limit(world.bot.account)
        clock.turn(60)
    async with dial(world) as socket:
        await socket.identify(token)
        assert await socket.close_code() == 4004
    assert world.bot.token != token


async def test_events_depend_on_intents_and_permissions(world: World) -> None:
    async with dial(world) as deaf, dial(world) as hears:
        await deaf.identify(world.bot.token, intents.GUILDS)
        await deaf.until("GUILD_CREATE")
        await hears.identify(world.bot.token, PLAIN)
        await hears.until("GUILD_CREATE")
        await world.ada.sends(world.channel, "words")
        world.sandbox.world.update_channel(world.channel.channel)
        assert (await hears.until("MESSAGE_CREATE"))["d"]["content"] == ""
        assert (await deaf.receive())["t"] == "CHANNEL_UPDATE"
