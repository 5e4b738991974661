"""The typed events of a fleet.

Supervision, the ledger and the services publish them on the bus (:mod:`master.bus`). ``kind`` is the name in the ledger
and in ``fleet events``. Everything in ``master`` above the configuration may import this module.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal

import msgspec

from handshake.messages import ErrorReport


class AlertLevel(StrEnum):
    """Severity of an alert; each face has a colour for it."""

    INFORMATION = "information"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Root of all events."""

    kind: ClassVar[str] = ""
    essential: ClassVar[bool] = False
    """True for security events and errors: never dropped from a full queue. See :attr:`fold_key`."""

    at: datetime

    @property
    def fold_key(self) -> tuple[str, ...]:
        """In a full queue, only the newest of the essential events with equal keys is kept; the others are counted.

        There are few keys (nodes times reasons): the queue stays bounded, and no kind of event is lost completely.
        """
        return (type(self).__name__,)


class NodeEvent(Event, frozen=True, kw_only=True):
    """An event of a node's process."""

    node_id: str
    host: str = ""
    """Host of the supervising process; empty for the master's own host."""
    pid: int | None = None
    detail: str = ""


class NodeSpawned(NodeEvent, frozen=True, kw_only=True):
    """Its process was started, or adopted from an earlier master (``detail`` is ``adopted``)."""

    kind: ClassVar[str] = "spawned"

    pid_started_at: float
    """Seconds since boot."""


class NodeReady(NodeEvent, frozen=True, kw_only=True):
    """It is ready: it verified itself, or it runs (readiness ``process``)."""

    kind: ClassVar[str] = "ready"


class NodeDegraded(NodeEvent, frozen=True, kw_only=True):
    """Its pulses are missing, or it reports that it is degraded."""

    kind: ClassVar[str] = "degraded"


class NodeOffline(NodeEvent, frozen=True, kw_only=True):
    """It runs, and is not connected to Discord."""

    kind: ClassVar[str] = "offline"


class NodeCutOff(NodeEvent, frozen=True, kw_only=True):
    """It has been offline for a while, although this box can reach Discord."""

    kind: ClassVar[str] = "cut_off"


class NodeHeld(NodeEvent, frozen=True, kw_only=True):
    """Its process exited while Discord was away: it is started again once Discord is back."""

    kind: ClassVar[str] = "held"


class NodeRecovered(NodeEvent, frozen=True, kw_only=True):
    """A node that was degraded or offline has recovered."""

    kind: ClassVar[str] = "recovered"


class NodeContinued(NodeEvent, frozen=True, kw_only=True):
    """It was stopped by SIGSTOP, and was continued with SIGCONT."""

    kind: ClassVar[str] = "continued"


class NodeReplaced(NodeEvent, frozen=True, kw_only=True):
    """The supervisor replaces its process; ``detail`` is the reason (no pulse, over its memory limit)."""

    kind: ClassVar[str] = "replaced"


class NodeEnded(NodeEvent, frozen=True, kw_only=True):
    """Root of the events for the end of a process."""

    exit_code: int | None = None
    signal: int | None = None
    uptime_s: float | None = None


class NodeExited(NodeEnded, frozen=True, kw_only=True):
    """Its process exited by itself, or was replaced."""

    kind: ClassVar[str] = "exited"


class NodeStopped(NodeEnded, frozen=True, kw_only=True):
    """Its process exited because an operator stopped it."""

    kind: ClassVar[str] = "stopped"


class NodeKilled(NodeEnded, frozen=True, kw_only=True):
    """An operator killed it."""

    kind: ClassVar[str] = "killed"


class NodeBackedOff(NodeEvent, frozen=True, kw_only=True):
    """Its process exited, and the next start is delayed."""

    kind: ClassVar[str] = "backoff"


class NodeQuarantined(NodeEvent, frozen=True, kw_only=True):
    """Its process exits too often; it is retried slowly."""

    kind: ClassVar[str] = "quarantined"


class NodeMissing(NodeEvent, frozen=True, kw_only=True):
    """Its folder or entry file is gone."""

    kind: ClassVar[str] = "missing"


