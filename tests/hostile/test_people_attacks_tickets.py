"""Attacks on tickets by those who may use them: members, authors, former staff, and a node that tells the truth.

What a node does that lies is in ``test_hostile_tickets.py``.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from msgspec.structs import replace

from master.services.people.ticket_errors import NoSuchTicket
from tests.hostile.effort import rounds
from tests.services.conftest import house_settings
from tests.services.people.ticket_house import TicketHouse, category, desk

__all__ = ["desk", "house_settings"]

pytestmark = pytest.mark.timeout(120)
_PUBLIC_THREAD, _PRIVATE_THREAD = 11, 12


async def test_an_author_does_not_reopen_more_tickets_than_may_be_open(desk: TicketHouse) -> None:
    desk.update(categories=category(desk, most_open_each=1, most_a_day=5))
    views = []
    for _ in range(3):
        views.append(await desk.atlas.opens(desk.eve))
        assert (await desk.atlas.asks("close", ticket_id=views[-1].id, actor_id=desk.eve.id)).done
    answers = [await desk.atlas.asks("reopen", ticket_id=view.id, actor_id=desk.eve.id) for view in views]
    assert [answer.code for answer in answers] == ["open", "too_many_open", "too_many_open"]
    # Of the staff's judgement it is none's.
    assert (await desk.atlas.asks("reopen", ticket_id=views[1].id, actor_id=desk.sam.id)).code == "open"


async def test_one_who_presses_again_and_again_does_not_shut_out_the_others(desk: TicketHouse) -> None:
    desk.update(requests_a_minute=60)
    opened = await desk.atlas.opens(desk.max)
    answers = [await desk.atlas.asks("claim", ticket_id=opened.id, actor_id=desk.eve.id) for _ in range(100)]
    assert Counter(answer.code for answer in answers) == {"not_staff": 20, "too_often": 80}
    assert (await desk.atlas.asks("open", actor_id=desk.tom.id, category="support")).code == "open"
    assert not [alert for alert in desk.alerts if alert.is_security], "it is the person's doing, and not the node's"


async def test_whom_the_staff_let_in_others_do_not_take_out(desk: TicketHouse) -> None:
    opened, other = await desk.atlas.opens(desk.eve), desk.sandbox.create_human("other")
    desk.guild.add_member(other)
    for who in (desk.max, other):
        assert (await desk.atlas.asks_for(opened.id, who, actor_id=desk.sam.id)).granted
    for who in (desk.max, desk.eve):
        answer = await desk.atlas.asks_for(opened.id, other, action="revoke", actor_id=who.id)
        assert answer.code == "not_staff"
    assert desk.may(other, opened) == "rw"
    # Who wants to go, goes; and the staff takes out whom it likes.
    assert (await desk.atlas.asks_for(opened.id, desk.max, action="revoke", actor_id=desk.max.id)).code == "revoked"
    assert (await desk.atlas.asks_for(opened.id, other, action="revoke", actor_id=desk.tom.id)).code == "revoked"
    assert (desk.may(desk.max, opened), desk.may(other, opened)) == ("", "")


async def test_who_is_no_longer_of_the_staff_is_out_of_what_they_claimed(desk: TicketHouse) -> None:
    opened, kept = await desk.atlas.opens(desk.eve), await desk.atlas.opens(desk.max)
    thread, over = await desk.atlas.opens(desk.max, "threads"), await desk.atlas.opens(desk.tom)
    assert (await desk.atlas.asks("claim", ticket_id=over.id, actor_id=desk.sam.id)).done
    assert (await desk.atlas.asks("close", ticket_id=over.id, actor_id=desk.sam.id)).done
    for view, who in ((opened, desk.sam), (thread, desk.sam), (kept, desk.tom)):
        assert (await desk.atlas.asks("claim", ticket_id=view.id, actor_id=who.id)).done
    assert (await desk.atlas.asks_for(kept.id, desk.sam, permission_set="participant", actor_id=desk.tom.id)).granted
    desk.sandbox.world.set_member_roles(desk.guild.guild, desk.guild.guild.members[desk.sam.id], [])
    await desk.later(minutes=6)
    assert desk.may(desk.sam, opened) == ""
    assert desk.sam.id not in desk.channel(thread).thread_members
    assert (await desk.ticket(opened)).claimed_by is None
    assert desk.may(desk.tom, opened) == "rw", "it is released to all of the staff"
    assert (await desk.ticket(kept)).claimed_by == desk.tom.id
    assert desk.may(desk.sam, kept) == "rw", "as somebody who was let in, until that ends"


async def test_a_thread_that_somebody_made_beforehand_becomes_no_ticket(desk: TicketHouse) -> None:
    world = desk.sandbox.world
    for number, kind in enumerate((_PUBLIC_THREAD, _PRIVATE_THREAD), 1):
        planted = world.create_thread(desk.room, desk.max.user, f"ticket-{number:04d}", kind=kind, minutes=60)
        opened = await desk.atlas.opens(desk.eve, "threads")
        assert opened.channel_id != planted.id
        assert desk.max.id not in world.channels[opened.channel_id].thread_members


async def test_kinds_of_tickets_in_one_category_wait_in_one_queue(desk: TicketHouse) -> None:
    kinds = category(desk)
    desk.update(categories=kinds | {"billing": replace(kinds["support"])})
    world = desk.sandbox.world
    crowd = [world.create_channel(desk.guild.guild, f"c{number}", parent_id=desk.place.id) for number in range(50)]
    first = await desk.atlas.asks("open", actor_id=desk.eve.id, category="support")
    assert (first.code, first.position) == ("queued", 1)
    world.delete_channel(crowd[0])
    second = await desk.atlas.asks("open", actor_id=desk.max.id, category="billing")
    assert (second.code, second.position) == ("queued", 2), "who comes later does not take the place that is free"
    await desk.later(seconds=1)
    assert [(await desk.ticket(one.tickets[0])).state for one in (first, second)] == ["open", "queued"]


async def test_a_view_that_is_older_than_the_masters_own_change_raises_no_false_alarm(desk: TicketHouse) -> None:
    opened = await desk.atlas.opens(desk.eve)
    before = await desk.ticketing.tools.port.channel(opened.channel_id)
    assert (await desk.atlas.asks("claim", ticket_id=opened.id, actor_id=desk.sam.id)).done
    await desk.ticketing.upkeep.seen(before)
    assert not [alert for alert in desk.alerts if alert.is_security]
    assert desk.may(desk.sam, opened) == "rw"


@pytest.mark.slow
async def test_of_many_who_do_the_same_at_once_each_is_told_what_is_so(desk: TicketHouse) -> None:
    answers = await asyncio.gather(
        *(desk.atlas.asks("open", actor_id=desk.eve.id, category="support") for _ in range(rounds(50)))
    )
    codes = Counter(answer.code for answer in answers)
    assert codes == {"open": 3, "too_many_open": len(answers) - 3}
    view = next(answer.tickets[0] for answer in answers if answer.done)
    closers = [desk.eve, desk.sam, desk.tom] * 3
    closed = await asyncio.gather(
        *(desk.atlas.asks("close", ticket_id=view.id, actor_id=who.id, text=who.name) for who in closers)
    )
    assert {answer.code for answer in closed} <= {"closed", "closing"}
    assert all(answer.done for answer in closed)


async def test_no_word_for_a_ticket_is_an_error_of_the_masters(desk: TicketHouse) -> None:
    for word in ("<#99999999999999999999>", "<#9999999999999999999>", "#٣", "\x00", "'", "ticket-"):
        with pytest.raises(NoSuchTicket):
            await desk.ticketing.showing.find(word)


async def test_a_ticket_whose_people_have_left_the_server_can_be_closed_and_worked_on(desk: TicketHouse) -> None:
    opened, guild, world = await desk.atlas.opens(desk.eve), desk.guild.guild, desk.sandbox.world
    assert (await desk.atlas.asks_for(opened.id, desk.max)).code == "asking"
    (held,) = await desk.permissions_in(opened)
    for person in (desk.eve, desk.max):
        world.remove_member(guild, person.user)
    await desk.ticketing.permissions.decide(held.id, grant=True, actor="discord:1")
    claimed = await desk.atlas.asks("claim", ticket_id=opened.id, actor_id=desk.sam.id)
    assert (claimed.done, claimed.code) == (True, "open")
    assert desk.may(desk.sam, opened) == "rw"
    closed = await desk.atlas.asks("close", ticket_id=opened.id, actor_id=desk.sam.id)
    assert closed.code == "closed"
    # Should they come back, they write in nothing that is closed.
    for person in (desk.eve, desk.max):
        desk.guild.add_member(person)
        assert "w" not in desk.may(person, opened)
    await desk.later(minutes=6)
    assert (desk.may(desk.eve, opened), desk.may(desk.max, opened)) == ("r", "")
