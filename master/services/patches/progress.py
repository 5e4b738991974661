"""What a roll-out has to remember beside its state; written to the ledger with its plan."""

from __future__ import annotations

import msgspec

from master.ledger.rows.records import Patch, PatchState
from master.services.patches.plan import RolloutPlan


class Progress(RolloutPlan, frozen=True, kw_only=True):
    """A plan, and how far it is. Read as a :class:`RolloutPlan`, it is the plan."""

    waves_in_all: int = 0
    """Canary included; known once the nodes were divided."""
    approved_by: tuple[str, ...] = ()
    wanted_by: str = ""
    """The operator who wants it rolled out, while others still have to approve it."""
    chosen: tuple[str, ...] = ()
    """Ids of the nodes that the operator chose; empty: all that it is for."""
    paused_in: PatchState | None = None
    """The state to which a paused roll-out returns."""
    paused_after_s: float = 0.0
    """For how long the wave had been watched when it was paused: the pause itself is not watched."""
    soak_began: float = 0.0
    """Unix time in seconds; 0: the wave is not watched yet."""
    soak_for_s: float = 0.0
    """How long the wave is watched by now, longer than planned while nothing happens."""
    goes_back: bool = False
    """Whether it was turned back, for good: whatever is done to it then, no node is given it again."""
    by_operator: bool = False
    """Whether an operator rolls it back, who needs no caution of ours."""
    restarts: bool = False
    """Whether nodes restart for it."""
    template: str = ""
    """What became of it on the template."""


_PROGRESSES = msgspec.json.Decoder(Progress)
"""Made when this is imported: two threads that are the first to decode a type end their process (msgspec 0.22)."""
MAX_CHARACTERS = 4_000
"""Of the column ``patches.rollout_plan``."""


def progress_of(patch: Patch) -> Progress:
    """Return how far a patch is, beside its state."""
    return _PROGRESSES.decode(patch.rollout_plan)


def progress_text(progress: Progress) -> str:
    """Return a progress as it is written to the ledger."""
    return msgspec.json.encode(progress).decode()


def begin(plan: RolloutPlan) -> Progress:
    """Return the progress of a plan of which nothing is done."""
    return msgspec.convert(msgspec.structs.asdict(plan), Progress)
