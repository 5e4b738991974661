"""When a solution is taken for one that does not cure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from master.ledger.rows.records import SolutionRun
from master.services.repair.limits import is_fruitless

_OUTCOMES = {"+": "helped", "-": "did_not_help", "?": "interrupted"}


def runs_of(*nodes: str) -> list[SolutionRun]:
    """Return runs of some nodes, a minute apart: one character each, oldest first."""
    found, at = list[SolutionRun](), datetime(2026, 11, 22, 18, tzinfo=UTC)
    for number, outcomes in enumerate(nodes):
        for outcome in outcomes:
            at += timedelta(minutes=1)
            found.append(
                SolutionRun(
                    id=f"{len(found):026}",
                    at=at,
                    node_id=f"node {number}",
                    solution_id="stale_cache",
                    content_hash="",
                    fingerprint="",
                    seen_in="stderr",
                    line="stale cache",
                    action="restart",
                    outcome=_OUTCOMES[outcome],
                )
            )
    return found[::-1]


@pytest.mark.parametrize(
    ("nodes", "in_fleet", "is_suspended"),
    [
        # Whoever has a node's log can write what looks like a cure now and then, and like a relapse always.
        (("--+---",), 2, False),
        (("--+---",), 1, True),
        (("--+---", "+"), 2, False),
        (("--+--------------", "+", "+"), 3, False),
        (("--", "--"), 2, True),
        (("--", "-?"), 2, False),
        (("---",), 1, False),
        # One bot that cannot be cured is no verdict, in however many runs.
        (("------",), 1, False),
    ],
)
def test_a_solution_is_suspended_if_it_cures_on_no_node(
    nodes: tuple[str, ...], in_fleet: int, is_suspended: bool
) -> None:
    assert is_fruitless(runs_of(*nodes), nodes=in_fleet) is is_suspended
