"""The faults that the sandbox injects: hang-ups, nonsense, an absent gateway, outages, missing fields."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
import discord
import pytest

from sandbox import Sandbox
from sandbox.gateway import Raw
from tests.sandbox.conftest import World, connected


async def test_an_answer_is_cut_off_in_the_middle_and_yet_carried_out(world: World) -> None:
    path = f"/channels/{world.channel.id}/messages"
    world.sandbox.faults.cut_off(method="POST")
    with pytest.raises(aiohttp.ClientPayloadError):
        await world.rest("POST", path, {"content": "x"})
    assert [message.content for message in world.channel.messages] == ["x"]
    assert (await world.rest("POST", path, {"content": "y"}))[0] == 200


async def test_a_proxys_page_is_sent_instead_of_an_answer(world: World) -> None:
    page = b"<html><body>502 Bad Gateway</body></html>"
    world.sandbox.faults.answer_raw(page, status=502, content_type="text/html", path_contains="/users/")
    url, headers = f"{world.sandbox.api_base}/users/@me", {"Authorization": f"Bot {world.bot.token}"}
    async with world.http.get(url, headers=headers) as response:
        assert (response.status, response.content_type, await response.read()) == (502, "text/html", page)
    async with world.http.get(url, headers=headers) as response:
        assert (await response.json())["id"] == str(world.bot.id)


async def test_an_answer_is_changed_on_its_way(world: World) -> None:
    world.sandbox.faults.spoil(lambda body: body[:-1], path_contains="/users/")
    with pytest.raises(json.JSONDecodeError):
        await world.rest("GET", "/users/@me")
    assert (await world.rest("GET", "/users/@me"))[0] == 200


async def test_the_gateway_refuses_the_first_connections(world: World) -> None:
    # aiohttp tries once more by itself.
    world.sandbox.faults.refuse_gateway(count=2)
    world.sandbox.faults.refuse_gateway(status=503)
    with pytest.raises(aiohttp.ClientConnectionError):
        await world.http.ws_connect(f"{world.sandbox.gateway_url}?v=10")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await world.http.ws_connect(f"{world.sandbox.gateway_url}?v=10")
    assert refused.value.status == 503
    async with world.http.ws_connect(f"{world.sandbox.gateway_url}?v=10") as socket:
        assert (await socket.receive_json())["op"] == 10


async def test_payloads_are_spoilt_until_that_ends(world: World) -> None:
    faults = world.sandbox.faults
    faults.spoil_frames(lambda _payload: Raw(b"\x00no zlib"))
    async with world.http.ws_connect(f"{world.sandbox.gateway_url}?v=10") as socket:
        assert (await socket.receive()).data == b"\x00no zlib"
    faults.spoil_frames(lambda _payload: 4000)
    async with world.http.ws_connect(f"{world.sandbox.gateway_url}?v=10") as socket:
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4000
    faults.spoil_frames(None)
    async with world.http.ws_connect(f"{world.sandbox.gateway_url}?v=10") as socket:
        assert (await socket.receive_json())["op"] == 10


async def test_an_outage_ends_where_it_began(world: World) -> None:
    async with connected(world) as bot:
        async with world.sandbox.faults.outage():
            await world.sandbox.gateway.wait_connected(world.bot.account, connected=False)
            with pytest.raises(aiohttp.ClientConnectionError):
                await world.rest("GET", "/users/@me")
        assert (await world.rest("GET", "/users/@me"))[0] == 200
        await world.sandbox.gateway.wait_connected(world.bot.account)
        assert bot.user is not None


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(sparse=True) as running:
        yield running
        if running.conformance is not None:
            assert running.conformance.violations == []


async def test_discord_py_lives_without_the_fields_that_may_be_missing(world: World) -> None:
    _, channel = await world.rest("GET", f"/channels/{world.channel.id}")
    assert "topic" not in channel
    assert channel["name"] == "general"
    async with connected(world) as bot:
        general = bot.get_channel(world.channel.id)
        assert isinstance(general, discord.TextChannel)
        assert general.topic is None
        assert (await general.send("x")).content == "x"
