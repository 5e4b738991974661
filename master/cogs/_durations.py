"""Durations as people type them on Discord: 30m, 12h, 7d, 1d12h."""

from __future__ import annotations

import re

from master.errors import FleetError

_PART = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(s|m|h|d|w)[a-z]*\s*", re.IGNORECASE)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


def seconds_of(text: str) -> float:
    """Return the seconds of a duration.

    Raises
    ------
    FleetError
        It is none.
    """
    typed, at, seconds = text.strip(), 0, 0.0
    while typed and (found := _PART.match(typed, at)):
        seconds += float(found[1]) * _SECONDS[found[2].lower()]
        at = found.end()
        if at == len(typed):
            return seconds
    raise FleetError(f"{text[:40]!r} is no duration", hint="type 30m, 12h, 7d, or 1d12h")
