"""PATCH_CHANNEL: what is shown of a patch, what is written down of reactions, and what operators get done by them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from master.bot import connection as connection_module
from master.cogs import _patch_posts
from master.events import GatewayConnected
from nodekit.endpoints import apply_endpoints
from sandbox import Sandbox, permissions
from tests.cogs.patch_scene import PatchScene, open_scene, settings_for
from tests.services.conftest import settings_in

MASTERS = permissions.EVERYONE_DEFAULT | permissions.MANAGE_MESSAGES


@pytest.fixture
async def scene(
    tmp_path: Path, sandbox: Sandbox, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PatchScene]:
    monkeypatch.setattr(connection_module, "RETRY_FIRST_S", 0.05)
    monkeypatch.setattr(_patch_posts, "MIN_EDIT_INTERVAL_S", 0.3)
    ada, ben, eve = (sandbox.create_human(name) for name in ("ada", "ben", "eve"))
    guild = sandbox.create_guild("HQ", ada)
    for person in (ben, eve):
        guild.add_member(person)
    account = sandbox.create_bot("Fleetmaster")
    guild.add_bot(account, bits=MASTERS)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    channel = guild.create_channel("patches")
    base = settings_in(tmp_path, sandbox, empty_ledger)
    settings = settings_for(base, guild, channel, frozenset({ada.id, ben.id}))
    async with open_scene(settings, sandbox, (ada, ben, eve), guild, account) as opened:
        yield opened


def deny(scene: PatchScene, bits: int) -> None:
    """Take permissions from the master."""
    role_id = scene.guild.guild.members[scene.account.id].role_ids[0]
    scene.guild.guild.roles[role_id].permissions &= ~bits
    scene.guild.guild.roles[scene.guild.id].permissions &= ~bits


async def test_a_patch_is_posted_with_its_file_and_where_to_press(scene: PatchScene) -> None:
    await scene.connect()
    patch_id = await scene.receive(note="faster *ranks*", reload=("ranks", "shop"))
    message = await scene.message_of(patch_id)
    (embed,) = message.embeds
    assert embed["title"] == "📥 ranks 1: received"
    assert embed["description"] == r"faster \*ranks\*"
    fields = {field["name"]: field["value"] for field in embed["fields"]}
    assert fields["By"].startswith("ada\nkey: SHA256:x\nthrough <@")
    assert fields["Changes"] == "`cogs/ranks.py`\nreloads ranks, shop"
    assert "canary 1, then 25 %, 100 %" in fields["Plan"]
    assert "for every node" in fields["Plan"]
    (file,) = message.attachments
    assert file.filename == "ranks-1.fleetpatch"
    assert file.content.startswith(b"fleetpatch1\n")
    await scene.until(lambda: list(message.reactions) == ["✅", "⏸️", "▶️", "⏪"])
    assert await scene.services.patch_tracking.of_patch(patch_id) == []


async def test_progress_is_shown_by_edits_the_last_of_which_shows_the_last_state(scene: PatchScene) -> None:
    tracker = await scene.connect()
    names = [f"node{number}" for number in range(25)]
    ids = await scene.add_nodes(*names)
    patch_id = await scene.receive(state="rolling")
    message = await scene.message_of(patch_id)
    for state in ("ordered", "staged", "applied", "healthy", "good"):
        for node_id in ids:
            await scene.put_node(patch_id, node_id, state)
    await scene.put_node(patch_id, ids[0], "failed", 'Traceback\n  File "cogs/ranks.py"\nKeyError: `tier`')
    await scene.until(lambda: "KeyError" in str(message.embeds))
    fields = {field["name"]: field["value"] for field in message.embeds[0]["fields"]}
    failed, good = fields["Nodes: 25"].split("\n")
    assert failed == "❌ **1** failed: node0"
    assert good.startswith("✅ **24** good: node1, node10, ")
    assert fields["On node0"] == "```py\nTraceback\n  File \"cogs/ranks.py\"\nKeyError: 'tier'\n```"
    # 126 events.
    assert 1 <= tracker.posts.edits <= 12
    assert len(message.attachments) == 1


async def test_reactions_of_people_and_nodes_are_written_down_and_those_of_the_master_not(scene: PatchScene) -> None:
    await scene.connect()
    (node_id,) = await scene.add_nodes("atlas")
    patch_id = await scene.receive()
    message = await scene.message_of(patch_id)
    await scene.eve.reacts(message, "🎉")
    await scene.as_bot("atlas").reacts(message, "📦")
    await scene.eve.unreacts(message, "🎉")
    found = await scene.tracked(patch_id, lambda rows: len(rows) == 3)
    assert [(row.kind, row.user_id, row.node_id, row.emoji) for row in found] == [
        ("reaction", scene.eve.id, None, "🎉"),
        ("reaction", scene.as_bot("atlas").id, node_id, "📦"),
        ("unreaction", scene.eve.id, None, "🎉"),
    ]


async def test_what_came_and_went_while_the_master_was_away_is_read_back(scene: PatchScene) -> None:
    await scene.connect()
    patch_id = await scene.receive()
    message = await scene.message_of(patch_id)
    await scene.eve.reacts(message, "🎉")
    await scene.ben.reacts(message, "👍")
    await scene.tracked(patch_id, lambda rows: len(rows) == 2)
    await scene.disconnect()
    await scene.eve.unreacts(message, "🎉")
    await scene.eve.reacts(message, "👎")
    await scene.connect()
    found = await scene.tracked(patch_id, lambda rows: len(rows) == 4)
    assert [(row.kind, row.user_id, row.emoji, row.detail) for row in found[2:]] == [
        ("unreaction", scene.eve.id, "🎉", "read back"),
        ("reaction", scene.eve.id, "👎", "read back"),
    ]
    # What is known is not written down again.
    await scene.disconnect()
    await scene.connect()
    await scene.eve.reacts(message, "😀")
    assert len(await scene.tracked(patch_id, lambda rows: rows[-1].emoji == "😀")) == 5


async def test_who_is_no_operator_steers_nothing_and_the_reaction_is_taken_off(scene: PatchScene) -> None:
    await scene.connect()
    patch_id = await scene.receive(state="rolling")
    message = await scene.message_of(patch_id)
    await scene.eve.reacts(message, "⏸️")
    await scene.tracked(patch_id, lambda rows: [row.kind for row in rows] == ["reaction", "unreaction"])
    assert scene.eve.id not in message.reactions.get("⏸️", [])
    assert await scene.audited("patch_pause") == [(f"discord:{scene.eve.id}", "refused")]
    assert (await scene.services.patches.show(patch_id)).patch.state == "rolling"
    assert len(scene.channel.messages) == 1


async def test_an_operator_who_is_none_any_more_is_ignored_also_for_a_reaction_of_before(scene: PatchScene) -> None:
    await scene.connect()
    patch_id = await scene.receive()
    message = await scene.message_of(patch_id)
    await scene.disconnect()
    await scene.ben.reacts(message, "✅")
    scene.dismiss(scene.ben)
    await scene.connect()
    await scene.tracked(patch_id, lambda rows: [row.kind for row in rows] == ["reaction", "unreaction"])
    assert await scene.audited("patch_approve") == [(f"discord:{scene.ben.id}", "refused")]


async def test_without_the_permission_reactions_are_ignored_and_stay(scene: PatchScene) -> None:
    deny(scene, permissions.MANAGE_MESSAGES)
    await scene.connect()
    patch_id = await scene.receive(state="rolling")
    message = await scene.message_of(patch_id)
    await scene.eve.reacts(message, "⏸️")
    while not await scene.audited("patch_pause"):
        pass
    await scene.eve.reacts(message, "▶️")
    while not await scene.audited("patch_resume"):
        pass
    # Tried once, and not for each reaction.
    path = "DELETE /channels/{channel_id}/messages/{message_id}/reactions/{emoji_name}/{user_id}"
    assert scene.sandbox.requests[path] == 1
    assert scene.eve.id in message.reactions["⏸️"]


async def test_a_request_that_cannot_be_carried_out_is_answered(scene: PatchScene) -> None:
    await scene.connect()
    patch_id = await scene.receive(state="done")
    message = await scene.message_of(patch_id)
    await scene.ada.reacts(message, "▶️")
    answer = await scene.shown(lambda m: m.reference_id == message.id)
    assert answer.content == f"<@{scene.ada.id}>"
    assert answer.mentions_user(scene.ada.id)
    assert answer.embeds[0]["footer"]["text"] == "patch_not_now"
    await scene.until(lambda: scene.ada.id not in message.reactions.get("▶️", []))


async def test_rolling_back_is_asked_about_and_others_cannot_answer(scene: PatchScene) -> None:
    await scene.connect()
    (node_id,) = await scene.add_nodes("atlas")
    patch_id = await scene.receive(state="done")
    await scene.put_node(patch_id, node_id, "good")
    message = await scene.message_of(patch_id)
    await scene.ada.reacts(message, "⏪")
    question = await scene.shown(lambda m: bool(m.components))
    assert question.embeds[0]["title"] == "⏪ Roll ranks 1 back?"
    assert "1 node go" in question.embeds[0]["description"].replace("goes", "go")
    refused = await scene.eve.presses(question, "Roll back")
    await refused.wait_until(lambda i: bool(i.embeds))
    assert "may not" in refused.embeds[0]["title"]
    cancelled = await scene.ben.presses(question, "Cancel")
    await cancelled.wait_until(lambda i: bool(i.embeds))
    assert question.id not in scene.channel.channel.messages
    # It can be asked again.
    await scene.until(lambda: scene.ada.id not in message.reactions.get("⏪", []))


async def test_a_deleted_message_is_posted_anew_but_not_at_once_again(scene: PatchScene) -> None:
    tracker = await scene.connect()
    patch_id = await scene.receive()
    first = await scene.message_of(patch_id)
    await scene.eve.reacts(first, "🎉")
    await scene.tracked(patch_id, lambda rows: len(rows) == 1)
    tracker.posts._shown[patch_id].posted_at = None
    await scene.ada.deletes(first)
    second = await scene.message_of(patch_id, other_than=first)
    found = await scene.tracked(patch_id, lambda rows: len(rows) == 2)
    assert (found[1].kind, found[1].detail) == ("unreaction", "message deleted")
    await scene.ada.deletes(second)
    other = await scene.receive()
    await scene.message_of(other)
    assert len(scene.channel.messages) == 1
    assert tracker.posts._shown[patch_id].due - asyncio.get_running_loop().time() > 50


async def test_a_message_deleted_while_the_master_was_away_is_posted_anew(scene: PatchScene) -> None:
    await scene.connect()
    patch_id = await scene.receive()
    first = await scene.message_of(patch_id)
    await scene.disconnect()
    await scene.ada.deletes(first)
    await scene.connect()
    await scene.message_of(patch_id, other_than=first)


async def test_a_channel_that_is_gone_is_told_once_and_nothing_else_stops(scene: PatchScene) -> None:
    await scene.connect()
    patch_id = await scene.receive()
    await scene.message_of(patch_id)
    told = scene.alerts()
    await scene.ada.deletes_channel(scene.channel)
    await scene.until(lambda: bool(told))
    assert told[0].title == "Patches cannot be shown in PATCH_CHANNEL"
    assert "10003" in told[0].text
    await scene.receive()
    await scene.put_state(patch_id, "done")
    posts = scene.sandbox.requests["POST /channels/{channel_id}/messages"]
    # The master's connection begins anew while the services go on: it is tried again, and not told again.
    scene.services.bus.publish(GatewayConnected(at=scene.services.clock.now()))
    await scene.until(lambda: scene.sandbox.requests["POST /channels/{channel_id}/messages"] > posts)
    await scene.receive()
    assert len(told) == 1


async def test_a_channel_without_files_gets_the_patch_without_its_file(scene: PatchScene) -> None:
    deny(scene, permissions.ATTACH_FILES)
    await scene.connect()
    message = await scene.message_of(await scene.receive())
    assert message.attachments == []


async def test_discord_away_is_a_state_and_what_was_missed_is_shown_later(scene: PatchScene) -> None:
    patch_id = await scene.receive()
    await scene.put_state(patch_id, "done")
    await scene.connect()
    message = await scene.message_of(patch_id)
    assert message.embeds[0]["title"] == "✅ ranks 1: done"
    await scene.disconnect()
    await scene.put_state(patch_id, "rolling_back")
    await scene.connect()
    await scene.until(lambda: "rolling back" in message.embeds[0]["title"])
