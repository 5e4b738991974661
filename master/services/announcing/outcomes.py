"""What became of an attempt to send something somewhere."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

MOST_PATIENCE_S = 86_400.0
_LINK = re.compile(r"https?://[^\s<>()\[\]\"'`\\]{1,400}", re.IGNORECASE)


class Fate(StrEnum):
    """What became of it."""

    SENT = "sent"
    AWAY = "away"
    """It was not taken, and may be later: unreachable, overloaded, an error of its own."""
    REFUSED = "refused"
    """It was not taken, and will not be."""
    UNKNOWN = "unknown"
    """It was handed over, and no answer came."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one attempt."""

    fate: Fate
    url: str = ""
    """Of what was sent, if the place says it."""
    detail: str = ""
    """Why not, in words for people; holds no secret."""
    retry_after_s: float = 0.0
    """How long the place asks for patience."""


def patience_of(retry_after: str) -> float:
    """Return the seconds of a Retry-After, of a day at most; 0 for none, or a date."""
    try:
        found = float(retry_after)
    except ValueError:
        return 0.0
    # Not a number, too, is none.
    return min(found, MOST_PATIENCE_S) if found > 0.0 else 0.0


def link_of(answer: object) -> str:
    """Return the address in a place's answer, which may be anything; empty if it is none."""
    return answer if isinstance(answer, str) and _LINK.fullmatch(answer) else ""
