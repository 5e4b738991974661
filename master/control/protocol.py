"""What travels over the control socket; imported by both ends, so it imports nothing heavy.

One connection carries one request, as one line of JSON::

    {"method": "restart", "params": {"names": ["atlas"]}}

The answer is any number of ``event`` lines (progress, or a stream such as ``events``), then exactly one ``result``
or ``error`` line. The caller is whoever the kernel says is at the other end (SO_PEERCRED); nothing in the request
can claim otherwise.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from handshake.manifest import DEFAULT_TOKEN_VARIABLE

MAX_LINE_BYTES = 4 * 1024 * 1024
"""Longest answer line: the status of some thousands of nodes."""
MAX_REQUEST_BYTES = 64 * 1024


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request."""

    method: str
    params: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Request(method={self.method!r})"  # params may hold a token


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of an answer."""

    kind: Literal["event", "result", "error"]
    data: Any = None
    code: str = ""
    message: str = ""
    hint: str = ""
    exit_code: int = 0


# Parameters, one struct a method; the method's name is in the comment, its result behind the arrow.


class NoParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``ping`` -> MasterStatus; ``events`` -> FleetEvent events until the caller hangs up."""


class StatusParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``status`` -> FleetStatus."""

    strays: bool = False
    """Walk the process table for strays as well (costs milliseconds)."""


class NamesParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The verbs (``start``, ``stop``, ...) -> ActionResult events, then all; ``logs`` -> list[LogPaths]."""

    names: tuple[str, ...] = ()
    all: bool = False


class RollParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``roll`` (a rolling restart) -> ActionResult events, then all."""

    names: tuple[str, ...] = ()
    all: bool = False
    width: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2
    """Nodes replaced at the same time."""


class NodeParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``history`` -> NodeHistoryView."""

    name: str


class AuditParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``audit`` -> list[AuditView], newest first."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50
    node: str = ""
    action: str = ""


class LedgerParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``ledger_status`` -> LedgerStatus."""

    exact: bool = False
    """Count every row, which reads all of them."""


class BackupParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``backup`` -> BackupView; without parameters ``audit_verify``, ``ledger_verify`` -> Soundness."""

    path: str = ""
    """Absolute path of a new file; empty: one in the state folder."""


class RegisterParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``register`` -> Registered."""

    name: str
    token: str
    folder: str = ""
    """An existing folder below BOTS_BASE_PATH; empty: cloned from the template."""
    entry: str = "bot.py"
    readiness: Literal["handshake", "process", "auto"] = "auto"
    """``auto``: handshake when the folder holds a node of ours, process otherwise."""
    link: bool = False
    """Join its program, which knows nothing of the fleet, to it; only with ``folder``."""
    token_env: str = DEFAULT_TOKEN_VARIABLE
    """The environment variable in which a linked program reads its token."""
    tier: str = ""
    tags: tuple[str, ...] = ()
    start: bool = True

    def __repr__(self) -> str:
        return f"RegisterParams(name={self.name!r}, folder={self.folder!r}, token=...)"


class DuplicateParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``dup`` -> progress events (FleetEvent, kind ``step``), then Registered."""

    name: str
    token: str
    source: str = ""
    """Name of the node to clone; empty: the template."""
    tier: str = ""
    tags: tuple[str, ...] = ()
    start: bool = True

    def __repr__(self) -> str:
        return f"DuplicateParams(name={self.name!r}, source={self.source!r}, token=...)"


class ShutdownParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``shutdown`` -> null, once the master has begun to stop."""

    stop_nodes: bool = True