class NodeFileChanged(NodeEvent, frozen=True, kw_only=True):
    """A file that WATCH names was changed: the node is restarted; ``detail`` is the file."""

    kind: ClassVar[str] = "changed"


class NodeRestartDue(NodeEvent, frozen=True, kw_only=True):
    """A restart of CRON_RESTART is due; ``detail`` says why it is left out, if it is."""

    kind: ClassVar[str] = "restart_due"


class ActionAudited(Event, frozen=True, kw_only=True):
    """An operator's action ended or was refused, and was recorded in the audit log (or in the spool)."""

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
    """A step of onboarding a node began."""

    kind: ClassVar[str] = "step"

    node: str
    """The name; the node may not exist yet."""
    step: str


class NodeAdded(Event, frozen=True, kw_only=True):
    """A node was added to the fleet."""

    node_id: str
    how: Literal["registered", "duplicated"]
    tier: str = ""


class NodeVerified(Event, frozen=True, kw_only=True):
    """A node's current process proved its key and its licence."""

    kind: ClassVar[str] = "verified"

    node_id: str
    pid: int
    transport: str
    reloads_cogs: bool = False
    """While it is developed: its own changed cogs are its own affair."""


class NodeSaidGoodbye(Event, frozen=True, kw_only=True):
    """A node reported that it stops on purpose."""

    kind: ClassVar[str] = "goodbye"

    node_id: str
    reason: str


class MessageRefused(Event, frozen=True, kw_only=True):
    """A message was refused."""

    kind: ClassVar[str] = "refused"
    essential: ClassVar[bool] = True

    node_id: str | None
    """The node that the message claims to be from, if it exists."""
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
    """A node was flagged: a refused message claimed to be from it."""

    kind: ClassVar[str] = "flagged"
    essential: ClassVar[bool] = True

    node_id: str
    reason: str

    @property
    def fold_key(self) -> tuple[str, ...]:
        """One for each node and reason."""
        return (type(self).__name__, self.node_id, self.reason)


class ErrorReported(Event, frozen=True, kw_only=True):
    """A node reported an unhandled error."""

    kind: ClassVar[str] = "error"
    essential: ClassVar[bool] = True

    node_id: str
    report: ErrorReport

    @property
    def fold_key(self) -> tuple[str, ...]:
        """One for each node; fingerprints come from the node, so their number is not bounded."""
        return (type(self).__name__, self.node_id)


class SupervisionFailed(Event, frozen=True, kw_only=True):
    """A bug ended the supervision task of a node; it was restarted."""

    kind: ClassVar[str] = "supervision_failed"
    essential: ClassVar[bool] = True

    node_id: str
    error: str

    @property
    def fold_key(self) -> tuple[str, ...]:
        """One for each node."""
        return (type(self).__name__, self.node_id)


class DirectoryChanged(Event, frozen=True, kw_only=True):
    """A node in the directory changed: added, removed, its desired state, its flag."""

    node_id: str


class ClockStepped(Event, frozen=True, kw_only=True):
    """The box's clock was set."""

    kind: ClassVar[str] = "clock_stepped"
    essential: ClassVar[bool] = True

    by_s: float
    """Seconds; negative for back."""


class DiskFilled(Event, frozen=True, kw_only=True):
    """The disk of the state folder is full."""

    kind: ClassVar[str] = "disk_full"
    essential: ClassVar[bool] = True


class DiskFreed(Event, frozen=True, kw_only=True):
    """There is room on the disk again."""

    kind: ClassVar[str] = "disk_freed"
    essential: ClassVar[bool] = True


class AuditLogCut(Event, frozen=True, kw_only=True):
    """The end of the audit log is not as it was remembered."""

    kind: ClassVar[str] = "audit_log_cut"
    essential: ClassVar[bool] = True

    detail: str


class LedgerAway(Event, frozen=True, kw_only=True):
    """The database does not answer; writes wait in the spool."""

    kind: ClassVar[str] = "ledger_away"
    essential: ClassVar[bool] = True

    why: str
    hint: str = ""
    disk_full: bool = False


class LedgerRewritten(Event, frozen=True, kw_only=True):
    """The ledger's file was deleted or replaced under the master, and was written again from what was open."""

    kind: ClassVar[str] = "ledger_rewritten"
    essential: ClassVar[bool] = True

    detail: str


