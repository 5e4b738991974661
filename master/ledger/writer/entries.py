"""Entries: writes that can be spooled, as serialisable values.

A write of a saga (a registration, say) must know at once whether it was committed. Entries need not: while the database
is away they are spooled, and when it is back they are applied in order, exactly once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any, ClassVar, Self

import msgspec
from sqlalchemy import Connection

from master.ledger.rows import error_events, handshake_events, nodes, process_events, pulse_snapshots
from master.ledger.rows.audit import AuditChain
from master.ledger.rows.records import DesiredState, ErrorEvent, HandshakeEvent, Outcome, ProcessRecord, PulseSnapshot


class Priority(IntEnum):
    """The order in which a full spool drops records: lowest first; the highest is never dropped."""

    SNAPSHOT = 0
    HISTORY = 1
    SECURITY = 2


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    priority: ClassVar[Priority]


class ProcessStep(_Entry, frozen=True, tag="process"):
    """A process event of a node, and the process that the node has since then."""

    priority: ClassVar[Priority] = Priority.HISTORY

    record: ProcessRecord
    moved: bool = False
    """Whether the node's process changes: to ``pid`` and ``pid_started_at``, or to none where they are None."""
    pid_started_at: float | None = None

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        process_events.insert(connection, *(entry.record for entry in run))
        for entry in run:
            record = entry.record
            if entry.moved:
                pid = None if entry.pid_started_at is None else record.pid
                nodes.set_process(connection, record.node_id, pid, entry.pid_started_at, at=record.at)


class HandshakeOutcome(_Entry, frozen=True, tag="handshake"):
    """An accepted verification or a refused message; ``flag`` marks the node that a refused one names."""

    priority: ClassVar[Priority] = Priority.SECURITY

    event: HandshakeEvent
    flag: bool = False

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        handshake_events.insert(connection, *(entry.event for entry in run))
        for entry in run:
            event = entry.event
            if entry.flag and event.node_id is not None:
                nodes.set_flag(connection, event.node_id, event.outcome, at=event.at)


class FlagCleared(_Entry, frozen=True, tag="unflag"):
    """The operator cleared a node's flag."""

    priority: ClassVar[Priority] = Priority.SECURITY

    node_id: str
    at: datetime

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        for entry in run:
            nodes.clear_flag(connection, entry.node_id, at=entry.at)


class DesiredStateSet(_Entry, frozen=True, tag="wanted"):
    """The operator changed a node's desired state."""

    priority: ClassVar[Priority] = Priority.SECURITY

    node_id: str
    desired: DesiredState
    at: datetime

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        for entry in run:
            nodes.set_desired_state(connection, entry.node_id, entry.desired, at=entry.at)


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


class PulsesSampled(_Entry, frozen=True, tag="pulses"):
    """A snapshot of the nodes' pulses."""

    priority: ClassVar[Priority] = Priority.SNAPSHOT

    snapshots: tuple[PulseSnapshot, ...]

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write consecutive entries of this kind, in order."""
        for entry in run:
            pulse_snapshots.insert(connection, *entry.snapshots)


Entry = ProcessStep | HandshakeOutcome | FlagCleared | DesiredStateSet | Audited | ErrorCounted | PulsesSampled


def priority_of(entries: tuple[Entry, ...]) -> Priority:
    """Return the highest priority among entries that are written together."""
    return max(entry.priority for entry in entries)


def apply(connection: Connection, entries: Iterable[Entry], chain: AuditChain) -> None:
    """Write entries in order; consecutive entries of one kind are written as one run."""
    for kind, run in itertools.groupby(entries, key=_kind_of):
        kind.apply_run(connection, list(run), chain)


def _kind_of(entry: Entry) -> Any:
    return type(entry)
