"""Error reports of exceptions: a fingerprint that does not depend on line numbers, and a bounded traceback."""

from __future__ import annotations

import hashlib
import os
import traceback
from typing import Literal

import discord

from handshake.messages import ErrorReport

_LIBRARY = os.path.join(discord.__path__[0], "")
_TAIL_CHARACTERS = 900
"""Small enough for a signed, base64-encoded report to fit into one Discord message."""


def fingerprint_of(error: BaseException) -> str:
    """Return 16 hex digits that identify an error: a hash of its type and functions, without line numbers.

    discord.py's functions do not count: a hybrid command is called by others as text than as a slash command.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_LIBRARY)] or frames
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.name}" for frame in own[-8:]]
    if isinstance(error, SyntaxError):
        places.append(os.path.basename(error.filename or ""))
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