class LedgerReturned(Event, frozen=True, kw_only=True):
    """The database answers again, and the spool was applied."""

    kind: ClassVar[str] = "ledger_back"
    essential: ClassVar[bool] = True

    disk_full: bool = False
    """Whether the disk was full."""


class GatewayLost(Event, frozen=True, kw_only=True):
    """The master's own connection to Discord is gone, or could not be made."""

    why: str = ""


class GatewayConnected(Event, frozen=True, kw_only=True):
    """The master is connected to Discord: logged in, or its session resumed."""


class BoxOffline(Event, frozen=True, kw_only=True):
    """The box cannot reach Discord: no network, or Discord is away. No node is to blame for ending now."""

    kind: ClassVar[str] = "box_offline"
    essential: ClassVar[bool] = True

    why: str


class BoxOnline(Event, frozen=True, kw_only=True):
    """Discord can be reached again."""

    kind: ClassVar[str] = "box_online"
    essential: ClassVar[bool] = True

    since: datetime
    """When the outage began."""
    duration_s: float


class TaskFailed(Event, frozen=True, kw_only=True):
    """A bug ended a task of the master that must live; it was started again."""

    kind: ClassVar[str] = "task_failed"
    essential: ClassVar[bool] = True

    task: str
    error: str

    @property
    def fold_key(self) -> tuple[str, ...]:
        """One for each task."""
        return (type(self).__name__, self.task)


class MemoryMerged(Event, frozen=True, kw_only=True):
    """The kernel merged equal pages of nodes."""

    kind: ClassVar[str] = "merged"

    gained_bytes: int
    saved_bytes: int


class StderrLine(Event, frozen=True, kw_only=True):
    """A node wrote a line to its standard error. Read from its log only while there is a subscriber."""

    kind: ClassVar[str] = "stderr"

    node_id: str
    line: str
    skipped_bytes: int = 0
    """Bytes before this line that were skipped, because of a flood or a log rotation."""


class ErrorGrouped(Event, frozen=True, kw_only=True):
    """An error was seen that is new, or had been resolved."""

    kind: ClassVar[str] = "error_group"
    essential: ClassVar[bool] = True

    node_id: str
    fingerprint: str
    title: str
    state: Literal["new", "regressed"]

    @property
    def fold_key(self) -> tuple[str, ...]:
        """One for each node."""
        return (type(self).__name__, self.node_id)


class RepairStep(NodeEvent, frozen=True, kw_only=True):
    """A solution's run began, or came to its end; ``detail`` says all of it in one line."""

    kind: ClassVar[str] = "repair"
    essential: ClassVar[bool] = True

    run_id: str
    solution: str
    action: str
    outcome: str
    """As in the ledger: running, watching, helped, did_not_help, failed, skipped, detected, asked, declined, told."""

    @property
    def fold_key(self) -> tuple[str, ...]:
        """One for each solution on each node."""
        return (type(self).__name__, self.node_id, self.solution)


class SolutionChanged(Event, frozen=True, kw_only=True):
    """A solution was switched on or off, suspended, or changed."""

    kind: ClassVar[str] = "solution"
    essential: ClassVar[bool] = True

    solution: str
    mode: str
    actor: str
    detail: str = ""


class LicenceChanged(Event, frozen=True, kw_only=True):
    """A licence was issued, redeemed, renewed, suspended, reinstated, revoked, passed on, or has expired."""

    kind: ClassVar[str] = "licence"
    essential: ClassVar[bool] = True

    licence_id: str
    what: str
    node_id: str = ""
    holder_id: int = 0
    actor: str = ""
    detail: str = ""


class GiveawayChanged(Event, frozen=True, kw_only=True):
    """A giveaway was started, edited, drawn, drawn again or cancelled, or a prize was claimed."""

    kind: ClassVar[str] = "giveaway"
    essential: ClassVar[bool] = True

    giveaway_id: str
    what: str
    actor: str = ""
    detail: str = ""


class TicketChanged(Event, frozen=True, kw_only=True):
    """A ticket was opened, claimed, closed or deleted, or somebody was let into it, or out."""

    kind: ClassVar[str] = "ticket"
    essential: ClassVar[bool] = True

    ticket_id: str
    node_id: str
    what: str
    actor: str = ""
    detail: str = ""


