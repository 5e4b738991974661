"""How often a solution may act: each limit is a reason in words."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from master.ledger.rows.records import SolutionRun
from master.services.healing.solution import Solution
from master.services.repair.runs import ATTEMPTED, PROVEN, Known, Runs
from master.wording import duration

HOUR_S = 3_600.0
SUSPENDED_BELOW, SUSPENDED_FROM_RUNS, SUSPENDED_FROM_OCCASIONS = 0.25, 4, 2
"""A solution with a lower cure rate, in as many runs, on as many occasions, is suspended."""
SUSPENDED_FROM_NODES = 2
"""As many nodes have to agree, if there are as many: what one of them writes must not cost the others a good one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a solution must not act now."""

    kind: Literal["given_up", "cooldown", "fleet", "share", "node"]
    reason: str
    for_s: float
    """When it may act again; infinite if only a cure or an operator changes it."""


def refusal_of(
    solution: Solution,
    node_id: str,
    runs: Runs,
    *,
    now_s: float,
    most_on_node: int,
    name: str,
    detects: bool = False,
    is_alone: bool = False,
) -> Refusal | None:
    """Return why a solution must not act on a node now; None if it may.

    Parameters
    ----------
    now_s
        Monotonic seconds.
    most_on_node
        Runs in an hour on one node, of all solutions.
    name
        The node's.
    detects
        It only says what it would do: that uses up its own limits, so that its number is real, and nobody else's.
    is_alone
        There is no other node in the fleet.
    """

    def counts(known: Known) -> bool:
        run = known.run
        would_have = run.outcome == "detected" and detects and run.solution_id == solution.id
        return would_have or run.outcome in ATTEMPTED or (run.outcome == "skipped" and not known.is_refusal)

    tried = runs.fruitless(node_id, solution.id)
    if tried >= solution.most_attempts:
        times = "once" if tried == 1 else f"{tried} times in a row"
        reason = f"it did not help {times} on {name}; left to you"
        return Refusal(kind="given_up", reason=reason, for_s=math.inf)
    last = next(filter(counts, runs.latest(node_id=node_id, solution_id=solution.id)), None)
    if last is not None and (left_s := last.began_s + solution.cooldown_s - now_s) > 0:
        reason = f"it acted on {name} {duration(now_s - last.began_s)} ago; its cooldown is {solution.cooldown_s:g} s"
        return Refusal(kind="cooldown", reason=reason, for_s=left_s)
    in_fleet = list(filter(counts, runs.latest(solution_id=solution.id, within_s=HOUR_S)))
    if len(in_fleet) >= solution.most_an_hour:
        reason = f"it acted {_times(len(in_fleet))} within an hour, as often as it may (most_an_hour)"
        return Refusal(kind="fleet", reason=reason, for_s=_until_free(in_fleet, solution.most_an_hour, now_s))
    if not is_alone:
        own, share = [known for known in in_fleet if known.run.node_id == node_id], share_of(solution)
        if len(own) >= share:
            reason = (
                f"it acted on {name} {_times(len(own))} within an hour; the rest of most_an_hour is for other nodes"
            )
            return Refusal(kind="share", reason=reason, for_s=_until_free(own, share, now_s))
    on_node = list(filter(counts, runs.latest(node_id=node_id, within_s=HOUR_S)))
    if len(on_node) >= most_on_node:
        reason = f"{_who(on_node)} on {name} within an hour, as often as may be (MOST_REPAIRS_AN_HOUR)"
        return Refusal(kind="node", reason=reason, for_s=_until_free(on_node, most_on_node, now_s))
    return None


def share_of(solution: Solution) -> int:
    """Return how many of the runs that a solution has in an hour one node may take: others may need it, too."""
    wanted = max(math.ceil(solution.most_an_hour / 2), solution.most_attempts)
    return max(min(wanted, solution.most_an_hour - 1), 1)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _who(runs: Sequence[Known]) -> str:
    """Say which solutions acted: of several it may be that they fight each other."""
    by_solution = dict[str, int]()
    for known in runs:
        by_solution[known.run.solution_id] = by_solution.get(known.run.solution_id, 0) + 1
    if len(by_solution) == 1:
        return f"{next(iter(by_solution))} acted {_times(len(runs))}"
    told = ", ".join(
        f"{name} {count}" for name, count in sorted(by_solution.items(), key=lambda one: (-one[1], one[0]))[:4]
    )
    return f"several solutions acted, which may undo each other's work ({told}),"


def _until_free(runs: Sequence[Known], most: int, now_s: float) -> float:
    """Return after how many seconds fewer than ``most`` of the runs, newest first, are within the hour."""
    return max(runs[most - 1].began_s + HOUR_S - now_s, 1.0)


def is_fruitless(runs: Iterable[SolutionRun], *, nodes: int, gap_s: float = HOUR_S) -> bool:
    """Tell whether a solution, by its runs newest first, does not cure and should be suspended.

    Each node has one vote, however often it was repaired.

    Parameters
    ----------
    nodes
        How many there are in the fleet.
    gap_s
        Runs on one node that are nearer to each other are one occasion: one bot that cannot be cured is no verdict.
    """
    proven = [run for run in runs if run.outcome in PROVEN][:20]
    by_node = defaultdict[str, list[bool]](list)
    for run in proven:
        by_node[run.node_id].append(run.outcome == "helped")
    if len(proven) < SUSPENDED_FROM_RUNS or len(by_node) < min(nodes, SUSPENDED_FROM_NODES):
        return False
    if sum(sum(helped) / len(helped) for helped in by_node.values()) / len(by_node) >= SUSPENDED_BELOW:
        return False
    return _occasions(proven, gap_s) >= SUSPENDED_FROM_OCCASIONS


def _occasions(runs: Sequence[SolutionRun], gap_s: float) -> int:
    last, count = dict[str, SolutionRun](), 0
    for run in reversed(runs):
        before = last.get(run.node_id)
        if before is None or before.outcome == "helped" or (run.at - before.at).total_seconds() >= gap_s:
            count += 1
        last[run.node_id] = run
    return count
