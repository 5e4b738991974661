"""How a patch is rolled out: what its author, the settings and the operator's command say, as one plan."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from handshake.patch_document import PatchDocument
from master.configuration.settings import PatchSettings

T = TypeVar("T")


class RolloutPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a roll-out keeps to from its beginning to its end; written to the ledger with the patch."""

    canary: int
    waves: tuple[int, ...]
    """Percent of all nodes after each wave that follows the canary; the last is 100."""
    soak_s: float
    most_soak_s: float
    most_failed: int
    answer_within_s: float
    at_once: int
    back_at_once: int
    approvals: int
    memory_slope_mb_h: float
    urgent: bool = False
    """All at once, without a canary, compared with a fleet that is broken already."""
    good_after_s: float = 0.0
    """How long a node works with it before it calls it good by itself."""


def plan_for(
    document: PatchDocument,
    settings: PatchSettings,
    *,
    canary: int | None = None,
    soak_s: float | None = None,
    urgent: bool = False,
) -> RolloutPlan:
    """Return the plan of a roll-out: the operator's word wins, then the author's, then the settings'."""
    wanted = document.rollout
    soak = _first(soak_s, wanted.soak_s, settings.soak_s)
    waves = wanted.waves if wanted.waves else settings.waves
    return RolloutPlan(
        canary=0 if urgent else _first(canary, wanted.canary, settings.canary),
        waves=(100,) if urgent else tuple(sorted({*waves, 100})),
        soak_s=soak,
        most_soak_s=max(settings.most_soak_s, soak),
        most_failed=settings.most_failed,
        answer_within_s=settings.answer_within_s,
        at_once=settings.at_once,
        back_at_once=settings.back_at_once,
        approvals=settings.approvals,
        memory_slope_mb_h=settings.memory_slope_mb_h,
        urgent=urgent,
        good_after_s=min(soak, 30.0),
    )


def _first(given: T | None, by_author: T | None, setting: T) -> T:
    if given is not None:
        return given
    return setting if by_author is None else by_author
