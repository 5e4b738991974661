"""Turning an exception into an error report: a fingerprint that stays the same while lines move, a bounded tail."""

from __future__ import annotations

import hashlib
import traceback
from typing import Literal

from handshake.messages import ErrorReport

_TAIL_CHARACTERS = 900
"""Small enough for a report to fit one Discord message once it is signed and base64-encoded."""


def fingerprint_of(error: BaseException) -> str:
    """Return 16 hex digits for the kind of error: its type and the functions it passed, without lines."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.name}" for frame in frames]
    return hashlib.sha256("|".join([type(error).__qualname__, *places]).encode()).hexdigest()[:16]


def describe_error(
    error: BaseException, *, source: Literal["command", "event", "startup", "task"], where: str
) -> ErrorReport:
    """Make the report of an unhandled error."""
    text = "".join(traceback.format_exception(error))
    return ErrorReport(
        source=source,
        where=where[:100],
        exception=type(error).__qualname__[:100],
        fingerprint=fingerprint_of(error),
        message=str(error)[:200],
        traceback=text[-_TAIL_CHARACTERS:],
    )
