"""Who a node gets into its tickets: checked, asked for, for a bounded time, and taken back."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from handshake.messages import TicketView
from master.ledger.rows import audit, ticket_permissions, tickets
from master.services.people.ticket_errors import TicketRefused
from master.services.people.ticketing import build_ticketing
from sandbox.records import Overwrite
from tests.services.people.ticket_house import TicketHouse, desk

__all__ = ["desk"]

TAKES_PART = 0x400 | 0x800


async def test_somebody_is_let_in_when_staff_asks_and_taken_out_on_time(desk: TicketHouse) -> None:
    opened = await desk.atlas.opens(desk.eve)
    answer = await desk.atlas.asks_for(
        opened.id, desk.max, permission_set="observer", for_s=3_600.0, actor_id=desk.sam.id
    )
    assert (answer.granted, answer.code) == (True, "granted")
    assert answer.until == pytest.approx(desk.clock.now().timestamp() + 3_600, abs=30)
    assert desk.may(desk.max, opened) == "r"
    # Asked again it is the same; asked for more, more.
    again = await desk.atlas.asks_for(opened.id, desk.max, permission_set="observer", for_s=60.0, actor_id=desk.sam.id)
    assert again.until == pytest.approx(answer.until, abs=0.01)
    more = await desk.atlas.asks_for(opened.id, desk.max, actor_id=desk.sam.id)
    assert more.granted
    assert desk.may(desk.max, opened) == "rw"
    assert [one.state for one in await desk.permissions_in(opened)] == ["revoked", "granted"]
    # At most for so long, whatever a node asks for.
    assert more.until == pytest.approx(desk.clock.now().timestamp() + 168 * 3_600, abs=30)
    await desk.later(hours=167)
    assert desk.may(desk.max, opened) == "rw"
    await desk.later(hours=2)
    assert desk.may(desk.max, opened) == ""
    rows = await desk.house.services.ledger.read(lambda c: list(audit.search(c, action="ticket_granted")))
    assert [row.node_id for row in rows] == [desk.atlas.node.id] * 2
    assert f"{desk.max.id} as participant" in rows[0].detail + rows[1].detail


async def test_a_node_takes_back_what_it_asked_for_and_the_end_of_a_ticket_takes_back_all(desk: TicketHouse) -> None:
    opened = await desk.atlas.opens(desk.eve)
    await desk.atlas.asks_for(opened.id, desk.max, actor_id=desk.sam.id)
    assert (await desk.atlas.asks_for(opened.id, desk.max, action="revoke")).code == "revoked"
    assert desk.may(desk.max, opened) == ""
    assert (await desk.atlas.asks_for(opened.id, desk.max, action="revoke")).code == "revoked"
    assert (await desk.atlas.asks_for(opened.id, desk.tom, action="revoke")).code == "not_granted"
    await desk.atlas.asks_for(opened.id, desk.max, actor_id=desk.sam.id)
    await desk.atlas.asks("close", ticket_id=opened.id, actor_id=desk.eve.id)
    assert desk.may(desk.max, opened) == ""
    assert {one.state for one in await desk.permissions_in(opened)} == {"revoked"}
    assert (await desk.atlas.asks_for(opened.id, desk.max, actor_id=desk.sam.id)).code == "not_open"
    await desk.atlas.asks("reopen", ticket_id=opened.id, actor_id=desk.sam.id)
    assert desk.may(desk.max, opened) == ""


async def test_a_person_decides_what_nobody_of_the_staff_asked_for_and_what_the_policy_says(desk: TicketHouse) -> None:
    opened, permissions = await desk.atlas.opens(desk.eve), desk.ticketing.permissions
    for who, fields in (
        (desk.max, {}),  # neither author nor staff, and no staff asked
        (desk.tom, {"permission_set": "staff", "actor_id": desk.sam.id}),  # ASK_FOR
    ):
        answer = await desk.atlas.asks_for(opened.id, who, **fields)
        assert (answer.granted, answer.code) == (False, "asking")
        # It is asked once.
        assert (await desk.atlas.asks_for(opened.id, who, **fields)).code == "asking"
    assert desk.may(desk.max, opened) == ""
    first, second = await desk.permissions_in(opened)
    questions = [one for one in desk.alerts if one.key.startswith("t_perm:")]
    assert [one.key for one in questions] == [f"t_perm:{first.id}", f"t_perm:{second.id}"]
    assert [one.label for one in questions[0].buttons] == ["Let in", "Refuse"]
    done = await permissions.decide(first.id, grant=True, actor="discord:1")
    assert (done.state, done.decided_by) == ("granted", "discord:1")
    assert desk.may(desk.max, opened) == "rw"
    refused = await permissions.decide(second.id, grant=False, actor="discord:1")
    assert refused.state == "refused"
    with pytest.raises(TicketRefused, match="refused already by discord:1"):
        await permissions.decide(second.id, grant=True, actor="discord:2")
    with pytest.raises(TicketRefused, match="no such request"):
        await permissions.decide("01NOTHING", grant=True, actor="discord:2")


async def test_a_question_that_nobody_answers_is_given_up_and_so_is_that_of_a_closed_ticket(desk: TicketHouse) -> None:
    opened, other = await desk.atlas.opens(desk.eve), await desk.atlas.opens(desk.eve)
    for one in (opened, other):
        await desk.atlas.asks_for(one.id, desk.max)
    await desk.atlas.asks("close", ticket_id=other.id, actor_id=desk.eve.id)
    (closed,) = await desk.permissions_in(other)
    assert (closed.state, closed.detail) == ("refused", "the ticket was closed")
    await desk.later(hours=25)
    (late,) = await desk.permissions_in(opened)
    assert (late.state, late.detail) == ("refused", "its time is over")


async def set_back(desk: TicketHouse, view: TicketView, state: str) -> None:
    """Put a ticket on record as it was before its last step: the master was killed between the deed and its word."""
    any_state = ("queued", "opening", "open", "closing", "closed", "deleted")
    values = {"state": state} | ({"channel_id": None} if state == "opening" else {})
    await desk.house.services.ledger.write(
        lambda c: tickets.change(c, view.id, was=any_state, at=desk.clock.now(), **values)
    )


async def test_a_master_killed_between_any_two_steps_is_followed_by_one_that_finishes_them(desk: TicketHouse) -> None:
    services, atlas = desk.house.services, desk.atlas
    made, closing, deleting = [await atlas.opens(desk.eve) for _ in range(3)]
    for one in (closing, deleting):
        await atlas.asks("close", ticket_id=one.id, actor_id=desk.eve.id)
    # Made, and not written down; written down, and not done: closing, deleting, granting, revoking.
    await set_back(desk, made, "opening")
    await set_back(desk, closing, "closing")
    await set_back(desk, deleting, "deleted")
    desk.channel(closing).overwrites[desk.eve.id] = Overwrite(desk.eve.id, 1, TAKES_PART, 0)
    held = await atlas.opens(desk.sam)
    for who in (desk.max, desk.tom):
        await atlas.asks_for(held.id, who, actor_id=desk.sam.id)
    for permission, state in zip(await desk.permissions_in(held), ("granting", "revoking"), strict=True):
        await services.ledger.write(
            partial(
                ticket_permissions.change,
                permission_id=permission.id,
                was=("granted",),
                at=desk.clock.now(),
                state=state,
            )
        )
    del desk.channel(held).overwrites[desk.max.id]
    channels = len(desk.sandbox.world.channels)
    successor = build_ticketing(
        desk.ticketing.tools,
        services.tools.orders,
        is_verified=services.verification.is_verified,
        is_running=lambda _node: False,
    )
    await successor.upkeep.step()
    assert [(await desk.ticket(one)).state for one in (made, closing, deleting)] == ["open", "closed", "deleted"]
    assert (await desk.ticket(made)).channel_id == made.channel_id
    assert len(desk.sandbox.world.channels) == channels - 1
    assert desk.may(desk.eve, closing) == "r"
    assert [one.state for one in await desk.permissions_in(held)] == ["granted", "revoked"]
    assert desk.may(desk.max, held) == "rw"
    assert desk.tom.id not in desk.channel(held).overwrites
    # And what ends while no master runs ends with the next.
    desk.clock.ahead += timedelta(hours=200)
    await successor.upkeep.step()
    assert [one.state for one in await desk.permissions_in(held)] == ["revoked", "revoked"]
    assert desk.may(desk.max, held) == ""


async def test_a_node_whose_licence_is_not_for_tickets_has_none(desk: TicketHouse) -> None:
    reloading = desk.house.services.reloading
    tiers = tuple(
        replace(tier, features=("tickets",)) if tier.name == "trial" else tier
        for tier in reloading.settings.licence_tiers
    )
    reloading._settings = replace(reloading.settings, licence_tiers=tiers)
    reloading.take_effect()
    answer = await desk.atlas.asks("open", actor_id=desk.eve.id, category="support")
    assert (answer.code, answer.reason) == ("licence", "the tier standard is not for tickets")
