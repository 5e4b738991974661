"""What is seen of an error, wherever it shows: the end of a process, its output, a signed report, a state."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class SeenIn(StrEnum):
    """Where an error shows."""

    EXIT = "exit"
    """The end of a process: how it ended in the first line, then the last lines that it wrote."""
    STDERR = "stderr"
    STDOUT = "stdout"
    """For programs that print their errors; read only while a solution applies to it."""
    REPORT = "report"
    """A signed report: ``SOURCE WHERE: EXCEPTION: MESSAGE``, then the traceback."""
    GATEWAY_CLOSE = "gateway_close"
    """Discord closed the connection: ``gateway closed with CODE``."""
    STATE = "state"
    """A change of a node's state: ``STATE: DETAIL``, such as ``degraded: no pulse for 27 s``."""


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """An error as it was seen once, or ``count`` times in a row."""

    node_id: str
    at: datetime
    seen_in: SeenIn
    text: str
    """Its lines, tokens hidden."""
    lines_before: tuple[str, ...] = ()
    """What the node wrote before it, for people."""
    exception: str = ""
    """The exception's type, where it is known."""
    fingerprint: str = ""
    """A node's own, of a signed report; groups of errors may have another."""
    count: int = 1