class ServerChannelChanged(Event, frozen=True, kw_only=True):
    """A channel of a server was created, changed or deleted, by whomever; of those that the fleet may want."""

    kind: ClassVar[str] = "server_channel"

    guild_id: int
    channel_id: int
    what: Literal["created", "changed", "deleted"]


class ServerAuditEntry(Event, frozen=True, kw_only=True):
    """Discord's own audit log names who did something to a channel."""

    kind: ClassVar[str] = "server_audit"

    guild_id: int
    target_id: int
    action: str
    """As Discord names it, such as ``channel_delete``."""
    user_id: int
    user: str = ""
    reason: str = ""


class ChannelMoved(Event, frozen=True, kw_only=True):
    """A channel was made anew, and has another id: whoever goes by the old one follows."""

    kind: ClassVar[str] = "channel_moved"
    essential: ClassVar[bool] = True

    key: str
    guild_id: int
    old_id: int
    new_id: int


class ChannelRepaired(Event, frozen=True, kw_only=True):
    """The server's channels were found to differ from the wanted ones, and something came of it."""

    kind: ClassVar[str] = "channel_repair"
    essential: ClassVar[bool] = True

    repair_id: str
    key: str
    what: str
    """repaired, asked, left, failed, undone."""
    detail: str = ""


class MailboxChanged(Event, frozen=True, kw_only=True):
    """A mailbox has another state."""

    kind: ClassVar[str] = "mailbox"
    essential: ClassVar[bool] = True

    mailbox: str
    state: str
    detail: str = ""


class MailActedOn(Event, frozen=True, kw_only=True):
    """A mail set something off."""

    kind: ClassVar[str] = "mail"
    essential: ClassVar[bool] = True

    mail_id: str
    mailbox: str
    rule: str
    action: str
    detail: str = ""


class AnnouncementChanged(Event, frozen=True, kw_only=True):
    """An announcement was scheduled, sent to a place, or cancelled."""

    kind: ClassVar[str] = "announcement"
    essential: ClassVar[bool] = True

    announcement_id: str
    what: str
    place: str = ""
    detail: str = ""


class PatchChanged(Event, frozen=True, kw_only=True):
    """A patch was received, approved, rolled out further, paused, finished or rolled back."""

    kind: ClassVar[str] = "patch"
    essential: ClassVar[bool] = True

    patch_id: str
    name: str
    """Name and version, as in ``ranks 4``."""
    state: str
    actor: str = ""
    detail: str = ""

    @property
    def fold_key(self) -> tuple[str, ...]:
        """One of each patch."""
        return (type(self).__name__, self.patch_id)


class NodePatched(Event, frozen=True, kw_only=True):
    """A node is a step further with a patch; ``state`` as in the ledger's ``patch_nodes``."""

    kind: ClassVar[str] = "patched"

    node_id: str
    patch_id: str
    name: str
    state: str
    detail: str = ""


class AlertButton(msgspec.Struct, frozen=True, kw_only=True):
    """A button under an alert; whoever may not do what it asks for is told so."""

    label: str
    custom_id: str
    style: Literal["primary", "secondary", "danger"] = "secondary"


class AlertRaised(Event, frozen=True, kw_only=True):
    """A message for the operator."""

    kind: ClassVar[str] = "alert"
    essential: ClassVar[bool] = True

    level: AlertLevel
    key: str
    """Groups alerts: LOG_CHANNEL shows alerts with the same key once in a while, with a count."""
    title: str
    text: str = ""
    quote: str = ""
    """Several lines of a node's own output, such as a traceback; shown as they are, and never as markup."""
    node: str = ""
    """The node's name; empty if the alert does not concern a node."""
    is_security: bool = False
    """About somebody who may be an attacker: no other alert uses up its room."""
    fields: tuple[tuple[str, str], ...] = ()
    buttons: tuple[AlertButton, ...] = ()

    @property
    def fold_key(self) -> tuple[str, ...]:
        """One for each key, without the parts that a node can vary."""
        return (type(self).__name__, self.node, self.level.value, self.key.partition(":")[0])
