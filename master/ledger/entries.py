"""Writes that can wait: what the fleet writes down by itself, as values that fit in a file.

A write of a saga (a registration, say) has to know at once whether it was carried out. These need not: while the
database is away they wait in the spool, and are applied in order and once when it is back.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import IntEnum
from typing import ClassVar, Self

import msgspec
from sqlalchemy import Connection

from master.ledger import error_events, handshake_events, nodes, process_events, pulse_snapshots
from master.ledger.audit import AuditChain
from master.ledger.records import DesiredState, ErrorEvent, HandshakeEvent, Outcome, ProcessRecord, PulseSnapshot


class Worth(IntEnum):
    """What a full spool gives up first: the lowest; nothing of the highest, ever."""

    SNAPSHOT = 0
    HISTORY = 1
    SECURITY = 2


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    worth: ClassVar[Worth]

    def _apply(self, connection: Connection, chain: AuditChain) -> None:
        """Write it; a kind that is written in one statement for many has no need of this."""
        raise NotImplementedError

    @classmethod
    def apply_run(cls, connection: Connection, run: Sequence[Self], chain: AuditChain) -> None:
        """Write several of one kind, in their order."""
        for entry in run:
            entry._apply(connection, chain)


class ProcessStep(_Entry, frozen=True, tag="process"):
    """A step in the life of a node's process, and which process is its own since then."""

    worth: ClassVar[Worth] = Worth.HISTORY

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

    worth: ClassVar[Worth] = Worth.SECURITY

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

    worth: ClassVar[Worth] = Worth.SECURITY

    node_id: str
    at: datetime

    def _apply(self, connection: Connection, chain: AuditChain) -> None:
        """Write it."""
        nodes.clear_flag(connection, self.node_id, at=self.at)


class Wanted(_Entry, frozen=True, tag="wanted"):
    """What the operator wants of a node."""

    worth: ClassVar[Worth] = Worth.SECURITY

    node_id: str
    desired: DesiredState
    at: datetime

    def _apply(self, connection: Connection, chain: AuditChain) -> None:
        """Write it."""
        nodes.set_desired_state(connection, self.node_id, self.desired, at=self.at)


class Audited(_Entry, frozen=True, tag="audit"):
    """An operator's action and how it ended; its place in the chain is given when it is applied."""

    worth: ClassVar[Worth] = Worth.SECURITY

    at: datetime
    actor: str
    face: str
    action: str
    node_id: str | None
    outcome: Outcome
    detail: str

    def _apply(self, connection: Connection, chain: AuditChain) -> None:
        """Write it."""
        chain.append(
            connection,
            at=self.at,
            actor=self.actor,
            face=self.face,
            action=self.action,
            node_id=self.node_id,
            outcome=self.outcome,
            detail=self.detail,
        )


class ErrorSeen(_Entry, frozen=True, tag="error"):
    """An error that a node reported."""

    worth: ClassVar[Worth] = Worth.HISTORY

    event: ErrorEvent

    def _apply(self, connection: Connection, chain: AuditChain) -> None:
        """Write it."""
        error_events.record(connection, self.event)


class PulsesSeen(_Entry, frozen=True, tag="pulses"):
    """How the nodes' pulses stood at one moment."""

    worth: ClassVar[Worth] = Worth.SNAPSHOT

    snapshots: tuple[PulseSnapshot, ...]

    def _apply(self, connection: Connection, chain: AuditChain) -> None:
        """Write them."""
        pulse_snapshots.insert(connection, *self.snapshots)


Entry = ProcessStep | HandshakeOutcome | FlagTakenOff | Wanted | Audited | ErrorSeen | PulsesSeen


def worth_of(entries: tuple[Entry, ...]) -> Worth:
    """Give what entries that are written together are worth: as much as the most precious."""
    return max(entry.worth for entry in entries)


def apply(connection: Connection, entries: Iterable[Entry], chain: AuditChain) -> None:
    """Write entries in their order; those of one kind that follow each other in one statement."""
    for kind, run in itertools.groupby(entries, key=_kind_of):
        kind.apply_run(connection, list(run), chain)


def _kind_of(entry: Entry) -> type[_Entry]:
    return type(entry)
