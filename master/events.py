"""What happens in a fleet: typed events.

Supervision, the ledger and the services publish them on the bus (:mod:`master.bus`); whoever wants to act on one
subscribes. ``kind`` is the word that the ledger and ``fleet events`` use. Everything in ``master`` above the
configuration may import this module.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal

import msgspec

from handshake.messages import ErrorReport


class AlertLevel(StrEnum):
    """How much an alert matters; each face has a colour for it."""

    INFORMATION = "information"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Root of all events."""

    kind: ClassVar[str] = ""
    essential: ClassVar[bool] = False
    """Never dropped from a full queue: what concerns security, and errors. See :attr:`fold_key`."""

    at: datetime

    @property
    def fold_key(self) -> tuple[str, ...]:
        """In a full queue, essential events with equal keys are kept once, the newest, with a count.

        The keys are few (nodes times reasons), so the queue stays bounded without losing any trouble altogether.
        """
        return (type(self).__name__,)


class NodeEvent(Event, frozen=True, kw_only=True):
    """Something happened to a node's process."""

    node_id: str
    host: str = ""
    """The host whose supervision saw it; empty for the master's own box."""
    pid: int | None = None
    detail: str = ""


class NodeSpawned(NodeEvent, frozen=True, kw_only=True):
    """Its process has begun, or was taken over from an earlier master (``detail`` is ``adopted``)."""

    kind: ClassVar[str] = "spawned"

    pid_started_at: float
    """Seconds since boot."""


class NodeReady(NodeEvent, frozen=True, kw_only=True):
    """It is ready by its own signed word, or by running."""

    kind: ClassVar[str] = "ready"


class NodeDegraded(NodeEvent, frozen=True, kw_only=True):
    """Its pulses are missing, or it says itself that it is not well."""

    kind: ClassVar[str] = "degraded"


class NodeRecovered(NodeEvent, frozen=True, kw_only=True):
    """A degraded node is well again."""

    kind: ClassVar[str] = "recovered"


class NodeContinued(NodeEvent, frozen=True, kw_only=True):
    """A signal had stopped it (SIGSTOP); it was continued at once."""

    kind: ClassVar[str] = "continued"


class NodeReplaced(NodeEvent, frozen=True, kw_only=True):
    """The supervisor ends it and starts another; ``detail`` says why (no pulse, over its memory limit)."""

    kind: ClassVar[str] = "replaced"


class NodeEnded(NodeEvent, frozen=True, kw_only=True):
    """Root of the ways in which a process ends."""

    exit_code: int | None = None
    signal: int | None = None
    uptime_s: float | None = None


class NodeExited(NodeEnded, frozen=True, kw_only=True):
    """It ended by itself, or was replaced."""

    kind: ClassVar[str] = "exited"


class NodeStopped(NodeEnded, frozen=True, kw_only=True):
    """It ended because an operator asked for it."""

    kind: ClassVar[str] = "stopped"


class NodeKilled(NodeEnded, frozen=True, kw_only=True):
    """An operator killed it."""

    kind: ClassVar[str] = "killed"


class NodeBackedOff(NodeEvent, frozen=True, kw_only=True):
    """It ended, and its next start waits."""

    kind: ClassVar[str] = "backoff"


class NodeQuarantined(NodeEvent, frozen=True, kw_only=True):
    """It ends too often; it is retried slowly."""

    kind: ClassVar[str] = "quarantined"


class NodeMissing(NodeEvent, frozen=True, kw_only=True):
    """Its folder or entry file is gone."""

    kind: ClassVar[str] = "missing"


class ActionAudited(Event, frozen=True, kw_only=True):
    """An operator's action ended, or was refused, and its row is in the audit log (or in the spool, on its way)."""

    kind: ClassVar[str] = "audited"
    essential: ClassVar[bool] = True

    actor: str
    """``face:identity``."""
    action: str
    outcome: str
    node_id: str | None = None
    detail: str = ""

    @property
    def fold_key(self) -> tuple[str, ...]:
        """One for each action and outcome."""
        return (type(self).__name__, self.action, self.outcome)


class OnboardingStep(Event, frozen=True, kw_only=True):
    """A node that comes into the fleet is one step further."""

    kind: ClassVar[str] = "step"

    node: str
    """Its name: it may not be a node yet."""
    step: str


