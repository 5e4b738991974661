"""Every method of the port against the sandbox, through the unmodified discord.py; refusals and outages by name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import discord
import pytest

from master.bot.port import DiscordPyPort
from master.services.core.discord_port import (
    ChannelChanges,
    ChannelKind,
    ChannelPlan,
    DiscordPort,
    Embed,
    EmbedField,
    MessageRef,
    Notice,
    OutgoingFile,
    Overwrite,
    PostedAttachment,
)
from master.services.core.errors import (
    DiscordForbidden,
    DiscordNotFound,
    DiscordPortError,
    DiscordRefused,
    DiscordUnavailable,
)
from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, ChannelHandle, GuildHandle, Person, Sandbox, permissions
from sandbox.intents import MESSAGE_CONTENT
from sandbox.records import Role

TIMEOUT_S = 1.5
MANAGE = permissions.MANAGE_CHANNELS | permissions.MANAGE_ROLES | permissions.MANAGE_MESSAGES


@dataclass
class Scene:
    """A server with the master's bot, which is logged in and caches nothing."""

    sandbox: Sandbox
    ada: Person
    guild: GuildHandle
    general: ChannelHandle
    vip: Role
    bot: BotHandle
    client: discord.Client
    port: DiscordPort

    def hidden(self) -> ChannelHandle:
        """Make a channel that the bot does not see."""
        channel = self.guild.create_channel("hidden")
        self.deny(channel, permissions.VIEW_CHANNEL)
        return channel

    def deny(self, channel: ChannelHandle, bits: int) -> None:
        """Take permissions from everybody in a channel."""
        from sandbox.records import Overwrite as Denied

        channel.channel.overwrites[self.guild.id] = Denied(self.guild.id, 0, 0, bits)


@pytest.fixture
async def scene(sandbox: Sandbox) -> AsyncIterator[Scene]:
    ada = sandbox.create_human("ada")
    guild = sandbox.create_guild("HQ", ada)
    general = guild.create_channel("general")
    vip = guild.create_role("vip")
    bot = sandbox.create_bot("Fleetmaster", privileged_intents=MESSAGE_CONTENT)
    guild.add_bot(bot, bits=permissions.EVERYONE_DEFAULT | MANAGE)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    client = discord.Client(
        intents=discord.Intents.none(), max_messages=None, member_cache_flags=discord.MemberCacheFlags.none()
    )
    async with client:
        await client.login(bot.token)
        yield Scene(sandbox, ada, guild, general, vip, bot, client, DiscordPyPort(lambda: client, TIMEOUT_S))


# Messages


async def test_a_notice_is_posted_edited_and_deleted(scene: Scene) -> None:
    embed = Embed(title="Up", description="all", colour=0xFF0000, fields=(EmbedField("a", "b", False),), footer="f")
    ref = await scene.port.post(scene.general.id, Notice(text="hello", embeds=(embed,)))
    (message,) = scene.general.messages
    assert (message.id, message.content, message.author.id) == (ref.id, "hello", scene.bot.id)
    assert message.embeds[0]["title"] == "Up"
    assert message.embeds[0]["fields"] == [{"name": "a", "value": "b", "inline": False}]
    assert message.embeds[0]["footer"]["text"] == "f"
    await scene.port.edit(ref, Notice(text="bye"))
    assert (message.content, message.embeds) == ("bye", [])
    read = await scene.port.fetch_message(ref)
    assert (read.content, read.author_id, read.author_is_bot, read.ref) == ("bye", scene.bot.id, True, ref)
    assert read.edited_at is not None
    await scene.port.delete(ref, reason="done")
    assert scene.general.messages == []


async def test_only_those_are_mentioned_who_are_named(scene: Scene) -> None:
    bob = scene.sandbox.create_human("bob")
    text = f"@everyone <@{scene.ada.id}> <@{bob.id}> <@&{scene.vip.id}>"
    await scene.port.post(scene.general.id, Notice(text=text, mention_users=(bob.id,)))
    (message,) = scene.general.messages
    assert [user.id for user in message.mentions] == [bob.id]
    assert not message.mention_everyone
    assert message.mention_role_ids == []


async def test_a_reply_becomes_a_plain_post_when_its_message_is_gone(scene: Scene) -> None:
    asked = await scene.ada.sends(scene.general, "who?")
    await scene.port.post(scene.general.id, Notice(text="me", reply_to=asked.id))
    await scene.port.post(scene.general.id, Notice(text="whoever", reply_to=1))
    assert [m.reference_id for m in scene.general.messages] == [None, asked.id, None]


