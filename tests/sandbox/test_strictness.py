"""What Discord refuses, the sandbox refuses: status, code and body."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from sandbox import ApplicationDidNotRespond, CommandNotVisible, permissions
from sandbox.errors import SandboxError
from sandbox.records import Overwrite
from tests.conftest import TurnableClock
from tests.sandbox.conftest import World


def code_at(body: dict[str, Any], path: str) -> str:
    found = body["errors"]
    for part in path.split("."):
        found = found[part]
    return str(found["_errors"][0]["code"])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, 0),
        ("POST", "/users/@me", 404, 0),
        ("GET", "/channels/1", 404, 10003),
        ("GET", "/guilds/1", 404, 10004),
        ("GET", "/users/1", 404, 10013),
        ("GET", "/channels/abc", 400, 50035),
        ("GET", "/guilds/{guild}/members/1", 404, 10007),
        ("GET", "/channels/{channel}/messages/1", 404, 10008),
        ("GET", "/applications/1/commands", 403, 50001),
        ("GET", "/applications/{bot}/commands/1", 404, 10063),
        ("GET", "/guilds/{guild}/members?limit=5", 403, 50001),
        ("GET", "/channels/{channel}/messages?limit=101", 400, 50035),
        ("DELETE", "/channels/{channel}", 403, 50013),
        ("PUT", "/channels/{channel}/messages/1/reactions/x/@me", 404, 10008),
    ],
)
async def test_unknown_and_forbidden(world: World, method: str, path: str, status: int, code: int) -> None:
    path = path.format(guild=world.guild.id, channel=world.channel.id, bot=world.bot.id)
    got, body = await world.rest(method, path)
    assert (got, body["code"]) == (status, code)


@pytest.mark.parametrize("header", [None, "Bot nonsense", "Bearer x", "{token}"])
async def test_a_missing_or_wrong_token_is_401(world: World, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.format(token=world.bot.token)}
    async with world.http.get(world.sandbox.api_base + "/users/@me", headers=headers) as response:
        assert (response.status, await response.json()) == (401, {"message": "401: Unauthorized", "code": 0})


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({"content": "x" * 2001}, "content", "BASE_TYPE_MAX_LENGTH"),
        ({"content": 5}, "content", "BASE_TYPE_BAD_TYPE"),
        ({"embeds": [{"title": "x" * 257}]}, "embeds.0.title", "BASE_TYPE_MAX_LENGTH"),
        ({"embeds": [{"description": "x" * 4097}]}, "embeds.0.description", "BASE_TYPE_MAX_LENGTH"),
        ({"embeds": [{"fields": [{"name": "n", "value": "v"}] * 26}]}, "embeds.0.fields", "BASE_TYPE_MAX_LENGTH"),
        ({"embeds": [{"fields": [{"name": "n"}]}]}, "embeds.0.fields.0", "BASE_TYPE_REQUIRED"),
        ({"embeds": [{"description": "x" * 4000}, {"description": "x" * 4000}]}, "embeds", "MAX_EMBED_SIZE_EXCEEDED"),
        ({"embeds": [{"title": "t"}] * 11}, "embeds", "BASE_TYPE_MAX_LENGTH"),
        (
            {"components": [{"type": 1, "components": [{"type": 2, "style": 1, "label": "a", "custom_id": "a"}] * 6}]},
            "components.0.components",
            "BASE_TYPE_BAD_LENGTH",
        ),
        (
            {"components": [{"type": 1, "components": [{"type": 2, "style": 1, "label": "a", "custom_id": "a"}] * 2}]},
            "components.0.components.1",
            "COMPONENT_CUSTOM_ID_DUPLICATED",
        ),
        (
            {"components": [{"type": 1, "components": [{"type": 2, "style": 1, "label": "x" * 81, "custom_id": "a"}]}]},
            "components.0.components.0.label",
            "BASE_TYPE_MAX_LENGTH",
        ),
        (
            {"components": [{"type": 2, "style": 1, "label": "a", "custom_id": "a"}]},
            "components.0.type",
            "BASE_TYPE_CHOICES",
        ),
        ({"content": "x", "message_reference": {"message_id": "1"}}, "message_reference", "REPLIES_UNKNOWN_MESSAGE"),
    ],
)
async def test_a_bad_message_is_refused_at_its_invalid_field(world: World, body: Any, path: str, code: str) -> None:
    if world.sandbox.conformance is not None:
        # Discord's document has some of these limits too; here our own checks are tested.
        world.sandbox.conformance = None
    status, answer = await world.rest("POST", f"/channels/{world.channel.id}/messages", body)
    assert (status, answer["code"]) == (400, 50035)
    assert code_at(answer, path) == code
    assert world.channel.messages == []


async def test_an_empty_message_is_refused(world: World) -> None:
    empty: list[dict[str, Any]] = [{"content": ""}, {"content": "   "}, {"embeds": []}]
    for body in empty:
        status, answer = await world.rest("POST", f"/channels/{world.channel.id}/messages", body)
        assert (status, answer["code"]) == (400, 50006)


async def test_invalid_json_is_50109(world: World) -> None:
    url = f"{world.sandbox.api_base}/channels/{world.channel.id}/messages"
    headers = {"Authorization": f"Bot {world.bot.token}", "Content-Type": "application/json"}
    async with world.http.post(url, data=b"{not json", headers=headers) as response:
        assert (response.status, (await response.json())["code"]) == (400, 50109)


async def test_a_message_of_another_author_cannot_be_edited_or_deleted(world: World) -> None:
    message = await world.ada.sends(world.channel, "mine")
    path = f"/channels/{world.channel.id}/messages/{message.id}"
    assert (await world.rest("PATCH", path, {"content": "yours"}))[1]["code"] == 50005
    assert (await world.rest("DELETE", path))[1]["code"] == 50013


async def test_overwrites_are_enforced_and_a_hidden_channel_is_missing_access(world: World) -> None:
    path = f"/channels/{world.channel.id}/messages"
    channel = world.channel.channel
    channel.overwrites[world.guild.id] = Overwrite(world.guild.id, 0, 0, permissions.SEND_MESSAGES)
    role_id = world.guild.guild.members[world.bot.id].role_ids[0]
    assert (await world.rest("POST", path, {"content": "x"}))[1]["code"] == 50013
    channel.overwrites[role_id] = Overwrite(role_id, 0, permissions.SEND_MESSAGES, 0)
    assert (await world.rest("POST", path, {"content": "x"}))[0] == 200
    channel.overwrites[world.bot.id] = Overwrite(world.bot.id, 1, 0, permissions.VIEW_CHANNEL)
    assert (await world.rest("POST", path, {"content": "x"}))[1]["code"] == 50001


async def test_content_is_empty_without_the_privileged_intent(world: World) -> None:
    other = await world.ada.sends(world.channel, "secret words")
    mention = await world.ada.sends(world.channel, f"hello <@{world.bot.id}>")
    for message, content in ((other, ""), (mention, mention.content)):
        _, body = await world.rest("GET", f"/channels/{world.channel.id}/messages/{message.id}")
        assert body["content"] == content


async def test_the_sixth_message_in_five_seconds_is_429(world: World) -> None:
    path = f"/channels/{world.channel.id}/messages"
    url = world.sandbox.api_base + path
    headers = {"Authorization": f"Bot {world.bot.token}"}
    for remaining in (4, 3, 2, 1, 0):
        async with world.http.post(url, json={"content": "x"}, headers=headers) as response:
            assert response.status == 200
            assert response.headers["X-RateLimit-Remaining"] == str(remaining)
    async with world.http.post(url, json={"content": "x"}, headers=headers) as response:
        body = await response.json()
        assert response.status == 429
        assert response.headers["X-RateLimit-Scope"] == "user"
        assert 0 < body["retry_after"] <= 5
        assert body["global"] is False
    assert len(world.channel.messages) == 5


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"name": "Upper", "description": "x"}, "APPLICATION_COMMAND_INVALID_NAME"),
        ({"name": "with space", "description": "x"}, "APPLICATION_COMMAND_INVALID_NAME"),
        ({"name": "x" * 33, "description": "x"}, "BASE_TYPE_MAX_LENGTH"),
        ({"name": "ok"}, "BASE_TYPE_REQUIRED"),
        ({"name": "ok", "description": "x" * 101}, "BASE_TYPE_MAX_LENGTH"),
        (
            {
                "name": "ok",
                "description": "x",
                "options": [
                    {"type": 3, "name": "a", "description": "x"},
                    {"type": 3, "name": "b", "description": "x", "required": True},
                ],
            },
            "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
        ),
        *(
            ({"name": "ok", "description": "x", "options": [{"name": "a", "description": "x", **option}]}, code)
            for option, code in (
                ({"type": 12}, "NUMBER_TYPE_RANGE"),
                ({"type": 3, "description": "x" * 101}, "BASE_TYPE_MAX_LENGTH"),
                ({"type": 3, "name": "a" * 33}, "BASE_TYPE_MAX_LENGTH"),
                ({"type": 3, "choices": [{"name": "c" * 101, "value": "v"}]}, "BASE_TYPE_MAX_LENGTH"),
                ({"type": 3, "choices": [{"name": "c", "value": "v" * 101}]}, "BASE_TYPE_MAX_LENGTH"),
                ({"type": 3, "choices": [{"name": "c", "value": "v"}] * 26}, "BASE_TYPE_MAX_LENGTH"),
                ({"type": 3, "choices": [{"name": "c", "value": 5}]}, "BASE_TYPE_BAD_TYPE"),
                ({"type": 4, "choices": [{"name": "c", "value": "v"}]}, "BASE_TYPE_BAD_TYPE"),
                ({"type": 3, "hint": "what to type"}, "BASE_TYPE_UNKNOWN_FIELD"),
                ({"type": 5, "choices": [{"name": "c", "value": "v"}]}, "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID"),
                ({"type": 6, "autocomplete": True}, "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID"),
                ({"type": 3, "max_value": 5}, "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID"),
                ({"type": 4, "max_length": 5}, "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID"),
                ({"type": 3, "name_localizations": {"de": "a" * 33}}, "BASE_TYPE_MAX_LENGTH"),
            )
        ),
        (
            {
                "name": "ok",
                "description": "x",
                "options": [
                    {
                        "type": 3,
                        "name": f"a{number}",
                        "description": "x" * 100,
                        "choices": [{"name": f"{n:0100}", "value": "v" * 100} for n in range(25)],
                    }
                    for number in range(2)
                ],
            },
            "APPLICATION_COMMAND_TOO_LARGE",
        ),
    ],
)
async def test_a_bad_command_is_refused_and_nothing_changes(world: World, command: Any, code: str) -> None:
    world.sandbox.conformance = None
    path = f"/applications/{world.bot.id}/commands"
    good = {"name": "good", "description": "x"}
    assert (await world.rest("PUT", path, [good]))[0] == 200
    status, body = await world.rest("PUT", path, [good, command])
    assert status == 400
    assert f'"{code}"' in str(body).replace("'", '"')
    assert [c["name"] for c in (await world.rest("GET", path))[1]] == ["good"]


async def _interaction(world: World) -> tuple[int, str]:
    """Start a command without a bot that responds."""
    import asyncio

    await world.rest("PUT", f"/applications/{world.bot.id}/commands", [{"name": "slow", "description": "x"}])
    waiting = asyncio.create_task(world.ada.runs_command(world.channel, world.bot, "slow"))
    await asyncio.sleep(0)
    (interaction,) = world.sandbox.interactions._by_id.values()
    waiting.cancel()
    return interaction.id, interaction.token


async def test_the_initial_response_has_three_seconds(world: World, clock: TurnableClock) -> None:
    clock.seconds = world.sandbox.world.clock()
    world.sandbox.world.clock = clock
    interaction_id, token = await _interaction(world)
    path = f"/interactions/{interaction_id}/{token}/callback"
    clock.turn(3.1)
    assert (await world.rest("POST", path, {"type": 5}))[1]["code"] == 10062
    clock.turn(-0.2)
    assert (await world.rest("POST", path, {"type": 5}))[0] == 204
    assert (await world.rest("POST", path, {"type": 5}))[1]["code"] == 40060


async def test_a_response_to_an_unknown_interaction_is_refused(world: World) -> None:
    interaction_id, token = await _interaction(world)
    for path in (f"{interaction_id + 1}/{token}", f"{interaction_id}/{token}x", f"1/{'a' * 64}"):
        status, answer = await world.rest(
            "POST", f"/interactions/{path}/callback", {"type": 4, "data": {"content": "x"}}
        )
        assert (status, answer["code"]) == (404, 10062)
    assert world.channel.messages == []


async def test_a_person_cannot_type_more_than_discord_lets_him(world: World) -> None:
    option = {"type": 3, "name": "text", "description": "x"}
    command = {"name": "say", "description": "x", "options": [option]}
    await world.rest("PUT", f"/applications/{world.bot.id}/commands", [command])
    with pytest.raises(SandboxError, match="6000 characters"):
        await world.ada.runs_command(world.channel, world.bot, "say", {"text": "x" * 6001})
    with pytest.raises(SandboxError, match="unknown option"):
        await world.ada.runs_command(world.channel, world.bot, "say", {"other": "x"})


async def test_followups_have_fifteen_minutes(world: World, clock: TurnableClock) -> None:
    clock.seconds = world.sandbox.world.clock()
    world.sandbox.world.clock = clock
    interaction_id, token = await _interaction(world)
    hook = f"/webhooks/{world.bot.id}/{token}"
    assert (await world.rest("POST", hook, {"content": "early"}))[1]["code"] == 10015
    await world.rest("POST", f"/interactions/{interaction_id}/{token}/callback", {"type": 5})
    clock.turn(15 * 60 - 1)
    assert (await world.rest("POST", hook, {"content": "late"}))[0] == 200
    clock.turn(2)
    assert (await world.rest("POST", hook, {"content": "too late"}))[1]["code"] == 50027
    assert (await world.rest("POST", f"/webhooks/{world.bot.id}/wrong", {"content": "x"}))[1]["code"] == 10015


async def test_an_autocompletion_is_not_answered_with_a_message(world: World) -> None:
    interaction_id, token = await _interaction(world)
    path = f"/interactions/{interaction_id}/{token}/callback"
    assert (await world.rest("POST", path, {"type": 8, "data": {"choices": []}}))[1]["code"] == 50035


async def test_attachments_survive_a_round_trip(world: World) -> None:
    form = aiohttp.FormData()
    form.add_field("payload_json", '{"content": "with file"}', content_type="application/json")
    form.add_field("files[0]", b"\x00\x01binary", filename="data.bin")
    url = f"{world.sandbox.api_base}/channels/{world.channel.id}/messages"
    headers = {"Authorization": f"Bot {world.bot.token}"}
    async with world.http.post(url, data=form, headers=headers) as response:
        (attachment,) = (await response.json())["attachments"]
    assert (attachment["filename"], attachment["size"]) == ("data.bin", 8)
    async with world.http.get(attachment["url"]) as response:
        assert await response.read() == b"\x00\x01binary"


async def test_one_nonce_is_one_message_where_that_is_asked_for(world: World, clock: TurnableClock) -> None:
    clock.seconds = world.sandbox.world.clock()
    world.sandbox.world.clock = clock
    path = f"/channels/{world.channel.id}/messages"
    body = {"content": "x", "nonce": "7", "enforce_nonce": True}
    ids = [(await world.rest("POST", path, body))[1]["id"] for _ in range(2)]
    assert ids[0] == ids[1]
    assert (await world.rest("POST", path, {**body, "enforce_nonce": False}))[1]["id"] != ids[0]
    clock.turn(600)
    assert (await world.rest("POST", path, body))[1]["id"] not in ids
    assert len(world.channel.messages) == 3


@pytest.mark.parametrize(
    ("overwrite", "status", "code"),
    [
        ({"id": "1", "type": 0}, 404, 10009),
        ({"id": "{guild}", "type": 1}, 404, 10009),
        ({"id": "{guild}", "type": 0, "deny": permissions.KICK_MEMBERS}, 403, 50013),
    ],
)
async def test_an_overwrite_that_is_refused_leaves_no_channel_behind(
    world: World, overwrite: dict[str, Any], status: int, code: int
) -> None:
    own = next(role for role in world.guild.guild.roles.values() if role.managed_by == world.bot.id)
    own.permissions |= permissions.MANAGE_CHANNELS | permissions.MANAGE_ROLES
    overwrite["id"] = overwrite["id"].format(guild=world.guild.id)
    body = {"name": "new", "permission_overwrites": [overwrite]}
    got, answer = await world.rest("POST", f"/guilds/{world.guild.id}/channels", body)
    assert (got, answer["code"]) == (status, code)
    assert len(world.guild.guild.channels) == 1
    got, answer = await world.rest("PATCH", f"/channels/{world.channel.id}", body)
    assert (got, answer["code"]) == (status, code)
    assert world.channel.channel.name == "general"


@pytest.mark.parametrize(
    ("needed", "has", "visible"),
    [
        (None, 0, True),
        (permissions.MANAGE_GUILD, 0, False),
        (permissions.MANAGE_GUILD, permissions.MANAGE_GUILD, True),
        (permissions.MANAGE_GUILD | permissions.MANAGE_ROLES, permissions.MANAGE_GUILD, False),
        (permissions.MANAGE_GUILD, permissions.ADMINISTRATOR, True),
        (0, permissions.MANAGE_GUILD, False),
        (0, permissions.ADMINISTRATOR, True),
    ],
)
async def test_a_person_is_shown_the_commands_that_his_permissions_let_him_see(
    world: World, needed: int | None, has: int, visible: bool
) -> None:
    command = {"name": "act", "description": "x", "default_member_permissions": needed}
    (made,) = (await world.rest("PUT", f"/applications/{world.bot.id}/commands", [command]))[1]
    assert made["default_member_permissions"] == (None if needed is None else str(needed))
    bob = world.sandbox.create_human("bob")
    world.guild.add_member(bob, [world.guild.create_role("bobs", has)])
    expected = ApplicationDidNotRespond if visible else CommandNotVisible
    with pytest.raises(expected):
        await bob.runs_command(world.channel, world.bot, "act", timeout_s=0.05)
    with pytest.raises(ApplicationDidNotRespond):  # the owner sees everything
        await world.ada.runs_command(world.channel, world.bot, "act", timeout_s=0.05)


@pytest.mark.parametrize("hidden", [{"dm_permission": False}, {"contexts": [0]}])
async def test_a_command_for_servers_is_not_shown_in_a_direct_message(world: World, hidden: dict[str, Any]) -> None:
    commands = [{"name": "here", "description": "x", **hidden}, {"name": "anywhere", "description": "x"}]
    assert (await world.rest("PUT", f"/applications/{world.bot.id}/commands", commands))[0] == 200
    direct = await world.ada.sends_direct(world.bot, "hi")
    with pytest.raises(CommandNotVisible):
        await world.ada.runs_command(direct, world.bot, "here", timeout_s=0.05)
    with pytest.raises(ApplicationDidNotRespond):
        await world.ada.runs_command(direct, world.bot, "anywhere", timeout_s=0.05)


@pytest.mark.parametrize("carried_out", [False, True])
async def test_a_connection_is_broken_before_or_after_the_request_is_carried_out(
    world: World, carried_out: bool
) -> None:
    world.sandbox.faults.hang_up(path_contains="/messages", carried_out=carried_out)
    path = f"/channels/{world.channel.id}/messages"
    with pytest.raises(aiohttp.ClientConnectionError):
        await world.rest("POST", path, {"content": "x"})
    assert len(world.channel.messages) == carried_out
    assert (await world.rest("POST", path, {"content": "y"}))[0] == 200
