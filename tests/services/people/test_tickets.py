"""Tickets, as nodes ask for them: what is on record, and what is on Discord."""

from __future__ import annotations

import pytest

from master.cogs._ticket_embeds import details_embed
from master.configuration.settings import TicketRoleLimits, TicketSettings
from master.events import GatewayConnected
from master.services.core.ticket_views import form_of
from master.services.people import ticket_desk, ticket_tools
from master.terminal.tickets import details_lines
from sandbox import permissions
from sandbox.records import Overwrite, Role
from tests.services.people.ticket_house import TicketHouse, category, desk

__all__ = ["desk"]


async def test_a_ticket_is_opened_claimed_closed_reopened_and_deleted_and_its_permissions_follow(
    desk: TicketHouse,
) -> None:
    atlas, eve, sam, tom = desk.atlas, desk.eve, desk.sam, desk.tom
    opened = await atlas.opens(eve, text="My bot is red", answers=("since today",))
    channel = desk.channel(opened)
    assert (channel.name, channel.parent_id) == ("ticket-0001", desk.place.id)
    assert [desk.may(one, opened) for one in (eve, sam, tom, desk.max)] == ["rw", "rw", "rw", ""]
    answer = await atlas.asks("claim", ticket_id=opened.id, actor_id=sam.id)
    assert answer.tickets[0].claimed_by == sam.id
    # Claimed: who claimed it and its author write, the rest of the staff reads.
    assert [desk.may(one, opened) for one in (eve, sam, tom)] == ["rw", "rw", "r"]
    again = await atlas.asks("claim", ticket_id=opened.id, actor_id=tom.id)
    assert (again.done, again.code) == (False, "claimed")
    await atlas.asks("transfer", ticket_id=opened.id, actor_id=sam.id, subject_id=tom.id)
    assert [desk.may(one, opened) for one in (eve, sam, tom)] == ["rw", "r", "rw"]
    await atlas.asks("priority", ticket_id=opened.id, actor_id=tom.id, text="urgent")
    await atlas.asks("topic", ticket_id=opened.id, actor_id=eve.id, text="It is green again")
    shown = (await atlas.asks("list", ticket_id=opened.id)).tickets[0]
    assert (shown.priority, shown.topic, shown.claimed_by) == ("urgent", "It is green again", tom.id)
    # Neither is on the channel: Discord lets names and topics be edited twice in ten minutes.
    assert channel.name == "ticket-0001"
    assert channel.topic == f"Ticket 1 ({opened.id})"
    closed = await atlas.asks("close", ticket_id=opened.id, actor_id=eve.id, text="solved")
    assert closed.code == "closed"
    assert [desk.may(one, opened) for one in (eve, sam, tom)] == ["r", "r", "r"]
    assert (await desk.ticket(opened)).reason == "solved"
    # A node that has not heard the answer asks again; nothing happens twice.
    again = await atlas.asks("close", ticket_id=opened.id, actor_id=eve.id, text="solved twice")
    assert (again.done, again.code, again.tickets[0].reason) == (True, "closed", "solved")
    reopened = await atlas.asks("reopen", ticket_id=opened.id, actor_id=sam.id)
    assert reopened.code == "open"
    assert desk.may(eve, opened) == "rw"
    early = await atlas.asks("delete", ticket_id=opened.id, actor_id=sam.id)
    assert (early.done, early.code) == (False, "is_open")
    await atlas.asks("close", ticket_id=opened.id, actor_id=eve.id)
    deleted = await atlas.asks("delete", ticket_id=opened.id, actor_id=sam.id)
    assert deleted.code == "deleted"
    assert channel.id not in desk.sandbox.world.channels
    assert [event.what for event in desk.events if event.ticket_id == opened.id] == [
        *("opening", "opened", "claimed", "transferred", "priority", "topic", "closing", "closed", "reopened"),
        *("closing", "closed", "deleting", "deleted"),
    ]