class NodeAdded(Event, frozen=True, kw_only=True):
    """A node came into the fleet."""

    node_id: str
    how: Literal["registered", "duplicated"]
    tier: str = ""


class NodeVerified(Event, frozen=True, kw_only=True):
    """A node's present process proved its key and its licence."""

    kind: ClassVar[str] = "verified"

    node_id: str
    pid: int
    transport: str


class NodeSaidGoodbye(Event, frozen=True, kw_only=True):
    """A node says that it stops on purpose."""

    kind: ClassVar[str] = "goodbye"

    node_id: str
    reason: str


class MessageRefused(Event, frozen=True, kw_only=True):
    """A message that must not be believed."""

    kind: ClassVar[str] = "refused"
    essential: ClassVar[bool] = True

    node_id: str | None
    """The node in whose name it was written, if there is such a node."""
    reason: str
    """A ``handshake.errors.Reason`` value."""
    transport: str
    author_id: int | None = None
    detail: str = ""

    @property
    def fold_key(self) -> tuple[str, ...]:
        """One for each node and reason."""
        return (type(self).__name__, self.node_id or "", self.reason)


class NodeFlagged(Event, frozen=True, kw_only=True):
    """A refused message was written in a node's name."""

    kind: ClassVar[str] = "flagged"
    essential: ClassVar[bool] = True

    node_id: str
    reason: str

    @property
    def fold_key(self) -> tuple[str, ...]:
        """One for each node and reason."""
        return (type(self).__name__, self.node_id, self.reason)


class ErrorReported(Event, frozen=True, kw_only=True):
    """A node reports an unhandled error."""

    kind: ClassVar[str] = "error"
    essential: ClassVar[bool] = True

    node_id: str
    report: ErrorReport

    @property
    def fold_key(self) -> tuple[str, ...]:
        """One for each node: its fingerprints are its own to invent, and so without bound."""
        return (type(self).__name__, self.node_id)


class SupervisionFailed(Event, frozen=True, kw_only=True):
    """A mistake of ours ended the supervision of one node, which goes on."""

    kind: ClassVar[str] = "supervision_failed"
    essential: ClassVar[bool] = True

    node_id: str
    error: str

    @property
    def fold_key(self) -> tuple[str, ...]:
        """One for each node."""
        return (type(self).__name__, self.node_id)


class DirectoryChanged(Event, frozen=True, kw_only=True):
    """What is known of a node changed: added, removed, its desired state, its flag."""

    node_id: str


class AuditHeadMoved(Event, frozen=True, kw_only=True):
    """An audited action was committed."""


class LedgerAway(Event, frozen=True, kw_only=True):
    """The database does not answer; what is written waits on disk."""

    kind: ClassVar[str] = "ledger_away"
    essential: ClassVar[bool] = True

    why: str
    hint: str = ""


class LedgerReturned(Event, frozen=True, kw_only=True):
    """The database answers again, and all that waited is applied."""

    kind: ClassVar[str] = "ledger_back"
    essential: ClassVar[bool] = True


class MemoryMerged(Event, frozen=True, kw_only=True):
    """The kernel merged equal pages of nodes."""

    kind: ClassVar[str] = "merged"

    gained_bytes: int
    saved_bytes: int


class StderrLine(Event, frozen=True, kw_only=True):
    """A node wrote a line to its standard error. Read from its log only while somebody subscribes."""

    kind: ClassVar[str] = "stderr"

    node_id: str
    line: str
    skipped_bytes: int = 0
    """Bytes before this line that were not read: a flood, or a log that was rotated meanwhile."""


class AlertRaised(Event, frozen=True, kw_only=True):
    """Something that a human should hear of."""

    kind: ClassVar[str] = "alert"
    essential: ClassVar[bool] = True

    level: AlertLevel
    key: str
    """Alerts with the same key are the same trouble: LOG_CHANNEL shows them once in a while, with a count."""
    title: str
    text: str = ""
    node: str = ""
    """The node's name; empty when the alert is about no node."""
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def fold_key(self) -> tuple[str, ...]:
        """One for each trouble, less what a node can vary by itself."""
        return (type(self).__name__, self.node, self.level.value, self.key.partition(":")[0])
