"""The master's end of the handshake: what is believed, what is flagged, what is answered."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from handshake.messages import (
    Acknowledgement,
    Body,
    ErrorReport,
    Heartbeat,
    LicenceCheck,
    LicenceStatus,
    ShutdownNotice,
    VerificationRequest,
    VerificationResponse,
)
from handshake.redaction import Secret
from handshake.signing import Message, NodeKey, Signer, Verifier
from master.configuration.settings import Settings
from master.events import AlertRaised, NodeSaidGoodbye
from master.ledger.rows import error_events, handshake_events, licences, nodes
from master.ledger.rows.records import LicenceState, Node
from master.ledger.schema.tables import licenses
from master.operations import nodes as nodes_
from master.services.core.keys import master_secret_of
from master.services.core.views import Registered
from master.services.healing import group_alerts
from master.services.onboarding.saga import CloneRequest
from master.services.trust.source import Source
from sandbox import Sandbox
from tests.services.conftest import OPERATOR, House, open_house

LOCAL = Source(transport="local", pid=1)


class Caller:
    """A node's own end, with its real key."""

    def __init__(self, house: House, registered: Registered, *, skew_s: float = 0.0) -> None:
        self.house = house
        self.registered = registered
        self.node = house.services.directory.find(registered.name)
        self.key = master_secret_of(house.services.settings.identity).derive_node_key(self.node.id, 1)

        self.skew_s = skew_s

        def clock() -> float:
            return time.time() + self.skew_s

        session = house.services.sessions.offered(self.node.id)
        self.signer = Signer(self.key, from_master=False, clock=clock, session=session)
        self.reader = Verifier(
            lambda _node, _epoch: self.key, node_id=self.node.id, clock=clock, replay_guard=None, skew_s=None
        )

    async def says(self, body: Body, source: Source = LOCAL) -> Message | None:
        answer = await self.house.services.reception.receive(self.signer.sign(body), source)
        return None if answer is None else self.reader.open(answer)

    def request(self, **changes: object) -> VerificationRequest:
        values: dict[str, object] = {
            "licence": self.registered.licence,
            "version": "1",
            "pid": self.house.services.supervisor.pid_of(self.node.id) or 0,
            "pid_started_at": 0.0,
            "bot_user_id": self.node.bot_user_id,
            "started_at": 0.0,
            **changes,
        }
        return VerificationRequest(**values)  # type: ignore[arg-type]

    async def flag(self) -> str:
        node: Node | None = await self.house.services.ledger.read(lambda c: nodes.get(c, self.node.id))
        assert node is not None
        return node.flag_reason


@pytest.fixture
async def caller(house: House) -> Caller:
    request = CloneRequest(name="atlas", token=house.token("atlas"))
    return Caller(house, await house.clone(OPERATOR, request))


async def test_a_node_that_proves_itself_without_some_of_its_cogs_is_degraded_at_once(caller: Caller) -> None:
    await caller.says(caller.request(cogs_failed=("music",)))
    overview = caller.house.services.overview
    (node,) = overview.matching("atlas")
    assert (node.state, node.cogs_failed, node.detail) == ("degraded", ("music",), "1 cog failed: music")
    await caller.says(Heartbeat(uptime_s=1.0, guilds=4, latency_ms=30.0))
    (node,) = overview.matching("atlas")
    assert (node.state, node.cogs_failed, node.guilds, node.latency_ms) == ("ready", (), 4, 30.0)


async def test_a_node_that_proves_itself_is_ready_and_its_licence_active(caller: Caller) -> None:
    answer = await caller.says(caller.request())
    assert answer is not None
    assert isinstance(answer.body, VerificationResponse)
    assert answer.body.accepted
    assert answer.in_reply_to == caller.signer.last_token_id
    assert caller.house.services.fleet.state_of(caller.node.id) == "ready"
    code_hash = caller.house.services.licensing.hash_of(caller.registered.licence)
    assert code_hash is not None
    licence = await caller.house.services.ledger.read(lambda c: licences.find_by_hash(c, code_hash))
    assert licence is not None
    assert licence.state is LicenceState.ACTIVE
    await caller.house.services.ledger.flush()
    (event,) = await caller.house.services.ledger.read(handshake_events.recent)
    assert (event.outcome, event.node_id) == ("accepted", caller.node.id)


async def test_pulses_are_answered_only_when_there_is_something_to_say(caller: Caller) -> None:
    before = await caller.says(Heartbeat(uptime_s=1.0))
    assert before is not None
    assert before.body == Acknowledgement(order="verify_again", clock_skew_s=before.body.clock_skew_s)  # type: ignore[union-attr]
    await caller.says(caller.request())
    assert await caller.says(Heartbeat(uptime_s=2.0, latency_ms=31.0)) is None
    assert (await caller.house.services.overview.status()).nodes[0].latency_ms == 31.0


