"""Signing and verification: valid messages are accepted, all others refused with a reason."""

from __future__ import annotations

import base64
import json
import secrets
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handshake.errors import Reason, Refused
from handshake.messages import Heartbeat, VerificationResponse
from handshake.redaction import Secret
from handshake.replay import ReplayGuard
from handshake.signing import NodeKey, Signer, Verifier
from tests.conftest import TurnableClock

KEY = NodeKey("01NODE", 2, Secret(secrets.token_bytes(32)))
OTHER = NodeKey("01OTHER", 1, Secret(secrets.token_bytes(32)))
PULSE = Heartbeat(uptime_s=1.5, latency_ms=20.0, guilds=3)


def find_key(node_id: str, epoch: int) -> NodeKey:
    for key in (KEY, OTHER):
        if key.node_id == node_id:
            if key.epoch != epoch:
                raise Refused(Reason.STALE_EPOCH, "another epoch")
            return key
    raise Refused(Reason.UNKNOWN_NODE, "no such node")


def verifier(clock: TurnableClock, node_id: str | None = None) -> Verifier:
    return Verifier(find_key, node_id=node_id, clock=clock, replay_guard=ReplayGuard(clock))


def reason_of(clock: TurnableClock, text: str, node_id: str | None = None) -> Reason:
    with pytest.raises(Refused) as refused:
        verifier(clock, node_id).open(text)
    return refused.value.reason


def forged(
    clock: TurnableClock, *, key: NodeKey = KEY, header: dict[str, object] | None = None, **claims: object
) -> str:
    """Sign any claims and header with a real key."""
    now = int(clock())
    whole = {
        "iss": key.node_id,
        "aud": "master",
        "iat": now,
        "exp": now + 60,
        "jti": secrets.token_urlsafe(12),
        "seq": 1,
        "body": {"uptime_s": 1.0},
        **claims,
    }
    headers = {"kid": key.key_id, "typ": "heartbeat", **(header or {})}
    return jwt.encode(whole, key.secret.reveal(), algorithm="HS256", headers=headers)


def test_a_signed_message_survives_a_round_trip(clock: TurnableClock) -> None:
    signer = Signer(KEY, from_master=False, clock=clock)
    message = verifier(clock).open(signer.sign(PULSE))
    assert message.body == PULSE
    assert (message.node_id, message.epoch, message.sequence) == ("01NODE", 2, 1)