async def test_who_may_not_does_not(desk: TicketHouse) -> None:
    opened = await desk.atlas.opens(desk.eve)
    for action, person, code in (
        ("claim", desk.eve, "not_staff"),
        ("claim", desk.stranger, "not_staff"),
        ("priority", desk.eve, "not_staff"),
        ("topic", desk.max, "not_staff"),
        ("close", desk.max, "not_staff"),
        ("delete", desk.sam, "is_open"),
        ("release", desk.eve, "not_staff"),
    ):
        answer = await desk.atlas.asks(action, ticket_id=opened.id, actor_id=person.id, text="urgent")
        assert (answer.done, answer.code) == (False, code), action
    assert (await desk.atlas.asks("open", actor_id=desk.stranger.id, category="support")).code == "not_a_member"
    assert (await desk.atlas.asks("open", actor_id=desk.eve.id, category="nothing")).code == "no_such_category"
    assert (await desk.atlas.asks("open", actor_id=desk.eve.id, category="borealis-only")).code == "no_such_category"
    assert [one.name for one in (await desk.atlas.asks("categories")).categories] == ["support", "threads"]
    # Another node's ticket is none.
    for action in ("claim", "close", "list", "touch", "delete"):
        foreign = await desk.borealis.asks(action, ticket_id=opened.id, actor_id=desk.sam.id)
        assert (foreign.done, foreign.code) == (False, "not_your_ticket"), action
    assert (await desk.borealis.asks("list")).tickets == ()


async def test_one_person_has_so_many_open_and_so_many_a_day(desk: TicketHouse) -> None:
    desk.update(categories=category(desk, most_open_each=2, most_a_day=3))
    first = await desk.atlas.opens(desk.eve)
    await desk.atlas.opens(desk.eve)
    assert (await desk.atlas.asks("open", actor_id=desk.eve.id, category="support")).code == "too_many_open"
    await desk.atlas.asks("close", ticket_id=first.id, actor_id=desk.eve.id)
    third = await desk.atlas.opens(desk.eve)
    await desk.atlas.asks("close", ticket_id=third.id, actor_id=desk.eve.id)
    assert (await desk.atlas.asks("open", actor_id=desk.eve.id, category="support")).code == "too_many_today"
    # Others, and staff, are not counted with her.
    for _ in range(4):
        await desk.atlas.opens(desk.sam)
    await desk.later(hours=25)
    await desk.atlas.opens(desk.eve)


async def test_many_tickets_at_once_are_no_flood(desk: TicketHouse) -> None:
    desk.update(
        requests_a_minute=TicketSettings().requests_a_minute,
        categories=category(desk, most_open_each=50, most_a_day=100),
    )
    atlas, sam = desk.atlas, desk.sam
    # What the template's cog asks from the form to the transcript; 20 tickets at once made 133 requests in 7 s.
    for _ in range(12):
        opened = await atlas.opens(desk.eve)
        for action in ("claim", "touch", "priority", "topic", "list", "close"):
            answer = await atlas.asks(action, ticket_id=opened.id, actor_id=sam.id, text="high")
            assert answer.code != "too_often", action


async def test_a_list_has_what_is_open_first_and_ones_own_however_many_there_are(desk: TicketHouse) -> None:
    desk.update(categories=category(desk, most_a_day=100))
    first = await desk.atlas.opens(desk.eve)
    others = [await desk.atlas.opens(desk.sam, text="x" * 200) for _ in range(16)]
    await desk.atlas.asks("close", ticket_id=others[-1].id, actor_id=desk.sam.id)
    every = await desk.atlas.asks("list")
    listed = [one.id for one in every.tickets]
    assert (every.position, first.id in listed, others[-1].id in listed) == (17 - len(listed), False, False)
    mine = await desk.atlas.asks("list", subject_id=desk.eve.id)
    assert ([one.id for one in mine.tickets], mine.position) == ([first.id], 0)


async def test_the_answers_of_a_form_are_shown_with_their_questions(desk: TicketHouse) -> None:
    desk.update(categories=category(desk, questions=("What is it about?", "Since *when*?")))
    opened = await desk.atlas.opens(desk.eve, answers=("My bot is red", "today", "1.2"))
    found = await desk.ticketing.showing.show(str(opened.number))
    form = [("What is it about?", "My bot is red"), ("Since *when*?", "today"), ("Question 3", "1.2")]
    assert form_of(found) == form
    shown = "\n".join(line.plain for line in details_lines(found, width=80))
    assert "  Since *when*?\n    today" in shown
    (field,) = [one for one in details_embed(desk.settings, found).fields if one.name == "Form"]
    assert "**Since \\*when\\*?** today" in str(field.value)


