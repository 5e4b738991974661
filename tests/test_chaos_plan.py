"""The plan of ``python -m benchmarks.chaos``: the same for everybody, and nothing is left out."""

from __future__ import annotations

from benchmarks.chaos import WEIGHTS, planned_blows


def test_a_seed_gives_the_same_blows_and_another_seed_others() -> None:
    plan = planned_blows(10, 600, 2.0, seed=1)
    assert plan == planned_blows(10, 600, 2.0, seed=1)
    assert plan != planned_blows(10, 600, 2.0, seed=2)
    assert len(plan) == 300
    assert {victim for _, victim in plan} == set(range(10))


def test_each_kind_of_blow_comes_at_least_once() -> None:
    for seed in range(20):
        assert {kind for kind, _ in planned_blows(4, 2.0 * len(WEIGHTS), 2.0, seed)} == set(WEIGHTS)
