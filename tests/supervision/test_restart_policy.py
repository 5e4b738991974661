"""The restart policy."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from master.configuration.settings import SupervisionSettings
from master.supervision.restart_policy import DAILY_EXITS, RestartPolicy

SETTINGS = SupervisionSettings(
    backoff_initial_s=1, backoff_factor=2, backoff_cap_s=10, backoff_jitter=0.0, quarantine_exits=8
)


def policy(settings: SupervisionSettings = SETTINGS) -> RestartPolicy:
    return RestartPolicy(settings, random.Random(1))  # noqa: S311


def test_the_first_restart_is_immediate_and_further_ones_back_off_up_to_the_cap() -> None:
    restart_policy = policy()
    delays = [restart_policy.after_exit(1000.0 + number, ready_for_s=None).delay_s for number in range(7)]
    assert delays == [0, 1, 2, 4, 8, 10, 10]


def test_too_many_exits_in_the_window_quarantine_and_more_do_not_end_it() -> None:
    restart_policy = policy()
    decisions = [restart_policy.after_exit(1000.0 + number, ready_for_s=1.0) for number in range(12)]
    assert [decision.quarantined for decision in decisions] == [False] * 8 + [True] * 4
    assert decisions[-1].delay_s == SETTINGS.quarantine_retry_s
    assert restart_policy.after_exit(99_999.0, ready_for_s=1.0).quarantined


def test_a_node_that_had_been_ready_restarts_at_once_up_to_the_daily_limit() -> None:
    restart_policy = policy()
    decisions = [restart_policy.after_exit(1000.0 + 15 * number, ready_for_s=12.0) for number in range(DAILY_EXITS + 1)]
    assert {decision.delay_s for decision in decisions[:-1]} == {0}
    assert decisions[-1].quarantined


def test_a_healthy_period_resets_the_policy() -> None:
    restart_policy = policy()
    for number in range(12):
        restart_policy.after_exit(1000.0 + number, ready_for_s=None)
    decision = restart_policy.after_exit(5000.0, ready_for_s=SETTINGS.healthy_after_s)
    assert (decision.delay_s, decision.quarantined) == (0, False)


@given(st.lists(st.floats(0, 30), min_size=1, max_size=60), st.none() | st.floats(0, 119))
def test_a_crash_loop_never_comes_near_discords_thousand_identifies(
    gaps: list[float], ready_for_s: float | None
) -> None:
    """For any pattern of exits, a day of restarts without a healthy period stays far below 1,000."""
    restart_policy = RestartPolicy(SupervisionSettings(), random.Random(2))  # noqa: S311
    now, starts, index = 0.0, 0, 0
    while now < 86_400:
        now += 1.0 + gaps[index % len(gaps)]
        index += 1
        now += restart_policy.after_exit(now, ready_for_s=ready_for_s).delay_s
        starts += 1
    assert starts < 200
