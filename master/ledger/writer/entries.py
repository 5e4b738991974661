"""Entries: writes that can be spooled, as serialisable values.

A write of a saga (a registration, say) must know at once whether it was committed. Entries need not: while the database
is away they are spooled, and when it is back they are applied in order, exactly once.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any, ClassVar, Literal, Self

import msgspec
from sqlalchemy import Connection, Table

from master.ledger.rows import (
    error_events,
    error_groups,
    handshake_events,
    nodes,
    patch_tracking,
    process_events,
    pulse_snapshots,
    solution_runs,
    solutions,
)
from master.ledger.rows.audit import AuditChain
from master.ledger.rows.records import (
    DesiredState,
    ErrorEvent,
    ErrorGroup,
    HandshakeEvent,
    Outcome,
    PatchTrack,
    ProcessRecord,
    PulseSnapshot,
    SolutionRun,
    SolutionState,
)
from master.ledger.schema import tables

log = logging.getLogger(__name__)

IDS_IN_A_STATEMENT = 500
"""SQL Server takes 2,100 parameters in a statement."""


class Priority(IntEnum):
    """The order in which a full spool drops records: lowest first; the highest is never dropped."""

    SNAPSHOT = 0
    HISTORY = 1
    SECURITY = 2


class _Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    priority: ClassVar[Priority]


def _note_fenced(written: bool, entry: _Entry, node_id: str, host: str) -> None:
    """Log what was not written because the node is no longer the host's: what it says is of the past."""
    if not written:
        log.warning("write fenced", extra={"write": type(entry).__name__, "node": node_id, "host": host or "master"})


class ProcessStep(_Entry, frozen=True, tag="process"):
    """A process event of a node, and the process that the node has since then."""

    priority: ClassVar[Priority] = Priority.HISTORY

    record: ProcessRecord
    moved: bool = False
    """Whether the node's process changes: to ``pid`` and ``pid_started_at``, or to none where they are None."""
    pid_started_at: float | None = None
    host: str = ""
    """The host whose process it is; a spool of revision 0003 or older names none, and had one host alone."""

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        process_events.insert(connection, *(entry.record for entry in run))
        for entry in run:
            record = entry.record
            if entry.moved:
                pid = None if entry.pid_started_at is None else record.pid
                written = nodes.set_process(
                    connection, record.node_id, pid, entry.pid_started_at, host=entry.host, at=record.at
                )
                _note_fenced(written, entry, record.node_id, entry.host)


class HandshakeOutcome(_Entry, frozen=True, tag="handshake"):
    """An accepted verification or a refused message; ``flag`` marks the node that a refused one names."""

    priority: ClassVar[Priority] = Priority.SECURITY

    event: HandshakeEvent
    flag: bool = False
    host: str = ""

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        handshake_events.insert(connection, *(entry.event for entry in run))
        for entry in run:
            event = entry.event
            if entry.flag and event.node_id is not None:
                written = nodes.set_flag(connection, event.node_id, event.outcome, host=entry.host, at=event.at)
                _note_fenced(written, entry, event.node_id, entry.host)


class FlagCleared(_Entry, frozen=True, tag="unflag"):
    """The operator cleared a node's flag."""

    priority: ClassVar[Priority] = Priority.SECURITY

    node_id: str
    at: datetime
    host: str = ""

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        for entry in run:
            written = nodes.clear_flag(connection, entry.node_id, host=entry.host, at=entry.at)
            _note_fenced(written, entry, entry.node_id, entry.host)


class DesiredStateSet(_Entry, frozen=True, tag="wanted"):
    """The operator changed a node's desired state."""

    priority: ClassVar[Priority] = Priority.SECURITY

    node_id: str
    desired: DesiredState
    at: datetime
    host: str = ""

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        for entry in run:
            written = nodes.set_desired_state(connection, entry.node_id, entry.desired, host=entry.host, at=entry.at)
            _note_fenced(written, entry, entry.node_id, entry.host)


class Audited(_Entry, frozen=True, tag="audit"):
    """An operator's action and its outcome; its sequence number in the chain is assigned when it is applied."""

    priority: ClassVar[Priority] = Priority.SECURITY

    at: datetime
    actor: str
    face: str
    action: str
    node_id: str | None
    outcome: Outcome
    detail: str

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        for entry in run:
            chain.append(
                connection,
                at=entry.at,
                actor=entry.actor,
                face=entry.face,
                action=entry.action,
                node_id=entry.node_id,
                outcome=entry.outcome,
                detail=entry.detail,
            )


