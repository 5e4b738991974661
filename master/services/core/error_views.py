"""Views of groups of errors. Imports nothing heavy: the command line decodes them without loading the master."""

from __future__ import annotations

import msgspec


class ErrorOnNode(msgspec.Struct, frozen=True, kw_only=True):
    """How often an error was seen on a node, as far back as errors are kept."""

    node: str
    count: int
    last_at: float
    """Unix time in seconds."""


class ErrorGroupView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is taken for the same error, on all nodes; times in Unix seconds."""

    fingerprint: str
    state: str
    """``new``, ``known``, ``regressed``, ``resolved`` or ``muted``, at the time of asking."""
    kind: str
    """``exception``, ``exit``, ``line`` or ``state``."""
    title: str
    count: int
    first_at: float
    last_at: float
    nodes: tuple[ErrorOnNode, ...] = ()
    """Those with the most errors first."""
    muted_until: float | None = None
    """None, of one that is muted: for good."""
    changed_at: float | None = None
    changed_by: str = ""
    """The operator who muted or resolved it."""


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a group of errors."""

    group: ErrorGroupView
    lines_before: tuple[str, ...] = ()
    """What the node wrote before it, when it was seen last."""
    text: str = ""
    """How it looked: a line, or a report or an exit with its traceback."""
    solutions: tuple[str, ...] = ()
    """The ids of the solutions that know it."""
