"""Licences and nodes: one for several of them, and what a change does to those that run."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from handshake.messages import Heartbeat, LicenceCheck, LicenceStatus, VerificationResponse
from master.configuration.settings import LicenceTier, Settings
from master.errors import FleetError
from master.operations import licences as operations
from master.operations import nodes
from master.operations.operation import Operation
from master.operations.parameters import (
    LicenceChangeParams,
    LicenceIssueParams,
    LicenceParams,
    LicenceRedeemParams,
    LicenceRenewParams,
    LicencesParams,
    LicenceTransferParams,
    NoParams,
)
from master.services.core.actors import Actor
from master.services.core.errors import NotAuthorised
from master.services.onboarding.saga import CloneRequest
from master.services.trust.licence_rules import LicenceMistyped, LicenceNotFound
from tests.services.conftest import OPERATOR, STRANGER, House
from tests.services.trust.test_verification import Caller

ADA = 1001


@pytest.fixture
def house_settings(house_settings: Settings) -> Settings:
    pair = LicenceTier(name="pair", days=30, nodes=2, features=("exports",))
    settings: Settings = replace(house_settings, licence_tiers=(*house_settings.licence_tiers, pair))
    return settings


async def cloned(house: House, name: str) -> Caller:
    return Caller(house, await house.clone(OPERATOR, CloneRequest(name=name, token=house.token(name))))


async def verified(caller: Caller, licence: str = "") -> VerificationResponse:
    answer = await caller.says(caller.request(licence=licence) if licence else caller.request())
    assert answer is not None
    assert isinstance(answer.body, VerificationResponse)
    return answer.body


async def checked(caller: Caller, body: LicenceCheck) -> LicenceStatus:
    answer = await caller.says(body)
    assert answer is not None
    assert isinstance(answer.body, LicenceStatus)
    return answer.body


async def own_licence(house: House) -> str:
    found = await house.operations.run(operations.listing, OPERATOR, LicencesParams())
    return next(one.id for one in found.licences if one.node == "atlas")


async def test_one_licence_is_for_as_many_nodes_as_its_tier_says(house: House) -> None:
    issued = await house.operations.run(operations.issue, OPERATOR, LicenceIssueParams(tier="pair"))
    atlas, borealis, cygnus = [await cloned(house, name) for name in ("atlas", "borealis", "cygnus")]
    assert [(await verified(one, issued.code)).reason for one in (atlas, borealis, atlas, cygnus)] == [
        "",
        "",
        "",
        "the licence is in use on as many nodes as it allows",
    ]
    status = await checked(cygnus, LicenceCheck(licence=issued.code))
    assert (status.valid, status.reason, status.features) == (False, "too_many_nodes", ())
    status = await checked(atlas, LicenceCheck(licence=issued.code, feature="exports"))
    assert (status.valid, status.reason, status.features) == (True, "valid", ("exports",))
    assert status.holds_until is not None
    # A node that goes back to its own licence leaves room for another.
    assert (await verified(borealis)).accepted
    assert (await verified(cygnus, issued.code)).accepted
    shown = await house.operations.run(operations.show, OPERATOR, LicenceParams(issued.licence.id))
    assert [use.name for use in shown.uses] == ["atlas", "cygnus"]
    # It is revoked: both are believed no more and stopped, whoever has another licence goes on.
    await house.operations.run(operations.revoke, OPERATOR, LicenceChangeParams(licence=issued.licence.id))
    states = [house.services.fleet.state_of(one.node.id) for one in (atlas, borealis, cygnus)]
    assert states == ["stopped", "ready", "stopped"]


@pytest.mark.parametrize("action", ["suspend", "revoke"])
async def test_a_node_whose_licence_is_taken_is_stopped_at_once_and_starts_again_when_it_has_it_back(
    house: House, action: str
) -> None:
    atlas = await cloned(house, "atlas")
    assert (await verified(atlas)).accepted
    licence_id = await own_licence(house)
    taking = {"suspend": operations.suspend, "revoke": operations.revoke}[action]
    await house.operations.run(taking, OPERATOR, LicenceChangeParams(licence=licence_id, why="unpaid"))
    assert house.services.fleet.state_of(atlas.node.id) == "stopped"
    assert not house.services.verification.is_verified(atlas.node.id)
    with pytest.raises(FleetError, match="the licence of atlas is"):
        await house.services.revocation.require_licence(atlas.node)
    answer = await house.act(OPERATOR, nodes.start, "atlas")
    assert not answer.ok
    await house.operations.run(operations.reinstate, OPERATOR, LicenceChangeParams(licence=licence_id))
    assert (await house.act(OPERATOR, nodes.start, "atlas")).ok
    shown = await house.operations.run(operations.show, OPERATOR, LicenceParams(licence_id))
    assert [event.what for event in shown.events] == ["reinstated", f"{action.rstrip('e')}ed", "redeemed"]
    assert shown.events[1].detail == "unpaid"


async def test_an_expiry_stops_nobody_but_is_told_to_the_node(house: House) -> None:
    atlas = await cloned(house, "atlas")
    assert (await verified(atlas)).accepted
    licence_id = await own_licence(house)
    renewed = await house.operations.run(operations.renew, OPERATOR, LicenceRenewParams(licence=licence_id, days=1))
    assert renewed.expires_at is not None
    await house.services.licences.expire(licence_id, actor=OPERATOR)
    assert house.services.fleet.state_of(atlas.node.id) == "ready"
    assert house.services.tools.orders.waits(atlas.node.id)
    await atlas.says(Heartbeat(uptime_s=1.0, guilds=1, latency_ms=1.0))
    assert not (await verified(atlas)).accepted


async def test_a_node_asks_about_a_person_and_hears_of_a_change(house: House) -> None:
    atlas = await cloned(house, "atlas")
    await verified(atlas)
    assert (await checked(atlas, LicenceCheck(user_id=ADA))).reason == "not_found"
    issued = await house.operations.run(operations.issue, OPERATOR, LicenceIssueParams(tier="pair"))
    redeem = LicenceRedeemParams(code=issued.code, user_id=ADA)
    redeemed = await house.operations.run(operations.redeem, OPERATOR, redeem)
    status = await checked(atlas, LicenceCheck(user_id=ADA, feature="exports"))
    assert (status.valid, status.reason, status.tier) == (True, "valid", "pair")
    await house.operations.run(operations.suspend, OPERATOR, LicenceChangeParams(licence=redeemed.id))
    order = house.services.tools.orders.fetch(atlas.node.id)
    assert (order.kind, order.argument) == ("check_licence", str(ADA))
    assert (await checked(atlas, LicenceCheck(user_id=ADA, feature="exports"))).reason == "suspended"
    assert (await checked(atlas, LicenceCheck(licence="FM1-x"))).reason == "mistyped"


async def test_who_may_do_what_with_licences(house: House) -> None:
    member = Actor(face="discord", identity=str(ADA), name="ada", is_member=True)
    moderator = Actor(face="discord", identity="5", name="mo", is_member=True, role_ids=frozenset({9}))
    run = house.operations.run
    await cloned(house, "atlas")
    refused: tuple[tuple[Operation[Any, Any, Any], Any], ...] = (
        (operations.issue, LicenceIssueParams()),
        (operations.listing, LicencesParams()),
        (operations.revoke, LicenceChangeParams(licence="ffff")),
        (operations.redeem, LicenceRedeemParams(code="x", user_id=7)),
    )
    for operation, params in refused:
        with pytest.raises(NotAuthorised):
            await run(operation, member, params)
    with pytest.raises(NotAuthorised):
        await run(operations.redeem, STRANGER, LicenceRedeemParams(code="x"))
    house.services.permissions.update_settings(
        replace(house.services.settings, moderators=replace(house.services.settings.moderators, role_ids={9}))
    )
    issued = await run(operations.issue, moderator, LicenceIssueParams(tier="trial"))
    with pytest.raises(LicenceMistyped):
        await run(operations.redeem, member, LicenceRedeemParams(code="FM1-nonsense"))
    mine = await run(operations.redeem, member, LicenceRedeemParams(code=issued.code))
    assert (mine.holder_id, mine.valid) == (ADA, True)
    assert [one.id for one in (await run(operations.mine, member, NoParams())).licences] == [mine.id]
    other = Actor(face="discord", identity="77", name="eve", is_member=True)
    with pytest.raises(LicenceNotFound, match="you hold no licence"):
        await run(operations.transfer, other, LicenceTransferParams(licence=mine.id, user_id=77))
    assert (await run(operations.transfer, member, LicenceTransferParams(licence=mine.id, user_id=8))).holder_id == 8
    # A bot's own licence is the operators' affair.
    with pytest.raises(NotAuthorised):
        await run(operations.revoke, moderator, LicenceChangeParams(licence=await own_licence(house)))
