"""PATCH_CHANNEL: what is shown of a patch, what is written down of reactions, and what operators get done by them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from master.cogs._patch_reactions import REFUSALS
from master.events import GatewayConnected
from sandbox import permissions
from tests.cogs.patch_scene import PatchScene, answered


def deny(office: PatchScene, bits: int) -> None:
    """Take permissions from the master."""
    role_id = office.guild.guild.members[office.account.id].role_ids[0]
    office.guild.guild.roles[role_id].permissions &= ~bits
    office.guild.guild.roles[office.guild.id].permissions &= ~bits


async def test_a_patch_is_posted_with_its_file_and_where_to_press(office: PatchScene) -> None:
    await office.connect()
    patch_id = await office.receive(note="faster *ranks*", reload=("ranks", "shop"))
    message = await office.message_of(patch_id)
    (embed,) = message.embeds
    assert embed["title"] == "📥 ranks 1: received"
    assert embed["description"] == r"faster \*ranks\*"
    fields = {field["name"]: field["value"] for field in embed["fields"]}
    assert fields["By"].startswith("ada\nkey: ada\nthrough <@")
    assert fields["Changes"] == "`cogs/ranks.py`\nreloads ranks, shop"
    assert "canary 1, then 25 %, 100 %" in fields["Plan"]
    assert "for every node" in fields["Plan"]
    (file,) = message.attachments
    assert file.filename == "ranks-1.fleetpatch"
    assert file.content.startswith(b"fleetpatch1\n")
    await office.until(lambda: list(message.reactions) == ["✅", "⏸️", "▶️", "⏪"])
    assert await office.services.patch_tracking.of_patch(patch_id) == []


async def test_progress_is_shown_by_edits_the_last_of_which_shows_the_last_state(office: PatchScene) -> None:
    tracker = await office.connect()
    names = [f"node{number}" for number in range(25)]
    ids = await office.add_nodes(*names)
    patch_id = await office.receive(state="rolling")
    message = await office.message_of(patch_id)
    for state in ("ordered", "staged", "applied", "healthy", "good"):
        for node_id in ids:
            await office.put_node(patch_id, node_id, state)
    await office.put_node(patch_id, ids[0], "failed", 'Traceback\n  File "cogs/ranks.py"\nKeyError: `tier`')
    # The sandbox has the last edit before the master knows that it has.
    await office.until(lambda: "KeyError" in str(message.embeds) and tracker.posts.edits > 0)
    fields = {field["name"]: field["value"] for field in message.embeds[0]["fields"]}
    failed, good = fields["Nodes: 25"].split("\n")
    assert failed == "❌ **1** failed: node0"
    assert good.startswith("✅ **24** good: node1, node10, ")
    assert fields["On node0"] == "```py\nTraceback\n  File \"cogs/ranks.py\"\nKeyError: 'tier'\n```"
    # 126 events.
    assert 1 <= tracker.posts.edits <= 12
    assert len(message.attachments) == 1


async def test_reactions_of_people_and_nodes_are_written_down_and_those_of_the_master_not(office: PatchScene) -> None:
    await office.connect()
    (node_id,) = await office.add_nodes("atlas")
    patch_id = await office.receive()
    message = await office.message_of(patch_id)
    await office.eve.reacts(message, "🎉")
    await office.as_bot("atlas").reacts(message, "📦")
    await office.eve.unreacts(message, "🎉")
    found = await office.tracked(patch_id, lambda rows: len(rows) == 3)
    assert [(row.kind, row.user_id, row.node_id, row.emoji) for row in found] == [
        ("reaction", office.eve.id, None, "🎉"),
        ("reaction", office.as_bot("atlas").id, node_id, "📦"),
        ("unreaction", office.eve.id, None, "🎉"),
    ]


async def test_what_came_and_went_while_the_master_was_away_is_read_back(office: PatchScene) -> None:
    await office.connect()
    patch_id = await office.receive()
    message = await office.message_of(patch_id)
    await office.eve.reacts(message, "🎉")
    await office.ben.reacts(message, "👍")
    await office.tracked(patch_id, lambda rows: len(rows) == 2)
    await office.disconnect()
    await office.eve.unreacts(message, "🎉")
    await office.eve.reacts(message, "👎")
    await office.connect()
    found = await office.tracked(patch_id, lambda rows: len(rows) == 4)
    assert [(row.kind, row.user_id, row.emoji, row.detail) for row in found[2:]] == [
        ("unreaction", office.eve.id, "🎉", "read back"),
        ("reaction", office.eve.id, "👎", "read back"),
    ]
    # What is known is not written down again.
    await office.disconnect()
    await office.connect()
    await office.eve.reacts(message, "😀")
    assert len(await office.tracked(patch_id, lambda rows: rows[-1].emoji == "😀")) == 5


async def test_who_is_no_operator_steers_nothing_and_the_reaction_is_taken_off(office: PatchScene) -> None:
    await office.connect()
    patch_id = await office.receive(state="rolling")
    message = await office.message_of(patch_id)
    await office.eve.reacts(message, "⏸️")
    await office.tracked(patch_id, lambda rows: [row.kind for row in rows] == ["reaction", "unreaction"])
    assert office.eve.id not in message.reactions.get("⏸️", [])
    assert await office.audited("patch_pause") == [(f"discord:{office.eve.id}", "refused")]
    assert (await office.services.patches.show(patch_id)).patch.state == "rolling"
    assert len(office.channel.messages) == 1


async def test_an_operator_who_is_none_any_more_is_ignored_also_for_a_reaction_of_before(office: PatchScene) -> None:
    await office.connect()
    patch_id = await office.receive()
    message = await office.message_of(patch_id)
    await office.disconnect()
    await office.ben.reacts(message, "✅")
    office.dismiss(office.ben)
    await office.connect()
    await office.tracked(patch_id, lambda rows: [row.kind for row in rows] == ["reaction", "unreaction"])
    assert await office.audited("patch_approve") == [(f"discord:{office.ben.id}", "refused")]


async def test_without_the_permission_reactions_are_ignored_and_stay(office: PatchScene) -> None:
    deny(office, permissions.MANAGE_MESSAGES)
    tracker = await office.connect()
    patch_id = await office.receive(state="rolling")
    message = await office.message_of(patch_id)
    await office.eve.reacts(message, "⏸️")
    await office.until(lambda: not tracker.reactions._may_take_off)
    for emoji, action in (("▶️", "patch_resume"), ("✅", "patch_approve")):
        await office.eve.reacts(message, emoji)
        while not await office.audited(action):
            pass
    # Tried once, and not for each reaction.
    path = "DELETE /channels/{channel_id}/messages/{message_id}/reactions/{emoji_name}/{user_id}"
    assert office.sandbox.requests[path] == 1
    assert office.eve.id in message.reactions["⏸️"]


async def test_a_request_that_cannot_be_carried_out_is_answered(office: PatchScene) -> None:
    await office.connect()
    patch_id = await office.receive(state="done")
    message = await office.message_of(patch_id)
    await office.ada.reacts(message, "▶️")
    answer = await office.shown(lambda m: m.reference_id == message.id)
    assert answer.content == f"<@{office.ada.id}>"
    assert answer.mentions_user(office.ada.id)
    assert answer.embeds[0]["footer"]["text"] == "patch_not_now"
    await office.until(lambda: office.ada.id not in message.reactions.get("▶️", []))


async def test_rolling_back_is_asked_about_and_others_cannot_answer(office: PatchScene) -> None:
    await office.connect()
    (node_id,) = await office.add_nodes("atlas")
    patch_id = await office.receive(state="done")
    await office.put_node(patch_id, node_id, "good")
    message = await office.message_of(patch_id)
    await office.ada.reacts(message, "⏪")
    question = await office.shown(lambda m: bool(m.components))
    assert question.embeds[0]["title"] == "⏪ Roll ranks 1 back?"
    assert "1 node go" in question.embeds[0]["description"].replace("goes", "go")
    refused = await office.eve.presses(question, "Roll back")
    await refused.wait_until(lambda i: bool(i.embeds))
    assert "may not" in refused.embeds[0]["title"]
    cancelled = await office.ben.presses(question, "Cancel")
    await cancelled.wait_until(lambda i: bool(i.embeds))
    assert question.id not in office.channel.channel.messages
    # It can be asked again.
    await office.until(lambda: office.ada.id not in message.reactions.get("⏪", []))


async def test_a_deleted_message_is_posted_anew_but_not_at_once_again(office: PatchScene) -> None:
    tracker = await office.connect()
    patch_id = await office.receive()
    first = await office.message_of(patch_id)
    await office.eve.reacts(first, "🎉")
    await office.tracked(patch_id, lambda rows: len(rows) == 1)
    tracker.posts._shown[patch_id].posted_at = None
    await office.ada.deletes(first)
    second = await office.message_of(patch_id, other_than=first)
    found = await office.tracked(patch_id, lambda rows: len(rows) == 2)
    assert (found[1].kind, found[1].detail) == ("unreaction", "message deleted")
    await office.ada.deletes(second)
    other = await office.receive()
    await office.message_of(other)
    assert len(office.channel.messages) == 1
    assert tracker.posts._shown[patch_id].due - asyncio.get_running_loop().time() > 50


async def test_a_message_deleted_while_the_master_was_away_is_posted_anew(office: PatchScene) -> None:
    await office.connect()
    patch_id = await office.receive()
    first = await office.message_of(patch_id)
    await office.disconnect()
    await office.ada.deletes(first)
    await office.connect()
    await office.message_of(patch_id, other_than=first)


async def test_a_channel_that_is_gone_is_told_once_and_nothing_else_stops(office: PatchScene) -> None:
    await office.connect()
    patch_id = await office.receive()
    await office.message_of(patch_id)
    told = office.alerts()
    await office.ada.deletes_channel(office.channel)
    await office.until(lambda: bool(told))
    assert told[0].title == "Patches cannot be shown in PATCH_CHANNEL"
    assert "10003" in told[0].text
    await office.receive()
    await office.put_state(patch_id, "done")
    posts = office.sandbox.requests["POST /channels/{channel_id}/messages"]
    # The master's connection begins anew while the services go on: it is tried again, and not told again.
    office.services.bus.publish(GatewayConnected(at=office.services.clock.now()))
    await office.until(lambda: office.sandbox.requests["POST /channels/{channel_id}/messages"] > posts)
    await office.receive()
    assert len(told) == 1


async def test_patches_under_way_are_posted_once_in_the_channel_that_took_the_place(office: PatchScene) -> None:
    channels = permissions.MANAGE_CHANNELS | permissions.MANAGE_ROLES
    office.guild.role_of(office.account).permissions |= channels
    await office.connect()
    rolling = await office.receive(state="rolling")
    long_ago = await office.receive()
    for patch_id in (rolling, long_ago):
        await office.message_of(patch_id)
    await office.put_state(long_ago, "done", finished_at=office.services.clock.now() - timedelta(days=2))
    keeper = office.services.channels.keeper
    await keeper.look()
    await office.ada.deletes_channel(office.channel)
    await keeper.look()
    office.channel = office.successor()
    await office.message_of(rolling)
    await office.message_of(await office.receive(state="done"))
    assert len(office.channel.messages) == 2, "the one of long ago is not posted anew"
    # One that begins finds the next one gone, or another in its place.
    for is_known in (False, True):
        await office.disconnect()
        old = office.channel.id
        await office.ada.deletes_channel(office.channel)
        if is_known:
            new = await office.ada.creates_channel(office.guild, "patches")
            office.services.channels.tools.moves.add(old, new.id)
            office.services.channels.tools.take_effect()
        told = office.alerts()
        await office.connect()
        if not is_known:
            await office.until(lambda told=told: bool(told))  # type: ignore[misc]
            await keeper.look()
        office.channel = office.successor()
        message = await office.message_of(rolling)
        assert ("Patches cannot be shown in PATCH_CHANNEL" in {one.title for one in told}) is not is_known
    await office.put_state(rolling, "paused")
    office.announce(rolling, "paused")
    await office.until(lambda: "paused" in str(message.embeds))
    assert len(office.channel.messages) == 2


async def test_a_channel_without_files_gets_the_patch_without_its_file(office: PatchScene) -> None:
    deny(office, permissions.ATTACH_FILES)
    await office.connect()
    message = await office.message_of(await office.receive())
    assert message.attachments == []


async def test_discord_away_is_a_state_and_what_was_missed_is_shown_later(office: PatchScene) -> None:
    patch_id = await office.receive()
    await office.put_state(patch_id, "done")
    await office.connect()
    message = await office.message_of(patch_id)
    assert message.embeds[0]["title"] == "✅ ranks 1: done"
    await office.disconnect()
    await office.put_state(patch_id, "rolling_back")
    await office.connect()
    await office.until(lambda: "rolling back" in message.embeds[0]["title"])


async def test_with_the_two_person_rule_one_operator_alone_cannot_approve(office: PatchScene) -> None:
    await office.connect()
    patch_id = await office.receive(approvals=2)
    message = await office.message_of(patch_id)
    await office.ada.reacts(message, "✅")
    await office.until(lambda: f"1 of 2: <@{office.ada.id}>" in str(message.embeds))
    assert "It waits for 1 more: `/patch deploy` approves it too" in str(message.embeds)
    await office.ada.unreacts(message, "✅")
    await office.ada.reacts(message, "✅")
    told = await office.shown(lambda m: m.reference_id == message.id)
    assert "you approved ranks 1 before: 1 of 2 have" in told.embeds[0]["title"].lower()
    await office.ben.reacts(message, "✅")
    await office.until(lambda: f"2 of 2: <@{office.ada.id}>, <@{office.ben.id}>" in str(message.embeds))
    assert "Nobody has asked for its roll-out yet: `/patch deploy` begins it." in str(message.embeds)
    ada, ben = f"discord:{office.ada.id}", f"discord:{office.ben.id}"
    assert await office.audited("patch_approve") == [(ben, "done"), (ada, "failed"), (ada, "done")]


async def test_operators_pause_and_go_on_and_can_press_again(office: PatchScene) -> None:
    await office.connect()
    patch_id = await office.receive(state="rolling")
    message = await office.message_of(patch_id)
    for _ in range(2):
        # Discord may write an emoji without the character that asks for its coloured form.
        await office.ada.reacts(message, "⏸")
        await office.until(lambda: "paused" in message.embeds[0]["title"])
        await office.until(lambda: "⏸" not in message.reactions)
        await office.ben.reacts(message, "▶️")
        await office.until(lambda: "rolling out" in message.embeds[0]["title"])
        await office.until(lambda: office.ben.id not in message.reactions.get("▶️", []))
    assert {actor for actor, _ in await office.audited("patch_pause")} == {f"discord:{office.ada.id}"}


async def test_what_an_operator_asked_for_while_the_master_was_away_is_done_when_it_is_back(office: PatchScene) -> None:
    await office.connect()
    patch_id = await office.receive(state="rolling")
    message = await office.message_of(patch_id)
    await office.disconnect()
    await office.ada.reacts(message, "⏸️")
    await office.connect()
    await office.until(lambda: "paused" in message.embeds[0]["title"])
    assert await office.audited("patch_pause") == [(f"discord:{office.ada.id}", "done")]


async def test_rolling_back_is_done_once_another_operator_confirms(office: PatchScene) -> None:
    await office.connect()
    (node_id,) = await office.add_nodes("atlas")
    patch_id = await office.receive(state="done")
    await office.put_node(patch_id, node_id, "good")
    message = await office.message_of(patch_id)
    await office.ada.reacts(message, "⏪")
    question = await office.shown(lambda m: bool(m.components))
    done = await answered(await office.ben.presses(question, "Roll back"))
    assert done.embeds[0]["title"] == "✅ ranks 1: rolling back"
    await office.until(lambda: "rolling back" in message.embeds[0]["title"])
    await office.until(lambda: question.id not in office.channel.channel.messages)
    assert await office.audited("patch_rollback") == [(f"discord:{office.ben.id}", "done")]


async def test_whoever_is_refused_again_and_again_is_not_answered_each_time(office: PatchScene) -> None:
    await office.connect()
    patch_id = await office.receive(state="rolling")
    message = await office.message_of(patch_id)
    for number in range(8):
        await office.eve.reacts(message, "⏸️")
        if number < REFUSALS:
            await office.until(lambda: office.eve.id not in message.reactions.get("⏸️", []))
        else:
            await office.eve.unreacts(message, "⏸️")
    # Each is written down all the same.
    await office.tracked(patch_id, lambda rows: len(rows) == 16)
    assert len(await office.audited("patch_pause")) == REFUSALS