async def test_a_clock_that_is_off_is_reported(caller: Caller) -> None:
    late = Caller(caller.house, caller.registered, skew_s=-30.0)
    await late.says(late.request())
    answer = await late.says(Heartbeat(uptime_s=1.0))
    assert answer is not None
    assert isinstance(answer.body, Acknowledgement)
    assert 28 < answer.body.clock_skew_s < 33


async def test_the_channels_author_has_to_be_the_nodes_own_bot(caller: Caller) -> None:
    answer = await caller.says(caller.request(), Source(transport="channel", author_id=12345))
    assert answer is None
    assert await caller.flag() == "wrong_author"
    own = Source(transport="channel", author_id=caller.node.bot_user_id)
    answer = await caller.says(caller.request(), own)
    assert answer is not None


async def test_a_forgery_is_recorded_flagged_and_not_answered(caller: Caller) -> None:
    forger = Signer(NodeKey(caller.node.id, 1, Secret(b"x" * 32)), from_master=False, clock=time.time)
    with caller.house.services.bus.subscribe(AlertRaised) as alerts:
        assert await caller.house.services.reception.receive(forger.sign(Heartbeat(uptime_s=1.0)), LOCAL) is None
        alert = await alerts.get()
    assert "atlas" in alert.title
    assert await caller.flag() == "bad_signature"
    (event,) = await caller.house.services.ledger.read(handshake_events.recent)
    assert (event.outcome, event.message_type, event.node_id) == ("bad_signature", "heartbeat", caller.node.id)


async def test_a_replay_is_flagged(caller: Caller) -> None:
    text = caller.signer.sign(Heartbeat(uptime_s=1.0))
    await caller.house.services.reception.receive(text, LOCAL)
    assert await caller.house.services.reception.receive(text, LOCAL) is None
    assert await caller.flag() == "replayed"


async def test_a_message_in_no_nodes_name_is_recorded_without_one(caller: Caller) -> None:
    stranger = Signer(NodeKey("01NOBODY", 1, Secret(b"x" * 32)), from_master=False, clock=time.time)
    for text in (stranger.sign(Heartbeat(uptime_s=1.0)), "what is this?", ""):
        assert await caller.house.services.reception.receive(text, LOCAL) is None
    found = await caller.house.services.ledger.read(handshake_events.recent)
    assert sorted((e.outcome, e.node_id) for e in found) == [
        ("malformed", None),
        ("malformed", None),
        ("unknown_node", None),
    ]


@pytest.mark.parametrize("changes", [{"licence": "FM1-WRONG"}, {"bot_user_id": 1}])
async def test_a_wrong_licence_or_login_is_refused_with_its_reason(caller: Caller, changes: dict[str, object]) -> None:
    answer = await caller.says(caller.request(**changes))
    assert answer is not None
    assert isinstance(answer.body, VerificationResponse)
    assert not answer.body.accepted
    assert answer.body.reason
    assert await caller.flag() == "revoked_license"
    assert caller.house.services.fleet.state_of(caller.node.id) == "starting"


async def test_another_nodes_licence_does_not_do(house: House, caller: Caller) -> None:
    other = await house.clone(OPERATOR, CloneRequest(name="b", token=house.token("b")))
    answer = await caller.says(caller.request(licence=other.licence))
    assert answer is not None
    assert answer.body == VerificationResponse(
        accepted=False,
        reason="the licence is not this node's",
        clock_skew_s=answer.body.clock_skew_s,  # type: ignore[union-attr]
    )


async def test_a_revoked_licence_is_refused(caller: Caller) -> None:
    await caller.house.services.ledger.write(lambda c: licences.revoke_of_node(c, caller.node.id))
    answer = await caller.says(caller.request())
    assert answer is not None
    assert isinstance(answer.body, VerificationResponse)
    assert answer.body.reason == "the licence is revoked"
    status = await caller.says(LicenceCheck(licence=caller.registered.licence))
    assert status is not None
    assert status.body == LicenceStatus(state="revoked", tier="standard", reason="revoked")


async def test_an_expired_licence_is_refused(house: House) -> None:
    request = CloneRequest(name="trial", token=house.token("trial"), tier="trial")
    trial = Caller(house, await house.clone(OPERATOR, request))
    past = house.services.clock.now() - timedelta(days=1)
    await house.services.ledger.write(lambda c: c.execute(licenses.update().values(expires_at=past)).close())
    answer = await trial.says(trial.request())
    assert answer is not None
    assert isinstance(answer.body, VerificationResponse)
    assert answer.body.reason == "the licence has expired"