async def test_roles_have_limits_of_their_own_and_the_highest_counts(desk: TicketHouse) -> None:
    patrons, muted = desk.guild.create_role("patrons"), desk.guild.create_role("muted")
    limits = (TicketRoleLimits(role_id=patrons.id, most_open=2), TicketRoleLimits(role_id=muted.id, most_open=0))
    desk.update(categories=category(desk, most_open_each=1, most_a_day=3, limits_by_role=limits))

    def give(*roles: Role) -> None:
        members = desk.guild.guild
        desk.sandbox.world.set_member_roles(members, members.members[desk.eve.id], [role.id for role in roles])

    async def asks() -> str:
        return (await desk.atlas.asks("open", actor_id=desk.eve.id, category="support")).code

    give(muted)
    assert await asks() == "not_allowed"
    give()
    assert [await asks(), await asks()] == ["open", "too_many_open"]
    # The master asks Discord each time: a role counts from the next press on, and a node has no say in it.
    give(muted, patrons)
    assert [await asks(), await asks()] == ["open", "too_many_open"]
    desk.update(categories=category(desk, limits_by_role=(TicketRoleLimits(role_id=patrons.id, most_open=9),)))
    assert [await asks(), await asks()] == ["open", "too_many_today"]
    more = (TicketRoleLimits(role_id=patrons.id, most_open=9, most_a_day=4),)
    desk.update(categories=category(desk, limits_by_role=more))
    assert await asks() == "open"


async def test_a_full_category_is_a_queue_and_whoever_is_first_is_let_in_first(desk: TicketHouse) -> None:
    world = desk.sandbox.world
    fillers = [world.create_channel(desk.guild.guild, f"old-{n}", parent_id=desk.place.id) for n in range(50)]
    waiting = []
    for place, person in enumerate((desk.eve, desk.max, desk.sam), start=1):
        answer = await desk.atlas.asks("open", actor_id=person.id, category="support")
        assert (answer.done, answer.code, answer.position) == (True, "queued", place)
        waiting.append(answer.tickets[0])
    given_up = await desk.atlas.asks("close", ticket_id=waiting[1].id, actor_id=desk.max.id)
    assert given_up.done
    assert (await desk.atlas.asks("list", ticket_id=waiting[2].id)).position == 2
    world.delete_channel(fillers[0])
    await desk.ticketing.work.channel_gone(fillers[0].id)
    await desk.later()
    assert (await desk.ticket(waiting[0])).state == "open"
    assert (await desk.ticket(waiting[1])).state == "deleted"
    assert (await desk.atlas.asks("list", ticket_id=waiting[2].id)).position == 1
    # Nobody slips past those who wait.
    world.delete_channel(fillers[1])
    late = await desk.atlas.asks("open", actor_id=desk.max.id, category="support")
    assert (late.code, late.position) == ("queued", 2)
    await desk.later()
    assert (await desk.ticket(waiting[2])).state == "open"
    assert (await desk.atlas.asks("list", ticket_id=late.tickets[0].id)).position == 1


async def test_a_stale_ticket_is_warned_of_and_closed_unless_somebody_writes(desk: TicketHouse) -> None:
    quiet, busy = await desk.atlas.opens(desk.eve), await desk.atlas.opens(desk.max)
    await desk.later(hours=49)
    assert [bool((await desk.ticket(one)).warned_at) for one in (quiet, busy)] == [True, True]
    (warning,) = desk.channel(quiet).messages.values()
    assert f"<@{desk.eve.id}>" in warning.content
    assert "closed <t:" in warning.content
    await desk.atlas.asks("touch", ticket_id=busy.id)
    await desk.later(hours=25)
    assert [(await desk.ticket(one)).state for one in (quiet, busy)] == ["closed", "open"]
    assert desk.may(desk.eve, quiet) == "r"


