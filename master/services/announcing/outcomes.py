"""What became of an attempt to send something somewhere."""

from __future__ import annotations

from enum import StrEnum

import msgspec


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