class ErrorCounted(_Entry, frozen=True, tag="error"):
    """An error that a node reported."""

    priority: ClassVar[Priority] = Priority.HISTORY

    event: ErrorEvent

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        for entry in run:
            error_events.record(connection, entry.event)


class SolutionModeSet(_Entry, frozen=True, tag="solution_mode"):
    """A solution was switched on or off, by an operator or by the master."""

    priority: ClassVar[Priority] = Priority.SECURITY

    state: SolutionState

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        for entry in run:
            solutions.save(connection, entry.state)


class SolutionRunSaved(_Entry, frozen=True, tag="solution_run"):
    """A run of a solution as it is now: the whole row, so that applying it twice is the same as once."""

    priority: ClassVar[Priority] = Priority.HISTORY

    run: SolutionRun

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        for entry in run:
            solution_runs.save(connection, entry.run)


class GroupSeen(_Entry, frozen=True, tag="error_group"):
    """Errors of a group were seen: as many as its ``count``."""

    priority: ClassVar[Priority] = Priority.HISTORY

    group: ErrorGroup
    sets_state: bool = False
    """Whether its state changed: it came back, or its mute is over."""

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        for entry in run:
            error_groups.add(connection, entry.group, sets_state=entry.sets_state)


class GroupStateSet(_Entry, frozen=True, tag="error_group_state"):
    """An operator muted or resolved a group of errors."""

    priority: ClassVar[Priority] = Priority.SECURITY

    fingerprint: str
    state: Literal["known", "resolved", "muted"]
    at: datetime
    by: str
    muted_until: datetime | None = None

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        for entry in run:
            error_groups.set_state(
                connection, entry.fingerprint, entry.state, muted_until=entry.muted_until, at=entry.at, by=entry.by
            )


class PatchTracked(_Entry, frozen=True, tag="patch_track"):
    """A reaction to a patch came or went, or a node said how far it is with it."""

    priority: ClassVar[Priority] = Priority.HISTORY

    track: PatchTrack

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        patch_tracking.add_all(connection, [entry.track for entry in run])


class PulsesSampled(_Entry, frozen=True, tag="pulses"):
    """A snapshot of the nodes' pulses."""

    priority: ClassVar[Priority] = Priority.SNAPSHOT

    snapshots: tuple[PulseSnapshot, ...]

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        for entry in run:
            pulse_snapshots.insert(connection, *entry.snapshots)


Entry = (
    ProcessStep
    | HandshakeOutcome
    | FlagCleared
    | DesiredStateSet
    | Audited
    | ErrorCounted
    | GroupSeen
    | GroupStateSet
    | SolutionModeSet
    | SolutionRunSaved
    | PatchTracked
    | PulsesSampled
)


def priority_of(entries: tuple[Entry, ...]) -> Priority:
    """Return the highest priority among entries that are written together."""
    return max(entry.priority for entry in entries)


def apply(connection: Connection, entries: Iterable[Entry], chain: AuditChain) -> None:
    """Write entries in order; consecutive entries of one kind are written as one run."""
    for kind, run in itertools.groupby(entries, key=_kind_of):
        kind.apply_run(connection, list(run), chain)


def remove_leftovers(connection: Connection, entries: Iterable[Entry]) -> None:
    """Delete the events that a lost transaction may have left behind, so that they can be written again.

    A driver that thinks itself in a transaction, when there is none any more, commits each statement by itself.
    """
    ids: dict[Table, list[str]] = {}
    for entry in entries:
        match entry:
            case ProcessStep(record=record):
                ids.setdefault(tables.process_events, []).append(record.id)
            case HandshakeOutcome(event=event):
                ids.setdefault(tables.handshake_events, []).append(event.id)
            case ErrorCounted(event=counted):
                ids.setdefault(tables.error_events, []).append(counted.id)
            case PatchTracked(track=track):
                ids.setdefault(tables.patch_tracking, []).append(track.id)
            case PulsesSampled(snapshots=snapshots):
                ids.setdefault(tables.pulse_snapshots, []).extend(snapshot.id for snapshot in snapshots)
    for table, found in ids.items():
        for begin in range(0, len(found), IDS_IN_A_STATEMENT):
            part = found[begin : begin + IDS_IN_A_STATEMENT]
            connection.execute(table.delete().where(table.c.id.in_(part)))


def _kind_of(entry: Entry) -> Any:
    return type(entry)