async def test_a_channel_that_is_deleted_by_hand_ends_its_ticket(desk: TicketHouse) -> None:
    told, found = await desk.atlas.opens(desk.eve), await desk.atlas.opens(desk.max)
    world = desk.sandbox.world
    for view in (told, found):
        world.delete_channel(desk.channel(view))
    await desk.ticketing.work.channel_gone(told.channel_id)
    assert (await desk.ticket(told)).state == "deleted"
    # And one that was deleted while nobody listened, once the master looks.
    await desk.later(minutes=10)
    ended = await desk.ticket(found)
    assert (ended.state, ended.channel_id, ended.reason) == ("deleted", None, "its channel is gone")


async def test_strays_are_taken_out_and_what_is_missing_comes_back(desk: TicketHouse) -> None:
    opened = await desk.atlas.opens(desk.eve)
    overwrites = desk.channel(opened).overwrites
    before = dict(overwrites)
    overwrites[desk.max.id] = Overwrite(desk.max.id, 1, permissions.VIEW_CHANNEL | permissions.SEND_MESSAGES, 0)
    overwrites[desk.eve.id] = Overwrite(desk.eve.id, 1, 0, 0)
    del overwrites[desk.guild.id]
    assert desk.may(desk.max, opened) == "rw"
    await desk.later(minutes=10)
    assert desk.may(desk.max, opened) == ""
    assert {key: (one.allow, one.deny) for key, one in overwrites.items()} == {
        key: (one.allow, one.deny) for key, one in before.items()
    }
    (alert,) = [one for one in desk.alerts if "not as they should be" in one.title]
    assert f"<@{desk.max.id}> taken out" in alert.fields[0][1]
    # Roles that an operator lets in by hand stay.
    guest = desk.guild.create_role("guests")
    overwrites[guest.id] = Overwrite(guest.id, 0, permissions.VIEW_CHANNEL, 0)
    await desk.later(minutes=10)
    assert guest.id in overwrites


async def test_tickets_in_private_threads_have_members_instead_of_overwrites(desk: TicketHouse) -> None:
    opened = await desk.atlas.opens(desk.eve, "threads")
    thread = desk.channel(opened)
    assert (thread.type, thread.name, thread.parent_id) == (12, "ticket-0001", desk.room.id)
    assert thread.thread_members == {desk.bot.id, desk.eve.id, desk.atlas.node.bot_user_id}
    await desk.atlas.asks("claim", ticket_id=opened.id, actor_id=desk.sam.id)
    assert desk.sam.id in thread.thread_members
    refused = await desk.atlas.asks_for(opened.id, desk.max, permission_set="observer", actor_id=desk.sam.id)
    assert refused.code == "not_in_threads"
    granted = await desk.atlas.asks_for(opened.id, desk.max, actor_id=desk.sam.id)
    assert granted.granted
    assert desk.max.id in thread.thread_members
    await desk.atlas.asks_for(opened.id, desk.max, action="revoke")
    assert desk.max.id not in thread.thread_members
    closed = await desk.atlas.asks("close", ticket_id=opened.id, actor_id=desk.eve.id)
    assert closed.code == "closed"
    assert (thread.archived, thread.locked) == (True, True)
    await desk.atlas.asks("reopen", ticket_id=opened.id, actor_id=desk.eve.id)
    assert (thread.archived, thread.locked) == (False, False)


async def test_what_is_missing_is_said_at_the_start_and_not_at_the_first_ticket(desk: TicketHouse) -> None:
    assert {one.category: one.verdict for one in await desk.ticketing.check.look()} == {
        "support": "ok",
        "threads": "ok",
        "borealis-only": "ok",
    }
    role = next(role for role in desk.guild.guild.roles.values() if role.name == "Fleetmaster")
    role.permissions &= ~(permissions.MANAGE_ROLES | permissions.MANAGE_MESSAGES)
    found = {one.category: one for one in await desk.ticketing.check.look()}
    assert found["support"].verdict == "fail"
    assert found["support"].detail == "the master lacks Manage Messages, Manage Roles in tickets"
    assert found["threads"].verdict == "ok"
    for _ in range(2):
        desk.house.services.bus.publish(GatewayConnected(at=desk.clock.now()))
        await desk.ticketing.upkeep.step()
    told = [one for one in desk.alerts if one.key == "tickets:check"]
    assert len(told) == 1
    assert "Manage Roles in tickets" in told[0].text
    desk.update(categories=category(desk, channel_id=1, staff_roles=frozenset()))
    found = {one.category: one for one in await desk.ticketing.check.look()}
    assert found["support"].detail == "its channel 1 is gone"
    gone = (TicketRoleLimits(role_id=10**17, most_open=2),)
    desk.update(categories=category(desk, channel_id=desk.place.id, staff_roles={desk.staff.id}, limits_by_role=gone))
    role.permissions |= permissions.MANAGE_ROLES | permissions.MANAGE_MESSAGES
    found = {one.category: one for one in await desk.ticketing.check.look()}
    assert found["support"].detail == f"a role with limits of its own, {10**17}, is gone"


