"""Alerts: the events that an operator should see, and their text."""

from __future__ import annotations

from collections.abc import Callable

from handshake.errors import Reason
from master.bus import EventBus
from master.events import (
    AlertButton,
    AlertLevel,
    AlertRaised,
    AuditLogCut,
    BoxOffline,
    BoxOnline,
    ClockStepped,
    DiskFilled,
    DiskFreed,
    LedgerAway,
    LedgerReturned,
    LedgerRewritten,
    MessageRefused,
    NodeCutOff,
    NodeDegraded,
    NodeEvent,
    NodeExited,
    NodeMissing,
    NodeReady,
    NodeRecovered,
    SupervisionFailed,
    TaskFailed,
)
from master.services.core.directory import NodeDirectory
from master.supervision.clock import Clock
from master.wording import duration, step_text

_NODE_ALERTS: tuple[tuple[type[NodeEvent], AlertLevel, str, str], ...] = (
    (NodeMissing, AlertLevel.ERROR, "{name} has lost its folder", ""),
)
"""Event, level, title, and a prefix for its detail."""

_ADVICE = {
    Reason.BAD_SIGNATURE.value: "The message claims to be from a node, but is not signed with its key. "
    "If the author is the node's own bot, its token may be known to others: reset it in Discord's developer portal.",
    Reason.WRONG_AUTHOR.value: "The message is signed with the node's key, but another account posted it.",
    Reason.REPLAYED.value: "The same signed message came twice: a recording, or a node running twice.",
    Reason.STALE_EPOCH.value: "The key was replaced since: a process from before still runs, or an old copy of it.",
    Reason.REVOKED_LICENSE.value: "The node's licence does not cover it; it will not be accepted until it has a "
    "valid one.",
    Reason.EXPIRED.value: "The message is too old, or the clock of its author is wrong.",
}


