"""A judge that looks at states alone: stands in until errors, exits and memory are judged."""

from __future__ import annotations

from collections.abc import Mapping

from master.ledger.rows.records import Patch
from master.services.patches.plan import RolloutPlan
from master.services.patches.verdict import Outcome, Verdict
from master.supervision.states import NodeState
from master.supervision.supervisor import Supervisor


class StandingJudge:
    """Call a wave good whose nodes are ready."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def baseline(self, node_id: str) -> str:
        """Return the state of a node."""
        return f'{{"state": "{self._supervisor.view(node_id).state}"}}'

    async def judge(self, patch: Patch, plan: RolloutPlan, baselines: Mapping[str, str], soaked_s: float) -> Verdict:
        """Judge by whether the nodes are ready."""
        ready = all(self._supervisor.view(node_id).state is NodeState.READY for node_id in baselines)
        return Verdict(outcome=Outcome.GOOD if ready else Outcome.INCONCLUSIVE, reason="" if ready else "not all ready")