async def test_messages_since_are_read_page_by_page_oldest_first_and_bounded(scene: Scene) -> None:
    sent = [await scene.ada.sends(scene.general, f"message {number}") for number in range(230)]
    found = await scene.port.messages_since(scene.general.id)
    assert [m.content for m in found] == [m.content for m in sent]
    assert found[0].author_id == scene.ada.id
    assert not found[0].author_is_bot
    later = await scene.port.messages_since(scene.general.id, sent[99].id, limit=120)
    assert [m.id for m in later] == [m.id for m in sent[100:220]]
    assert await scene.port.messages_since(scene.general.id, sent[-1].id) == ()


async def test_files_go_out_and_come_back(scene: Scene) -> None:
    content = bytes(range(256)) * 1_000
    ref = await scene.port.post(scene.general.id, Notice(files=(OutgoingFile("data ä.bin", content),)))
    (attachment,) = (await scene.port.fetch_message(ref)).attachments
    assert (attachment.name, attachment.size) == ("data ä.bin", len(content))
    assert await scene.port.download(attachment) == content
    with pytest.raises(DiscordRefused, match="larger than 1000 bytes"):
        await scene.port.download(attachment, max_bytes=1_000)
    lying = PostedAttachment(id=attachment.id, name="data.bin", size=1, url=attachment.url)
    with pytest.raises(DiscordRefused, match="larger than 1000 bytes"):
        await scene.port.download(lying, max_bytes=1_000)
    await scene.port.delete(ref)
    with pytest.raises(DiscordNotFound):
        await scene.port.download(attachment)
    with pytest.raises(DiscordRefused, match="only be sent with a new message"):
        await scene.port.edit(ref, Notice(files=(OutgoingFile("a", b"b"),)))


async def test_a_direct_message_reaches_its_user_and_a_bot_takes_none(scene: Scene) -> None:
    ref = await scene.port.direct_message(scene.ada.id, Notice(text="psst"))
    channel = scene.sandbox.world.channels[ref.channel_id]
    assert [m.content for m in channel.messages.values()] == ["psst"]
    assert channel.recipients == [scene.bot.account, scene.ada.user]
    other = scene.sandbox.create_bot("Other")
    with pytest.raises(DiscordRefused) as refused:
        await scene.port.direct_message(other.id, Notice(text="psst"))
    assert refused.value.json_code == 50007


# Reactions


async def test_reactions_are_added_counted_and_removed(scene: Scene) -> None:
    message = await scene.ada.sends(scene.general, "vote")
    ref = MessageRef(scene.general.id, message.id)
    voters = [scene.sandbox.create_human(f"voter{number}") for number in range(130)]
    for voter in voters:
        scene.guild.add_member(voter)
        await voter.reacts(message, "🎉")
    await scene.port.react(ref, "🎉")
    await scene.port.react(ref, "<:party:123456789012345678>")
    read = {r.emoji: (r.count, r.is_own) for r in (await scene.port.fetch_message(ref)).reactions}
    assert read == {"🎉": (131, True), "party:123456789012345678": (1, True)}
    assert await scene.port.reactors(ref, "🎉") == (*sorted([scene.bot.id, *(v.id for v in voters)]),)
    assert len(await scene.port.reactors(ref, "🎉", limit=120)) == 120
    await scene.port.unreact(ref, "party:123456789012345678")
    await scene.port.unreact(ref, "🎉", user_id=voters[0].id)
    assert list(message.reactions) == ["🎉"]
    assert voters[0].id not in message.reactions["🎉"]


# Channels


