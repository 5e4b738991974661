"""Writes that can wait: what the fleet writes down by itself, as values that fit in a file.

A write of a saga (a registration, say) has to know at once whether it was carried out. These need not: while the
database is away they wait in the spool, and are applied in order and once when it is back.
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
    """What a full spool gives up first: the lowest; nothing of the highest, ever."""

    SNAPSHOT = 0
    HISTORY = 1
    SECURITY = 2


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    priority: ClassVar[Priority]


class ProcessStep(_Entry, frozen=True, tag="process"):
    """A step in the life of a node's process, and which process is its own since then."""

    priority: ClassVar[Priority] = Priority.HISTORY

    record: ProcessRecord
    moved: bool = False
    """Whether ``pid`` and ``pid_started_at`` are the node's process from now on; None: it has none."""
    pid_started_at: float | None = None

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write several, in their order."""
        process_events.insert(connection, *(entry.record for entry in run))
        for entry in run:
            record = entry.record
            if entry.moved:
                pid = None if entry.pid_started_at is None else record.pid
                nodes.set_process(connection, record.node_id, pid, entry.pid_started_at, at=record.at)


class HandshakeOutcome(_Entry, frozen=True, tag="handshake"):
    """An accepted verification or a refused message; a refused one flags the node that it names."""

    priority: ClassVar[Priority] = Priority.SECURITY

    event: HandshakeEvent
    flag: bool = False

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write several, in their order."""
        handshake_events.insert(connection, *(entry.event for entry in run))
        for entry in run:
            event = entry.event
            if entry.flag and event.node_id is not None:
                nodes.set_flag(connection, event.node_id, event.outcome, at=event.at)


class FlagTakenOff(_Entry, frozen=True, tag="unflag"):
    """The operator has seen to a node's flag."""

    priority: ClassVar[Priority] = Priority.SECURITY

    node_id: str
    at: datetime

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write several, in their order."""
        for entry in run:
            nodes.clear_flag(connection, entry.node_id, at=entry.at)


class Wanted(_Entry, frozen=True, tag="wanted"):
    """What the operator wants of a node."""

    priority: ClassVar[Priority] = Priority.SECURITY

    node_id: str
    desired: DesiredState
    at: datetime

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write several, in their order."""
        for entry in run:
            nodes.set_desired_state(connection, entry.node_id, entry.desired, at=entry.at)


class Audited(_Entry, frozen=True, tag="audit"):
    """An operator's action and how it ended; its place in the chain is given when it is applied."""

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
        """Write several, in their order."""
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


class ErrorSeen(_Entry, frozen=True, tag="error"):
    """An error that a node reported."""

    priority: ClassVar[Priority] = Priority.HISTORY

    event: ErrorEvent

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write several, in their order."""
        for entry in run:
            error_events.record(connection, entry.event)


class PulsesSeen(_Entry, frozen=True, tag="pulses"):
    """How the nodes' pulses stood at one moment."""

    priority: ClassVar[Priority] = Priority.SNAPSHOT

    snapshots: tuple[PulseSnapshot, ...]

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write several, in their order."""
        for entry in run:
            pulse_snapshots.insert(connection, *entry.snapshots)


Entry = ProcessStep | HandshakeOutcome | FlagTakenOff | Wanted | Audited | ErrorSeen | PulsesSeen


def priority_of(entries: tuple[Entry, ...]) -> Priority:
    """Return the priority of entries that are written together: the highest of theirs."""
    return max(entry.priority for entry in entries)


def apply(connection: Connection, entries: Iterable[Entry], chain: AuditChain) -> None:
    """Write entries in their order; those of one kind that follow each other as one run."""
    for kind, run in itertools.groupby(entries, key=_kind_of):
        kind.apply_run(connection, list(run), chain)


def _kind_of(entry: Entry) -> Any:
    return type(entry)
