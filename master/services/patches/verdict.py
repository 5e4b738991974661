"""What is said of a wave after it was watched: good, bad, or nothing that could be said."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

import msgspec

from master.ledger.rows.records import Patch
from master.services.patches.plan import RolloutPlan


class Outcome(StrEnum):
    """Of a wave that was watched."""

    GOOD = "good"
    BAD = "bad"
    INCONCLUSIVE = "inconclusive"
    """Nothing happened: it may be good, and nobody used it."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the facts say, and which they are."""

    outcome: Outcome
    reason: str = ""
    """In one line: `TypeError in cogs/ranks.py on atlas and vega, which unpatched nodes do not have`."""
    traceback: str = ""
    bad_nodes: tuple[str, ...] = ()
    """Ids of the nodes on which it is bad."""


class Judge(Protocol):
    """Judges what patched nodes do, by facts that a fleet of ten has."""

    async def baseline(self, node_id: str) -> str:
        """Return what is true of a node before it is patched, as JSON."""

    async def judge(self, patch: Patch, plan: RolloutPlan, baselines: Mapping[str, str], soaked_s: float) -> Verdict:
        """Judge the patched nodes, whose ids have a baseline each, compared with before and with those unpatched."""
