"""Sessions: nothing recorded is admitted again, in any order of clocks, restarts and messages."""

from __future__ import annotations

import random

import pytest

from handshake.replay import WINDOW, Sessions, Verdict
from tests.conftest import TurnableClock
from tests.hostile.effort import rounds

YEAR_S = 365 * 86_400.0


def sessions(clock: TurnableClock) -> Sessions:
    return Sessions(clock, tolerance_s=120.0)


def test_a_message_counts_once_in_the_session_that_the_master_opened(clock: TurnableClock) -> None:
    judge = sessions(clock)
    name = judge.open("a")
    assert judge.admit("a", name, 1, 5.0) is Verdict.FRESH
    assert judge.admit("a", name, 1, 5.0) is Verdict.REPLAYED
    assert judge.admit("b", name, 2, 5.0) is Verdict.STALE
    assert judge.admit("a", None, 2, 5.0) is Verdict.STALE
    assert judge.offered("a") == judge.offered("a") != name


def test_two_transports_may_overtake_each_other_but_not_by_any_amount(clock: TurnableClock) -> None:
    judge = sessions(clock)
    name = judge.open("a")
    for sequence in (WINDOW + 2, 5, WINDOW, 4, 3):
        assert judge.admit("a", name, sequence, 0.0) is Verdict.FRESH, sequence
    for sequence in (2, 1, 5, WINDOW + 2):
        assert judge.admit("a", name, sequence, 0.0) is Verdict.REPLAYED, sequence
    assert judge.admit("a", name, 10 * WINDOW, 0.0) is Verdict.FRESH
    assert judge.admit("a", name, WINDOW + 2, 0.0) is Verdict.REPLAYED


@pytest.mark.parametrize("step_s", [-30 * YEAR_S, -3600.0, -300.0, 300.0, 3600.0, 30 * YEAR_S])
def test_a_clock_that_was_set_takes_one_new_session(clock: TurnableClock, step_s: float) -> None:
    judge, wall = sessions(clock), 1_700_000_000.0
    name = judge.open("a")
    assert judge.admit("a", name, 1, wall) is Verdict.FRESH
    wall += step_s
    assert judge.admit("a", name, 2, wall) is Verdict.STALE
    name = judge.offered("a")
    assert judge.admit("a", name, 3, wall) is Verdict.FRESH
    clock.turn(86_400)
    assert judge.admit("a", name, 4, wall + 86_400) is Verdict.FRESH


def test_what_was_held_back_is_stale_whatever_the_clock_says_then(clock: TurnableClock) -> None:
    judge = sessions(clock)
    name = judge.open("a")
    assert judge.admit("a", name, 1, 1_000.0) is Verdict.FRESH
    clock.turn(200)
    assert judge.admit("a", name, 2, 1_000.0) is Verdict.STALE


def test_whoever_replays_what_is_stale_does_not_disturb_the_node(clock: TurnableClock) -> None:
    judge = sessions(clock)
    recorded = judge.open("a")
    assert judge.admit("a", recorded, 1, 0.0) is Verdict.FRESH
    current = judge.open("a")
    assert judge.admit("a", current, 1, 0.0) is Verdict.FRESH
    for number in range(50):
        assert judge.admit("a", recorded, number, 0.0) is Verdict.STALE
        judge.offered("a")
    assert judge.admit("a", current, 2, 0.0) is Verdict.FRESH


def test_no_recording_is_ever_admitted_again() -> None:
    """A recorder hears all and plays it back at random, while clocks are set, nodes and masters restart."""
    rng = random.Random(8)  # noqa: S311 - a test's own
    clock, wall_s = TurnableClock(0.0), 1.7e9
    judge = sessions(clock)
    session, sequence = judge.open("a"), 0
    recorded: list[tuple[str, int, float]] = []
    counts = {"sent": 0, "admitted": 0, "asked": 0, "played back": 0, "clock set": 0, "restarts": 0}
    for _ in range(rounds(20_000)):
        what = rng.random()
        clock.turn(seconds := rng.random() * 20)
        wall_s += seconds
        if what < 0.02:
            wall_s += rng.choice([-1, 1]) * rng.choice([5.0, 300.0, 86_400.0, 20 * YEAR_S])
            counts["clock set"] += 1
        elif what < 0.04:
            judge = sessions(clock)
            counts["restarts"] += 1
        elif what < 0.06:
            session, sequence = judge.open("a"), 0
            counts["restarts"] += 1
        elif what < 0.5 and recorded:
            counts["played back"] += 1
            assert judge.admit("a", *rng.choice(recorded)) is not Verdict.FRESH
        else:
            for first in (True, False):
                counts["sent"] += 1
                sequence = counts["sent"]
                message = session, sequence, float(int(wall_s))
                verdict = judge.admit("a", *message)
                recorded.append(message)
                if verdict is Verdict.FRESH:
                    counts["admitted"] += 1
                    break
                # A node is asked, never refused; and its next message counts.
                assert (verdict, first) == (Verdict.STALE, True)
                counts["asked"] += 1
                session = judge.offered("a")
    print(f"sessions: {counts}")
    assert counts["admitted"] + counts["asked"] == counts["sent"]
