"""The event stream of ``fleet events``, the demo and the live table."""

from __future__ import annotations

from collections.abc import Callable

from master.events import (
    ActionAudited,
    AlertRaised,
    AnnouncementChanged,
    AuditLogCut,
    BoxOffline,
    BoxOnline,
    ChannelMoved,
    ChannelRepaired,
    ClockStepped,
    DiskFilled,
    DiskFreed,
    ErrorGrouped,
    ErrorReported,
    Event,
    LedgerAway,
    LedgerReturned,
    LedgerRewritten,
    LicenceChanged,
    MemoryMerged,
    MessageRefused,
    NodeAdded,
    NodeEvent,
    NodeFlagged,
    NodePatched,
    NodeSaidGoodbye,
    NodeVerified,
    OnboardingStep,
    PatchChanged,
    StderrLine,
    SupervisionFailed,
    TaskFailed,
)
from master.services.core.directory import NodeDirectory
from master.services.core.views import FleetEvent
from master.wording import duration, step_text

_DETAILS: dict[type[Event], Callable[..., str]] = {
    DiskFilled: lambda _event: "",
    DiskFreed: lambda _event: "",
    ClockStepped: lambda event: step_text(event.by_s),
    AuditLogCut: lambda event: event.detail,
    ActionAudited: lambda event: f"{event.action} by {event.actor}: {event.outcome}",
    OnboardingStep: lambda event: event.step,
    NodeVerified: lambda event: f"by {event.transport}",
    NodeSaidGoodbye: lambda event: event.reason,
    MessageRefused: lambda event: event.reason,
    NodeFlagged: lambda event: event.reason,
    NodeAdded: lambda event: event.tier,
    ErrorReported: lambda event: f"{event.report.where}: {event.report.exception}: {event.report.message}"[:200],
    ErrorGrouped: lambda event: f"{event.state} ({event.fingerprint[:8]}): {event.title}"[:200],
    SupervisionFailed: lambda event: event.error,
    LedgerAway: lambda event: event.why,
    LedgerReturned: lambda _event: "",
    LedgerRewritten: lambda event: event.detail,
    BoxOffline: lambda event: event.why,
    BoxOnline: lambda event: f"after {duration(event.duration_s)}",
    TaskFailed: lambda event: f"{event.task}: {event.error}",
    MemoryMerged: lambda event: f"{event.gained_bytes >> 20} MB gained, {event.saved_bytes >> 20} MB saved",
    AlertRaised: lambda event: event.title,
    PatchChanged: lambda event: ": ".join(filter(None, (event.name, event.state.replace("_", " "), event.detail))),
    NodePatched: lambda event: f"{event.name}: {event.state.replace('_', ' ')}",
    LicenceChanged: lambda event: ": ".join(filter(None, (f"{event.licence_id} {event.what}", event.detail))),
    AnnouncementChanged: lambda event: _announced(event),
    ChannelMoved: lambda event: f"{event.key}: {event.old_id} is {event.new_id} now",
    ChannelRepaired: lambda event: f"{event.key} {event.what}: {event.detail}",
    StderrLine: lambda event: event.line,
}


def _announced(event: AnnouncementChanged) -> str:
    where = f" at {event.place}" if event.place else ""
    return ": ".join(filter(None, (f"{event.announcement_id} {event.what.replace('_', ' ')}{where}", event.detail)))


STREAMED: tuple[type[Event], ...] = (NodeEvent, *(kind for kind in _DETAILS if kind is not StderrLine))
"""Event types of the stream; stderr lines are streamed only on request."""


def fleet_event(event: Event, directory: NodeDirectory) -> FleetEvent:
    """Return an event as a view, with its node's name."""
    node_id = getattr(event, "node_id", None)
    detail = _DETAILS.get(type(event))
    return FleetEvent(
        at=event.at.timestamp(),
        kind=event.how if isinstance(event, NodeAdded) else event.kind,
        node=event.node
        if isinstance(event, AlertRaised | OnboardingStep)
        else directory.name_of(node_id)
        if node_id
        else "",
        detail=getattr(event, "detail", "") if detail is None else detail(event),
        pid=getattr(event, "pid", None),
    )
