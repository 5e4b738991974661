"""A fuzzer of the verifier: forged, cut, replayed, mutated and re-targeted messages, and numbers at every boundary.

``FLEET_FUZZ=100000`` makes a million of them. An oracle that shares no line with the verifier says which few may pass.
"""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest

from handshake.errors import Reason, Refused
from handshake.messages import BODIES, Body
from handshake.replay import ReplayGuard
from handshake.signing import KeyFinder, NodeKey, Verifier
from tests.conftest import TurnableClock
from tests.hostile.attacker import SEED, Attacker, Oracle, parts_of
from tests.hostile.effort import rounds

ROUNDS = 2_000
MESSAGES_A_ROUND = 10
STEP_S = 0.2
"""How far the clock moves with each message: what was accepted is forgotten before a node's capacity is used up."""


def test_nothing_forged_passes_and_nothing_but_a_refusal_is_raised(capsys: pytest.CaptureFixture[str]) -> None:
    clock = TurnableClock()
    attacker = Attacker(clock)
    oracle = Oracle(attacker)
    verifier = Verifier(_keys_of(attacker), clock=clock, replay_guard=ReplayGuard(clock))
    counts: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    spent = 0.0
    for number in range(rounds(ROUNDS) * MESSAGES_A_ROUND):
        clock.turn(STEP_S)
        honest = number % 20 == 0
        make = attacker.genuine if honest else attacker.rng.choice(attacker.kinds)
        text, began = make(), time.perf_counter()
        try:
            body: Body = verifier.open(text).body
        except Refused as refused:
            spent += time.perf_counter() - began
            counts[refused.reason.value] += 1
            if honest:
                raise AssertionError("a genuine message was refused") from refused
            continue
        spent += time.perf_counter() - began
        passed[make.__name__] += 1
        assert oracle.allows(text), f"{make.__name__} passed: {text[:300]!r}"
        assert type(body) is BODIES[json.loads(parts_of(text)[0])["typ"]]
        attacker.sent = [*attacker.sent[-40:], text]
    with capsys.disabled():
        print(
            f"\nverifier, seed {SEED}: {sum(counts.values()):,} hostile messages refused {dict(counts)}, "
            f"{sum(passed.values()):,} valid ones accepted {dict(passed)}; {number / spent:,.0f} messages/s"
        )
    wanted = {Reason.BAD_SIGNATURE, Reason.MALFORMED, Reason.EXPIRED, Reason.REPLAYED, Reason.UNKNOWN_NODE}
    assert {reason.value for reason in (*wanted, Reason.STALE_EPOCH)} <= counts.keys(), (
        "the fuzzer has lost its variety"
    )


def _keys_of(attacker: Attacker) -> KeyFinder:
    def find(node_id: str, epoch: int) -> NodeKey:
        for key in (attacker.key, attacker.other):
            if key.node_id == node_id:
                if key.epoch != epoch:
                    raise Refused(Reason.STALE_EPOCH, "another epoch")
                return key
        raise Refused(Reason.UNKNOWN_NODE, "no such node")

    return find