async def test_channels_are_created_moved_changed_and_deleted(scene: Scene) -> None:
    tickets = await scene.port.create_channel(scene.guild.id, ChannelPlan(name="Tickets", kind=ChannelKind.CATEGORY))
    plan = ChannelPlan(
        name="ticket-1",
        topic="a question",
        parent_id=tickets.id,
        overwrites=(
            Overwrite(scene.guild.id, "role", deny=permissions.VIEW_CHANNEL),
            Overwrite(scene.ada.id, "member", allow=permissions.VIEW_CHANNEL),
            Overwrite(scene.bot.id, "member", allow=permissions.VIEW_CHANNEL),
        ),
    )
    made = await scene.port.create_channel(scene.guild.id, plan, reason="a ticket")
    assert (made.kind, made.parent_id, made.topic) == (ChannelKind.TEXT, tickets.id, "a question")
    assert made.overwrites == plan.overwrites
    assert await scene.port.channel(made.id) == made
    assert {c.name: c.kind for c in await scene.port.channels(scene.guild.id)} == {
        "general": ChannelKind.TEXT,
        "Tickets": ChannelKind.CATEGORY,
        "ticket-1": ChannelKind.TEXT,
    }
    closed = await scene.port.edit_channel(
        made.id, ChannelChanges(name="closed-1", parent_id=None, position=0, overwrites=plan.overwrites[2:])
    )
    assert (closed.name, closed.parent_id, closed.position, closed.topic) == ("closed-1", None, 0, "a question")
    assert closed.overwrites == plan.overwrites[2:]
    back = await scene.port.edit_channel(made.id, ChannelChanges(parent_id=tickets.id, topic=""))
    assert (back.name, back.parent_id, back.topic) == ("closed-1", tickets.id, "")
    await scene.port.delete_channel(tickets.id)
    assert (await scene.port.channel(made.id)).parent_id is None
    await scene.port.delete_channel(made.id)
    assert [c.name for c in await scene.port.channels(scene.guild.id)] == ["general"]


async def test_one_overwrite_is_set_replaced_and_removed(scene: Scene) -> None:
    for bits in (permissions.SEND_MESSAGES, permissions.ADD_REACTIONS):
        one = Overwrite(scene.vip.id, "role", deny=bits)
        await scene.port.set_overwrite(scene.general.id, one)
        assert (await scene.port.channel(scene.general.id)).overwrites == (one,)
    await scene.port.remove_overwrite(scene.general.id, scene.vip.id)
    assert (await scene.port.channel(scene.general.id)).overwrites == ()


# Members


async def test_roles_are_listed_given_and_taken(scene: Scene) -> None:
    assert [role.name for role in await scene.port.roles(scene.guild.id)] == ["@everyone", "vip", "Fleetmaster"]
    assert (await scene.port.roles(scene.guild.id))[-1].is_managed
    await scene.port.add_role(scene.guild.id, scene.ada.id, scene.vip.id, reason="paid")
    assert await scene.port.roles_of(scene.guild.id, scene.ada.id) == {scene.vip.id}
    assert await scene.port.user_name(scene.ada.id) == "ada"
    await scene.port.remove_role(scene.guild.id, scene.ada.id, scene.vip.id)
    assert await scene.port.roles_of(scene.guild.id, scene.ada.id) == frozenset()


# Refusals

NOWHERE = MessageRef(1, 2)


@pytest.mark.parametrize(
    ("call", "json_code"),
    [
        (lambda s: s.port.post(1, Notice(text="x")), 10003),
        (lambda s: s.port.messages_since(1), 10003),
        (lambda s: s.port.fetch_message(MessageRef(s.general.id, 2)), 10008),
        (lambda s: s.port.edit(MessageRef(s.general.id, 2), Notice(text="x")), 10008),
        (lambda s: s.port.delete(MessageRef(s.general.id, 2)), 10008),
        (lambda s: s.port.react(MessageRef(s.general.id, 2), "🎉"), 10008),
        (lambda s: s.port.unreact(NOWHERE, "🎉"), 10003),
        (lambda s: s.port.unreact(NOWHERE, "🎉", user_id=3), 10003),
        (lambda s: s.port.reactors(NOWHERE, "🎉"), 10003),
        (lambda s: s.port.channel(1), 10003),
        (lambda s: s.port.channels(1), 10004),
        (lambda s: s.port.create_channel(1, ChannelPlan(name="x")), 10004),
        (lambda s: s.port.edit_channel(1, ChannelChanges(name="x")), 10003),
        (lambda s: s.port.delete_channel(1), 10003),
        (lambda s: s.port.set_overwrite(s.general.id, Overwrite(1, "role")), 10009),
        (lambda s: s.port.remove_overwrite(s.general.id, 1), 10009),
        (lambda s: s.port.roles(1), 10004),
        (lambda s: s.port.roles_of(s.guild.id, 1), 10007),
        (lambda s: s.port.add_role(s.guild.id, s.ada.id, 1), 10011),
        (lambda s: s.port.remove_role(s.guild.id, 1, s.vip.id), 10007),
        (lambda s: s.port.direct_message(1, Notice(text="x")), 10013),
    ],
)
async def test_what_does_not_exist_is_told_as_404(
    scene: Scene, call: Callable[[Scene], Awaitable[object]], json_code: int
) -> None:
    with pytest.raises(DiscordNotFound) as found:
        await call(scene)
    assert (found.value.status, found.value.json_code) == (404, json_code)


