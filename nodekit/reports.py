"""Error reports of exceptions: their fingerprint, and a bounded traceback."""

from __future__ import annotations

import traceback
from typing import Literal

from handshake.messages import ErrorReport
from nodekit.fingerprints import fingerprint_of, text_of

_TAIL_CHARACTERS = 900
"""Small enough for a signed, base64-encoded report to fit into one Discord message."""


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
        message=text_of(error)[:200],
        traceback=text[-_TAIL_CHARACTERS:],
    )
