"""The replay guard, against a model."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from handshake.replay import ReplayGuard
from tests.conftest import TurnableClock

CAPACITY = 8
NODES = st.sampled_from(["a", "b"])
TOKENS = st.integers(0, 12).map(str)


class ReplayModel(RuleBasedStateMachine):
    """Admits no unexpired message twice, stays bounded, and keeps nodes separate."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = TurnableClock(1_000.0)
        self.guard = ReplayGuard(self.clock, capacity=CAPACITY)
        self.remembered: dict[tuple[str, str], float] = {}

    @rule(node=NODES, token=TOKENS, life=st.integers(0, 30))
    def offer(self, node: str, token: str, life: int) -> None:
        now = self.clock()
        self.remembered = {key: exp for key, exp in self.remembered.items() if exp >= now}
        mine = [key for key in self.remembered if key[0] == node]
        expected = (node, token) not in self.remembered and len(mine) < CAPACITY
        assert self.guard.admit(node, token, now + life) is expected
        if expected:
            self.remembered[node, token] = now + life

    @rule(seconds=st.integers(1, 20))
    def wait(self, seconds: int) -> None:
        self.clock.turn(seconds)

    @rule(node=NODES)
    def forget(self, node: str) -> None:
        self.guard.forget(node)
        self.remembered = {key: exp for key, exp in self.remembered.items() if key[0] != node}

    @invariant()
    def is_bounded(self) -> None:
        assert len(self.guard) <= 2 * CAPACITY


ReplayModel.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestReplayGuard = ReplayModel.TestCase


def test_a_noisy_node_does_not_evict_entries_of_another(clock: TurnableClock) -> None:
    guard = ReplayGuard(clock, capacity=4)
    assert guard.admit("quiet", "once", clock() + 60)
    for number in range(100):
        guard.admit("noisy", str(number), clock() + 60)
    assert not guard.admit("quiet", "once", clock() + 60)
    assert len(guard) == 5