@pytest.mark.parametrize("way", ["never", "lost"])
async def test_discord_away_in_the_middle_of_an_opening_makes_one_channel(desk: TicketHouse, way: str) -> None:
    faults = desk.sandbox.faults
    if way == "never":
        faults.answer_next(503, count=1, method="POST", path_contains="/channels")
    else:
        faults.cut_off(count=1, method="POST", path_contains="/channels")
    answer = await desk.atlas.asks("open", actor_id=desk.eve.id, category="support")
    assert (answer.done, answer.code) == (True, "waiting"), answer
    assert (await desk.ticket(answer.tickets[0])).state == "opening"
    await desk.later(seconds=10)
    assert (await desk.ticket(answer.tickets[0])).state == "open"
    assert [one.name for one in desk.sandbox.world.channels.values()].count("ticket-0001") == 1


async def test_a_refusal_of_discord_is_said_with_the_permission_and_costs_no_place(desk: TicketHouse) -> None:
    desk.update(categories=category(desk, most_a_day=1))
    role = next(role for role in desk.guild.guild.roles.values() if role.name == "Fleetmaster")
    role.permissions &= ~permissions.MANAGE_CHANNELS
    answer = await desk.atlas.asks("open", actor_id=desk.eve.id, category="support")
    assert (answer.done, answer.code) == (False, "forbidden")
    assert "Manage Channels" in answer.reason
    role.permissions |= permissions.MANAGE_CHANNELS
    await desk.atlas.opens(desk.eve)


@pytest.mark.slow
async def test_an_outage_of_discord_costs_no_ticket_and_no_step(
    desk: TicketHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket_desk, "ANSWER_WITHIN_S", 0.2)
    monkeypatch.setattr(ticket_tools, "ROLES_WITHIN_S", 0.2)
    first, second = await desk.atlas.opens(desk.eve), await desk.atlas.opens(desk.max)
    async with desk.sandbox.faults.outage():
        closing = await desk.atlas.asks("close", ticket_id=first.id)
        assert (closing.done, closing.code) == (True, "closing")
        deleting = await desk.atlas.asks("close", ticket_id=second.id)
        assert deleting.done
        # Nobody can say whether she is staff now.
        assert (await desk.atlas.asks("claim", ticket_id=first.id, actor_id=desk.sam.id)).code == "unavailable"
        assert (await desk.atlas.asks("open", actor_id=desk.eve.id, category="support")).code == "unavailable"
        assert desk.may(desk.eve, first) == "rw"
        await desk.ticketing.upkeep.step()
        assert [(await desk.ticket(one)).state for one in (first, second)] == ["closing", "closing"]
    await desk.later()
    assert [(await desk.ticket(one)).state for one in (first, second)] == ["closed", "closed"]
    assert [desk.may(*one) for one in ((desk.eve, first), (desk.max, second))] == ["r", "r"]


async def test_when_the_server_is_gone_nothing_is_forgotten(desk: TicketHouse) -> None:
    opened = await desk.atlas.opens(desk.eve)
    member = desk.guild.guild.members.pop(desk.bot.id)
    answer = await desk.atlas.asks("open", actor_id=desk.max.id, category="support")
    assert (answer.done, answer.code) == (False, "unavailable")
    await desk.later(minutes=10)
    assert (await desk.ticket(opened)).state == "open"
    # Invited again, it goes on.
    desk.guild.guild.members[desk.bot.id] = member
    closed = await desk.atlas.asks("close", ticket_id=opened.id, actor_id=desk.eve.id)
    assert closed.code == "closed"
