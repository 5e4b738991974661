"""Invalid input is answered as on Discord: it never crashes the sandbox or leaves anything half-created."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import msgspec
import pytest

from sandbox import bodies
from sandbox.intents import GUILD_MEMBERS
from sandbox.interactions import AUTOCOMPLETE, COMMAND, COMPONENT
from tests.sandbox.conftest import World

_BAD: list[Any] = [
    *(5, -1, 2**70, 1.5, True, None, "abc", "1" * 25),
    *([], [5], ["abc"], [None], [{}], {}, {"a": 1}),
    *({"url": 5}, {"users": 5}, {"users": ["x"]}, {"parse": 5}, {"parse": [[]]}, {"parse": ["nobody"]}),
]


def corrupted(kind: type[msgspec.Struct], good: dict[str, Any]) -> Iterator[Any]:
    """Yield a valid body with each field corrupted in each way, and values that are not a body."""
    for field in msgspec.structs.fields(kind):
        for bad in _BAD:
            yield {**good, field.encode_name: bad}
    yield from _BAD


def _messages() -> Iterator[Any]:
    yield from corrupted(bodies.MessageBody, {"content": "x"})
    for embed in corrupted(bodies.Embed, {"title": "t"}):
        yield {"embeds": [embed]}
    for button in corrupted(bodies.Component, {"type": 2, "style": 1, "label": "l", "custom_id": "c"}):
        yield {"components": [{"type": 1, "components": [button]}]}


def _commands() -> Iterator[Any]:
    yield from corrupted(bodies.CommandBody, {"name": "n", "description": "d"})
    for option in corrupted(bodies.CommandOption, {"type": 3, "name": "a", "description": "d"}):
        yield {"name": "n", "description": "d", "options": [option]}


_CASES: dict[str, tuple[str, str, Iterator[Any]]] = {
    "message": ("POST", "/channels/{channel}/messages", _messages()),
    "new channel": ("POST", "/guilds/{guild}/channels", corrupted(bodies.ChannelBody, {"name": "n"})),
    "channel": ("PATCH", "/channels/{channel}", corrupted(bodies.ChannelBody, {})),
    "overwrite": ("PUT", "/channels/{channel}/permissions/{guild}", corrupted(bodies.OverwriteBody, {"type": 0})),
    "thread": ("POST", "/channels/{channel}/threads", corrupted(bodies.ThreadBody, {"name": "t", "type": 11})),
    "direct": ("POST", "/users/@me/channels", corrupted(bodies.DirectBody, {})),
    "bulk delete": ("POST", "/channels/{channel}/messages/bulk-delete", corrupted(bodies.BulkDeleteBody, {})),
    "member": ("PATCH", "/guilds/{guild}/members/{ada}", corrupted(bodies.MemberBody, {})),
    "command": ("POST", "/applications/{bot}/commands", _commands()),
}


@pytest.fixture
def unlimited(world: World) -> World:
    """Return a world with only our own body checks: no OpenAPI validation, no rate limits."""
    world.sandbox.conformance = None
    world.sandbox.rate_limits.enabled = False
    world.guild.guild.roles[world.guild.guild.members[world.bot.id].role_ids[0]].permissions = 8
    return world


@pytest.mark.parametrize("case", sorted(_CASES))
async def test_no_body_crashes_a_route(unlimited: World, case: str) -> None:
    world = unlimited
    method, path, spoilt_bodies = _CASES[case]
    path = path.format(guild=world.guild.id, channel=world.channel.id, bot=world.bot.id, ada=world.ada.id)
    for body in spoilt_bodies:
        status, answer = await world.rest(method, path, body)
        assert status < 500, (body, answer)


@pytest.mark.parametrize("answer", [4, 5, 7, 8, 9])
async def test_no_interaction_response_crashes(unlimited: World, answer: int) -> None:
    world = unlimited
    kinds = {7: COMPONENT, 8: AUTOCOMPLETE}
    source = await world.ada.sends(world.channel, "source")
    data: dict[str, Any] = {"id": "1", "name": "n", "type": 1}
    good = {"content": "x", "title": "t", "custom_id": "c"}
    for kind in (bodies.MessageBody, bodies.ModalBody, bodies.AutocompleteBody):
        for body in corrupted(kind, good):
            interaction = world.sandbox.interactions.begin(
                kinds.get(answer, COMMAND),
                world.bot.account,
                world.ada.user,
                world.channel.channel,
                data,
                source=source,
            )
            path = f"/interactions/{interaction.id}/{interaction.token}/callback"
            status, told = await world.rest("POST", path, {"type": answer, "data": body})
            assert status < 500, (body, told)
            assert (interaction.kind == "pending") == (status >= 400), (body, told)


async def test_invalid_paths_are_refused(world: World) -> None:
    root = world.sandbox.api_base.removesuffix("/api/v10")
    for path in ("/attachments/abc/1/x", f"/attachments/{world.channel.id}/1/x", "/api/v10", "/api/v11/gateway", "/"):
        async with world.http.get(root + path) as response:
            assert response.status == 404, path


_IDENTIFY = {"intents": 1, "properties": {}}


@pytest.mark.parametrize(
    ("payloads", "code"),
    [
        ([5], 4002),
        (["[1]"], 4002),
        ([{"op": 2, "d": {"token": 5, "intents": 1}}], 4004),
        ([{"op": 2, "d": {**_IDENTIFY, "token": "{token}", "intents": "1"}}], 4013),
        ([{"op": 2, "d": {**_IDENTIFY, "token": "{token}", "intents": True}}], 4013),
        ([{"op": 2, "d": {**_IDENTIFY, "token": "{token}", "shard": ["a", 1]}}], 4010),
        ([{"op": 2, "d": {**_IDENTIFY, "token": "{token}", "shard": [0, None]}}], 4010),
        ([{"op": 2, "d": {**_IDENTIFY, "token": "{token}"}}, {"op": 8, "d": {"guild_id": "abc"}}], 4002),
        (
            [{"op": 2, "d": {**_IDENTIFY, "token": "{token}"}}, {"op": 8, "d": {"guild_id": "{guild}", "limit": []}}],
            4002,
        ),
        (
            [
                {"op": 2, "d": {**_IDENTIFY, "token": "{token}"}},
                {"op": 8, "d": {"guild_id": "{guild}", "user_ids": [{}], "limit": 0}},
            ],
            4002,
        ),
    ],
)
async def test_no_payload_crashes_the_gateway(world: World, payloads: list[Any], code: int) -> None:
    async with world.http.ws_connect(world.sandbox.gateway_url + "?v=10&encoding=json") as socket:
        for payload in payloads:
            text = json.dumps(payload).replace("{token}", world.bot.token).replace("{guild}", str(world.guild.id))
            await socket.send_str(text)
        while not socket.closed:
            await socket.receive(timeout=5)
        assert socket.close_code == code


async def test_a_member_request_for_everybody_needs_the_intent(world: World) -> None:
    world.bot.account.privileged_intents = GUILD_MEMBERS
    for intents, count in ((1, 0), (1 | GUILD_MEMBERS, 2)):
        async with world.http.ws_connect(world.sandbox.gateway_url + "?v=10&encoding=json") as socket:
            identify = {"op": 2, "d": {**_IDENTIFY, "token": world.bot.token, "intents": intents}}
            await socket.send_json(identify)
            await socket.send_json({"op": 8, "d": {"guild_id": str(world.guild.id), "query": "", "limit": 0}})
            await socket.send_json({"op": 1, "d": None})
            assert len(await _members_until_ack(socket)) == count


async def _members_until_ack(socket: aiohttp.ClientWebSocketResponse) -> list[Any]:
    members: list[Any] = []
    while (payload := await socket.receive_json(timeout=5))["op"] != 11:
        if payload["t"] == "GUILD_MEMBERS_CHUNK":
            members += payload["d"]["members"]
    return members