async def test_what_is_forbidden_names_the_permission(scene: Scene) -> None:
    port, hidden = scene.port, scene.hidden()
    message = await scene.ada.sends(scene.general, "x")
    theirs = MessageRef(scene.general.id, message.id)
    managed = next(role for role in await port.roles(scene.guild.id) if role.is_managed)
    with pytest.raises(DiscordForbidden) as found:
        await port.add_role(scene.guild.id, scene.ada.id, managed.id)
    assert "above the roles" in found.value.hint
    scene.guild.guild.roles[managed.id].permissions = 0
    scene.deny(scene.general, permissions.SEND_MESSAGES | permissions.ADD_REACTIONS)
    calls: list[tuple[Awaitable[object], int, str]] = [
        (port.post(hidden.id, Notice(text="x")), 50001, "View Channel"),
        (port.post(scene.general.id, Notice(text="x")), 50013, "Send Messages"),
        (port.react(theirs, "🎉"), 50013, "Add Reactions"),
        (port.unreact(theirs, "🎉", user_id=scene.ada.id), 50013, "Manage Messages"),
        (port.delete(theirs), 50013, "Manage Messages"),
        (port.create_channel(scene.guild.id, ChannelPlan(name="x")), 50013, "Manage Channels"),
        (port.edit_channel(scene.general.id, ChannelChanges(name="x")), 50013, "Manage Channels"),
        (port.delete_channel(scene.general.id), 50013, "Manage Channels"),
        (port.set_overwrite(scene.general.id, Overwrite(scene.vip.id, "role")), 50013, "Manage Roles"),
        (port.remove_role(scene.guild.id, scene.ada.id, scene.vip.id), 50013, "Manage Roles"),
        (port.edit(theirs, Notice(text="x")), 50005, ""),
    ]
    for call, json_code, missing in calls:
        with pytest.raises(DiscordForbidden) as found:
            await call
        assert (found.value.status, found.value.json_code, found.value.missing) == (403, json_code, missing)
        assert missing in found.value.hint


async def test_a_request_that_discord_refuses_is_not_repeated(scene: Scene) -> None:
    scene.sandbox.conformance = None  # the requests are wrong on purpose
    for call in (
        scene.port.post(scene.general.id, Notice()),
        scene.port.post(scene.general.id, Notice(text="x" * 2_001)),
        scene.port.react(MessageRef(scene.general.id, (await scene.ada.sends(scene.general, "x")).id), "word"),
    ):
        with pytest.raises(DiscordRefused) as found:
            await call
        assert found.value.status == 400
    assert scene.sandbox.requests["POST /channels/{channel_id}/messages"] == 2


# Outages


async def _fails_in_time(call: Awaitable[object], within_s: float) -> DiscordUnavailable:
    began = time.monotonic()
    with pytest.raises(DiscordUnavailable) as found:
        await call
    assert time.monotonic() - began < within_s
    return found.value


async def test_without_a_connection_a_call_fails_at_once(scene: Scene) -> None:
    nobody = DiscordPyPort(lambda: None)
    assert "not connected" in (await _fails_in_time(nobody.post(1, Notice(text="x")), 0.2)).message
    logged_out = discord.Client(intents=discord.Intents.none())
    await _fails_in_time(DiscordPyPort(lambda: logged_out).channels(1), 0.2)
    await scene.client.close()
    await _fails_in_time(scene.port.channel(scene.general.id), 0.2)
    attachment = PostedAttachment(id=1, name="a", size=1, url=f"{scene.sandbox.api_base}/x")
    await _fails_in_time(scene.port.download(attachment), 0.2)


async def test_a_connection_that_closes_under_a_call_ends_the_call(scene: Scene) -> None:
    arrived = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        arrived.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        apply_endpoints(f"http://{host}:{port}", scene.sandbox.gateway_url)
        call = asyncio.create_task(scene.port.channel(scene.general.id))
        await asyncio.wait_for(arrived.wait(), 5)
        await scene.client.close()
        await _fails_in_time(call, 1.0)


