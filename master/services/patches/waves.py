"""Division of nodes into waves: the canary first, then by percent of all."""

from __future__ import annotations

import math
from collections.abc import Sequence

from master.services.patches.plan import RolloutPlan


def divide(node_ids: Sequence[str], plan: RolloutPlan) -> list[tuple[str, ...]]:
    """Return the nodes of each wave, in their order; none is empty, and each node is in one.

    Each wave that follows the canary has at least one node more than there were before it.
    """
    ends = [plan.canary] if plan.canary else []
    ends += [math.ceil(len(node_ids) * percent / 100) for percent in (*plan.waves, 100)]
    waves, begin = [], 0
    for end in ends:
        if begin < len(node_ids):
            stop = max(end, begin + 1)
            waves.append(tuple(node_ids[begin:stop]))
            begin = stop
    return waves