async def test_a_copy_of_the_process_is_not_the_node(caller: Caller) -> None:
    answer = await caller.says(caller.request(pid=1))
    assert answer is not None
    assert isinstance(answer.body, VerificationResponse)
    assert not answer.body.accepted
    assert caller.house.services.fleet.state_of(caller.node.id) == "starting"


async def test_a_new_process_has_to_prove_itself_again(caller: Caller) -> None:
    await caller.says(caller.request())
    await caller.house.act(OPERATOR, nodes_.restart, "atlas")
    assert not caller.house.services.verification.is_verified(caller.node.id)
    assert caller.house.services.fleet.state_of(caller.node.id) == "starting"


@pytest.mark.parametrize("step_s", [-10 * 365 * 86_400.0, -3_600.0, -130.0, 130.0, 3_600.0, 10 * 365 * 86_400.0])
async def test_a_nodes_clock_that_is_set_is_asked_about_and_flags_nobody(caller: Caller, step_s: float) -> None:
    await caller.says(caller.request())
    assert await caller.says(Heartbeat(uptime_s=1.0)) is None
    caller.skew_s = step_s
    asked = await caller.says(Heartbeat(uptime_s=2.0))
    assert asked is not None
    assert isinstance(asked.body, Acknowledgement)
    assert (asked.body.order, asked.session is not None) == ("verify_again", True)
    caller.signer.session = asked.session
    answer = await caller.says(caller.request())
    assert answer is not None
    assert isinstance(answer.body, VerificationResponse)
    assert answer.body.accepted
    told = await caller.says(Heartbeat(uptime_s=3.0))
    assert told is not None
    assert isinstance(told.body, Acknowledgement)
    assert (told.body.order, abs(told.body.clock_skew_s + step_s) < 5) == ("", True)
    assert await caller.flag() == ""


async def test_nothing_recorded_before_a_restart_of_the_master_counts_after_it(
    house_settings: Settings, sandbox: Sandbox
) -> None:
    async with open_house(house_settings, sandbox) as house:
        caller = Caller(house, await house.clone(OPERATOR, CloneRequest(name="atlas", token=house.token("atlas"))))
        bodies = (caller.request(), Heartbeat(uptime_s=1.0), ShutdownNotice(reason="recorded"))
        recorded = [caller.signer.sign(body) for body in bodies]
        # One of each was heard, one of each was not.
        for text in recorded:
            await house.services.reception.receive(text, LOCAL)
        recorded += [caller.signer.sign(body) for body in bodies]
    async with open_house(house_settings, sandbox) as house:
        await house.services.opening.load()
        with house.services.bus.subscribe(NodeSaidGoodbye) as goodbyes:
            for text in recorded:
                answer = await house.services.reception.receive(text, LOCAL)
                assert answer is not None
                assert caller.reader.open(answer).body == Acknowledgement(order="verify_again")
            assert not house.services.verification.is_verified(caller.node.id)
            assert (house.services.directory.get(caller.node.id) or caller.node).flag_reason == ""
            # Whoever has the key proves it again, and is heard.
            caller.signer.session = caller.reader.open(
                await house.services.reception.receive(caller.signer.sign(bodies[2]), LOCAL) or ""
            ).session
            assert await house.services.reception.receive(caller.signer.sign(bodies[2]), LOCAL) is None
            assert (await goodbyes.get()).reason == "recorded"
            assert len(goodbyes) == 0


async def test_an_error_report_is_kept_counted_and_announced(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_alerts, "WAIT_S", 0.1)
    report = ErrorReport(
        source="command",
        where="/roll",
        exception="ZeroDivisionError",
        fingerprint="0123456789abcdef",
        message="division by zero",
        traceback="```\nTraceback",
        count=2,
    )
    with caller.house.services.bus.subscribe(AlertRaised) as alerts:
        await caller.says(report)
        await caller.says(report)
        alert = await alerts.get()
    assert alert.title == "atlas: ZeroDivisionError in /roll: division by zero"
    assert alert.quote.endswith("```\nTraceback")
    (group,) = await caller.house.services.error_groups.list_groups()
    assert (group.fingerprint, group.count, group.nodes[0].node) == (report.fingerprint, 4, "atlas")
    (row,) = await caller.house.services.ledger.read(error_events.recent)
    assert (row.count, row.summary) == (4, "/roll: ZeroDivisionError: division by zero")
