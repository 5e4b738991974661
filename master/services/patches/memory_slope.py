"""How fast the memory of a process grows: by medians, so that a peak or a collection decides nothing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LEAST_S = 300.0
"""A shorter time says nothing of a slope."""
_LEAST_READINGS, _MOST_READINGS = 5, 120
HOUR_S = 3_600.0


class Reading(NamedTuple):
    """The memory of a process at a moment."""

    at: float
    """Seconds, of any clock."""
    mb: float


class Growth(NamedTuple):
    """How memory grew."""

    mb_per_hour: float
    """The median of the slopes between all pairs of readings (Theil-Sen)."""
    mb: float
    """From the median of the first third to that of the last."""
    is_steady: bool
    """Whether each third is above the one before."""
    seconds: float


def growth_of(readings: Sequence[Reading]) -> Growth | None:
    """Return how memory grew; None where there are too few readings to tell."""
    kept = [reading for reading in readings if reading.mb > 0.0]
    if len(kept) < _LEAST_READINGS or kept[-1].at - kept[0].at < LEAST_S:
        return None
    from statistics import median

    step = -(-len(kept) // _MOST_READINGS)
    kept = kept[::step]
    slopes = [
        (later.mb - earlier.mb) / (later.at - earlier.at)
        for index, earlier in enumerate(kept)
        for later in kept[index + 1 :]
        if later.at > earlier.at
    ]
    third = max(len(kept) // 3, 1)
    first, middle, last = (
        median(reading.mb for reading in part) for part in (kept[:third], kept[third:-third], kept[-third:])
    )
    return Growth(
        mb_per_hour=median(slopes) * HOUR_S,
        mb=last - first,
        is_steady=first < middle < last,
        seconds=kept[-1].at - kept[0].at,
    )