def test_any_jwt_library_can_check_our_messages(clock: TurnableClock) -> None:
    text = Signer(KEY, from_master=False, clock=clock).sign(PULSE)
    claims = jwt.decode(
        text,
        KEY.secret.reveal(),
        algorithms=["HS256"],
        audience="master",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert (claims["iss"], claims["body"]["guilds"]) == ("01NODE", 3)
    assert jwt.get_unverified_header(text) == {"alg": "HS256", "kid": "01NODE.2", "typ": "heartbeat"}


def test_the_masters_answer_names_the_request(clock: TurnableClock) -> None:
    signer = Signer(KEY, from_master=True, clock=clock)
    text = signer.sign(VerificationResponse(accepted=True), in_reply_to="abc")
    assert verifier(clock, "01NODE").open(text).in_reply_to == "abc"


def test_another_key_is_a_bad_signature(clock: TurnableClock) -> None:
    thief = NodeKey("01NODE", 2, Secret(secrets.token_bytes(32)))
    text = Signer(thief, from_master=False, clock=clock).sign(PULSE)
    assert reason_of(clock, text) is Reason.BAD_SIGNATURE


def test_a_stolen_node_key_signs_for_that_node_only(clock: TurnableClock) -> None:
    text = forged(clock, key=OTHER, header={"kid": KEY.key_id})
    assert reason_of(clock, text) is Reason.BAD_SIGNATURE
    assert reason_of(clock, forged(clock, key=OTHER, iss=KEY.node_id)) is Reason.MALFORMED


def test_a_message_is_accepted_once(clock: TurnableClock) -> None:
    judge, text = verifier(clock), Signer(KEY, from_master=False, clock=clock).sign(PULSE)
    judge.open(text)
    with pytest.raises(Refused) as refused:
        judge.open(text)
    assert refused.value.reason is Reason.REPLAYED
    assert refused.value.claimed_node_id == "01NODE"


@pytest.mark.parametrize(("passed_s", "believed"), [(0, True), (119, True), (121, False), (-59, True), (-61, False)])
def test_sixty_seconds_of_skew_are_allowed_both_ways(clock: TurnableClock, passed_s: float, believed: bool) -> None:
    text = Signer(KEY, from_master=False, clock=clock).sign(PULSE)
    clock.turn(passed_s)
    if believed:
        verifier(clock).open(text)
    else:
        assert reason_of(clock, text) is Reason.EXPIRED


def test_a_raised_epoch_invalidates_the_old_key(clock: TurnableClock) -> None:
    old = NodeKey("01NODE", 1, Secret(secrets.token_bytes(32)))
    assert reason_of(clock, Signer(old, from_master=False, clock=clock).sign(PULSE)) is Reason.STALE_EPOCH


def test_an_unknown_node_has_its_own_reason(clock: TurnableClock) -> None:
    nobody = NodeKey("01NOBODY", 1, Secret(secrets.token_bytes(32)))
    assert reason_of(clock, Signer(nobody, from_master=False, clock=clock).sign(PULSE)) is Reason.UNKNOWN_NODE


def test_a_nodes_message_reflected_back_at_it_is_refused(clock: TurnableClock) -> None:
    text = Signer(KEY, from_master=False, clock=clock).sign(PULSE)
    assert reason_of(clock, text, node_id="01NODE") is Reason.MALFORMED


def test_the_masters_message_to_another_node_is_refused(clock: TurnableClock) -> None:
    text = Signer(OTHER, from_master=True, clock=clock).sign(VerificationResponse(accepted=True))
    assert reason_of(clock, text, node_id="01NODE") is Reason.UNKNOWN_NODE


def _encode(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


@pytest.mark.parametrize("algorithm", ["none", "None", "HS384", "RS256", ""])
def test_the_algorithm_is_pinned(clock: TurnableClock, algorithm: str) -> None:
    header = _encode({"alg": algorithm, "kid": KEY.key_id, "typ": "heartbeat"})
    _, payload, signature = forged(clock).split(".")
    for tail in (signature, ""):
        assert reason_of(clock, f"{header}.{payload}.{tail}") is Reason.MALFORMED


@pytest.mark.parametrize(
    "claims",
    [
        {"body": {"uptime_s": -1.0}},
        {"body": {"uptime_s": "long"}},
        {"body": {"uptime_s": 1.0, "more": 1}},
        {"body": None},
        {"jti": "short"},
        {"jti": "x" * 65},
        {"exp": 4_000_000_000},
        {"more": 1},
        {"seq": "1"},
    ],
)
def test_signed_but_invalid_claims_are_malformed(clock: TurnableClock, claims: dict[str, Any]) -> None:
    assert reason_of(clock, forged(clock, **claims)) is Reason.MALFORMED


def test_an_unknown_type_is_malformed(clock: TurnableClock) -> None:
    assert reason_of(clock, forged(clock, header={"typ": "order"})) is Reason.MALFORMED


def test_deep_nesting_is_malformed(clock: TurnableClock) -> None:
    deep: object = 1
    for _ in range(700):
        deep = [deep]
    assert reason_of(clock, forged(clock, body={"uptime_s": deep})) is Reason.MALFORMED


def test_a_key_is_in_no_repr() -> None:
    assert KEY.secret.reveal().hex() not in repr(KEY)
    with pytest.raises(ValueError, match="32 bytes"):
        NodeKey("a", 1, Secret(b"short"))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_raises_only_refused(text: str) -> None:
    with pytest.raises(Refused):
        verifier(TurnableClock()).open(text)


@settings(max_examples=300, deadline=None)
@given(st.integers(min_value=0), st.characters(codec="ascii"))
def test_a_valid_message_with_one_character_changed_is_refused(position: int, character: str) -> None:
    clock = TurnableClock()
    text = Signer(KEY, from_master=False, clock=clock).sign(PULSE)
    index = position % len(text)
    mutated = text[:index] + character + text[index + 1 :]
    if _same_bytes(mutated, text):
        return
    with pytest.raises(Refused):
        verifier(clock).open(mutated)


def _same_bytes(one: str, other: str) -> bool:
    """Base64 has unused bits at its end: two texts may decode to the same bytes."""
    try:
        return [base64.urlsafe_b64decode(p + "==") for p in one.split(".")] == [
            base64.urlsafe_b64decode(p + "==") for p in other.split(".")
        ]
    except ValueError:
        return False


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    )
)
def test_any_signed_body_raises_only_refused(body: object) -> None:
    clock = TurnableClock()
    try:
        message = verifier(clock).open(forged(clock, body=body))
    except Refused:
        return
    assert isinstance(message.body, Heartbeat)