class Alerts:
    """Turn events into alerts, which a face displays.

    Crashes are told by ``healing.crash_watch``, errors by ``healing.group_alerts``.
    """

    def __init__(self, bus: EventBus, directory: NodeDirectory, clock: Clock) -> None:
        self._bus = bus
        self._directory = directory
        self._clock = clock
        for kind, level, title, prefix in _NODE_ALERTS:
            bus.on(kind, self._node_alert(kind, level, title, prefix))
        self._degraded: dict[str, str] = {}
        """Nodes with an open alert, and how it ends; they get a second alert on recovery."""
        bus.on(NodeDegraded, self._on_degraded)
        bus.on(NodeCutOff, self._on_cut_off)
        bus.on(NodeExited, self._on_exit)
        bus.on(NodeReady, self._on_well)
        bus.on(NodeRecovered, self._on_well)
        bus.on(MessageRefused, self._on_refused)
        bus.on(SupervisionFailed, self._on_supervision_failed)
        bus.on(LedgerAway, self._on_ledger_away)
        bus.on(LedgerReturned, self._on_ledger_returned)
        bus.on(LedgerRewritten, self._on_ledger_rewritten)
        bus.on(BoxOffline, self._on_offline)
        bus.on(BoxOnline, self._on_online)
        bus.on(TaskFailed, self._on_task_failed)
        bus.on(AuditLogCut, self._on_audit_log_cut)
        bus.on(ClockStepped, self._on_clock_stepped)
        bus.on(DiskFilled, self._on_disk_filled)
        bus.on(DiskFreed, self._on_disk_freed)

    def raise_alert(
        self,
        level: AlertLevel,
        title: str,
        *,
        key: str,
        text: str = "",
        quote: str = "",
        node: str = "",
        is_security: bool = False,
        fields: tuple[tuple[str, str], ...] = (),
        buttons: tuple[AlertButton, ...] = (),
    ) -> None:
        """Publish one alert; :class:`~master.events.AlertRaised` describes the parameters."""
        at = self._clock.now()
        self._bus.publish(
            AlertRaised(
                at=at,
                level=level,
                key=key,
                title=title[:250],
                text=text,
                quote=quote,
                node=node,
                is_security=is_security,
                fields=fields,
                buttons=buttons,
            )
        )

    def _node_alert(
        self, kind: type[NodeEvent], level: AlertLevel, title: str, prefix: str
    ) -> Callable[[NodeEvent], None]:
        def on_event(event: NodeEvent) -> None:
            name = self._directory.name_of(event.node_id)
            self.raise_alert(
                level,
                title.format(name=name),
                key=f"{kind.kind}:{event.node_id}",
                text=f"{prefix}{event.detail}"[:1500],
                node=name,
            )

        return on_event

    def _on_degraded(self, event: NodeDegraded) -> None:
        self._degraded[event.node_id] = "is no longer degraded"
        name = self._directory.name_of(event.node_id)
        key = f"degraded:{event.node_id}"
        self.raise_alert(AlertLevel.WARNING, f"{name} is degraded", key=key, text=event.detail[:1500], node=name)

    def _on_cut_off(self, event: NodeCutOff) -> None:
        self._degraded[event.node_id] = "is connected to Discord again"
        name = self._directory.name_of(event.node_id)
        title, key = f"{name} is not connected to Discord", f"cut off:{event.node_id}"
        self.raise_alert(AlertLevel.WARNING, title, key=key, text=event.detail, node=name)

    def _on_exit(self, event: NodeExited) -> None:
        # The crash watch tells of it, and that it is well again.
        self._degraded.pop(event.node_id, "")

    def _on_well(self, event: NodeEvent) -> None:
        # A node that is ready after a restart has recovered too.
        told = self._degraded.pop(event.node_id, "")
        if told:
            name = self._directory.name_of(event.node_id)
            key = f"recovered:{event.node_id}"
            self.raise_alert(AlertLevel.SUCCESS, f"{name} {told}", key=key, node=name)

    def _on_refused(self, event: MessageRefused) -> None:
        name = "" if event.node_id is None else self._directory.name_of(event.node_id)
        fields = [("Reason", event.reason), ("Transport", event.transport)]
        if event.author_id is not None:
            fields.append(("Author", f"<@{event.author_id}>"))
        self.raise_alert(
            AlertLevel.ERROR,
            f"A message in the name of {name} was refused" if name else "A message was refused",
            key=f"refused:{name}:{event.reason}",
            text=_ADVICE.get(event.reason, ""),
            node=name,
            is_security=True,
            fields=tuple(fields),
        )

    def _on_supervision_failed(self, event: SupervisionFailed) -> None:
        name = self._directory.name_of(event.node_id)
        self.raise_alert(
            AlertLevel.ERROR,
            f"The supervision of {name} failed and was restarted",
            key=f"supervision:{event.node_id}",
            text=f"{event.error}. This is a bug in Fleetmaster; the master's log has the details.",
            node=name,
        )

    def _on_ledger_away(self, event: LedgerAway) -> None:
        if event.disk_full:
            return  # The disk's own alert says it.
        self.raise_alert(
            AlertLevel.ERROR,
            "The database is away",
            key="ledger:away",
            text=f"{event.why}. {event.hint}\nThe fleet keeps running; writes wait on disk.",
        )

    def _on_ledger_rewritten(self, event: LedgerRewritten) -> None:
        title = "The ledger's file was deleted, and written again"
        self.raise_alert(AlertLevel.WARNING, title, key="ledger:rewritten", text=event.detail)

    def _on_ledger_returned(self, event: LedgerReturned) -> None:
        if not event.disk_full:
            self.raise_alert(AlertLevel.SUCCESS, "The database is back", key="ledger:back")

    def _on_disk_filled(self, event: DiskFilled) -> None:
        self.raise_alert(
            AlertLevel.ERROR,
            "The disk is full",
            key="disk:full",
            text="The fleet keeps running, and can be steered. What would be written down waits in memory, and is "
            "lost if the master ends first. Free some space; `fleet stop` and `fleet kill` end a bot that fills it.",
        )

    def _on_disk_freed(self, event: DiskFreed) -> None:
        self.raise_alert(AlertLevel.SUCCESS, "There is room on the disk again", key="disk:freed")

    def _on_clock_stepped(self, event: ClockStepped) -> None:
        self.raise_alert(
            AlertLevel.INFORMATION,
            f"The clock was set {step_text(event.by_s)}",
            key="clock:stepped",
            text="Nodes are not affected. Usual once after the start of a box without a battery for its clock; "
            "if it comes again and again, look at the box's time service.",
        )

    def _on_offline(self, event: BoxOffline) -> None:
        self.raise_alert(
            AlertLevel.ERROR,
            "This box cannot reach Discord",
            key="box:offline",
            text=f"{event.why}\nNodes that run wait for it; those that exit now are started when it is back.",
        )

    def _on_online(self, event: BoxOnline) -> None:
        self.raise_alert(
            AlertLevel.SUCCESS,
            f"Discord is back after {duration(event.duration_s)}",
            key="box:online",
            text=f"This box could not reach Discord since <t:{int(event.since.timestamp())}:T>.",
        )

    def _on_task_failed(self, event: TaskFailed) -> None:
        self.raise_alert(
            AlertLevel.ERROR,
            f"The task {event.task!r} of the master failed and was started again",
            key=f"task:{event.task}",
            text=f"{event.error}. This is a bug in Fleetmaster; the master's log has the details.",
        )

    def _on_audit_log_cut(self, event: AuditLogCut) -> None:
        self.raise_alert(
            AlertLevel.ERROR,
            "The audit log is not as it was left",
            key="audit:cut",
            is_security=True,
            text=f"{event.detail}. `fleet audit verify` says so until you know why, and `fleet audit acknowledge`.",
        )