async def test_a_session_that_the_library_closed_or_never_opened_is_an_outage(scene: Scene) -> None:
    # The client does not know yet: aiohttp raises a RuntimeError, and the library then an AttributeError of its own.
    await scene.client.http.close()
    await _fails_in_time(scene.port.channel(scene.general.id), TIMEOUT_S + 1)
    scene.client.http.clear()
    await _fails_in_time(scene.port.channel(scene.general.id), TIMEOUT_S + 1)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.slow
async def test_errors_of_discords_own_are_an_outage(scene: Scene, status: int) -> None:
    scene.sandbox.faults.answer_next(status, count=50)
    await _fails_in_time(scene.port.channel(scene.general.id), TIMEOUT_S + 1)


async def test_a_short_outage_is_not_noticed(scene: Scene) -> None:
    scene.sandbox.faults.answer_next(503, path_contains="/channels/")
    assert (await scene.port.channel(scene.general.id)).name == "general"
    scene.sandbox.faults.hang_up(path_contains="/channels/")
    assert (await scene.port.channel(scene.general.id)).name == "general"


async def test_no_answer_is_an_outage_after_the_time_out(scene: Scene) -> None:
    scene.sandbox.faults.delay(30.0, path_contains="/channels/")
    error = await _fails_in_time(scene.port.post(scene.general.id, Notice(text="x")), TIMEOUT_S + 1)
    assert f"no answer within {TIMEOUT_S:g} s" in error.message


async def test_a_server_that_hangs_up_or_is_gone_is_an_outage(scene: Scene) -> None:
    scene.sandbox.faults.hang_up(count=50)
    await _fails_in_time(scene.port.channel(scene.general.id), TIMEOUT_S + 1)
    await scene.sandbox.close()
    await _fails_in_time(scene.port.channel(scene.general.id), TIMEOUT_S + 1)
    attachment = PostedAttachment(
        id=1, name="a", size=1, url=f"{scene.sandbox.world.attachments_base}/attachments/1/1/a"
    )
    await _fails_in_time(scene.port.download(attachment), TIMEOUT_S + 1)


async def test_a_post_whose_answer_is_lost_is_posted_once(scene: Scene) -> None:
    scene.sandbox.faults.hang_up(method="POST", path_contains="/messages", carried_out=True)
    ref = await scene.port.post(scene.general.id, Notice(text="once"))
    assert [(m.id, m.content) for m in scene.general.messages] == [(ref.id, "once")]
    assert scene.sandbox.requests["POST /channels/{channel_id}/messages"] == 2


async def test_creating_a_channel_is_not_repeated_when_nobody_knows_whether_it_was_done(scene: Scene) -> None:
    scene.sandbox.faults.hang_up(method="POST", carried_out=True)
    with pytest.raises(DiscordUnavailable):
        await scene.port.create_channel(scene.guild.id, ChannelPlan(name="new"))
    assert scene.sandbox.requests["POST /guilds/{guild_id}/channels"] == 1


async def test_a_call_given_up_in_a_global_rate_limit_does_not_stop_those_after_it(scene: Scene) -> None:
    wait_s = TIMEOUT_S + 0.5
    scene.sandbox.faults.answer_next(429, retry_after_s=wait_s, is_global=True)
    await _fails_in_time(scene.port.channel(scene.general.id), TIMEOUT_S + 1)
    # The gate opens again when Discord said so, and not only for the call that was given up.
    assert (await scene.port.channel(scene.general.id)).name == "general"


async def test_an_answer_that_makes_no_sense_is_an_outage(scene: Scene) -> None:
    scene.sandbox.conformance = None
    scene.general.channel.name = 5  # type: ignore[assignment]
    scene.general.channel.position = "first"  # type: ignore[assignment]
    with pytest.raises(DiscordUnavailable, match="is not valid"):
        await scene.port.channel(scene.general.id)


async def test_a_mistake_of_our_own_is_not_called_an_outage(scene: Scene) -> None:
    with pytest.raises(TypeError):
        await scene.port.post(scene.general.id, Notice(text=object()))  # type: ignore[arg-type]


def test_every_error_is_of_one_tree() -> None:
    for kind in (DiscordUnavailable, DiscordRefused, DiscordNotFound, DiscordForbidden):
        assert issubclass(kind, DiscordPortError)
