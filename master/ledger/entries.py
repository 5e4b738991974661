"""Writes that can wait: what the fleet writes down by itself, as values that fit in a file.

A write of a saga (a registration, say) has to know at once whether it was carried out. These need not: while the
database is away they wait in the spool, and are applied in order and once when it is back.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import IntEnum
from typing import ClassVar

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


class ProcessStep(_Entry, frozen=True, tag="process"):
    """A step in the life of a node's process, and which process is its own since then."""

    worth: ClassVar[Worth] = Worth.HISTORY

    record: ProcessRecord
    moved: bool = False
    """Whether ``pid`` and ``pid_started_at`` are the node's process from now on; None: it has none."""
    pid_started_at: float | None = None

    def apply(self, connection: Connection, _chain: AuditChain) -> None:
        """Write it."""
        process_events.insert(connection, self.record)
        if self.moved:
            pid = None if self.pid_started_at is None else self.record.pid
            nodes.set_process(connection, self.record.node_id, pid, self.pid_started_at, at=self.record.at)


class HandshakeOutcome(_Entry, frozen=True, tag="handshake"):
    """An accepted verification or a refused message; a refused one flags the node that it names."""

    worth: ClassVar[Worth] = Worth.SECURITY

    event: HandshakeEvent
    flag: bool = False

    def apply(self, connection: Connection, _chain: AuditChain) -> None:
        """Write it."""
        handshake_events.insert(connection, self.event)
        if self.flag and self.event.node_id is not None:
            nodes.set_flag(connection, self.event.node_id, self.event.outcome, at=self.event.at)


class FlagTakenOff(_Entry, frozen=True, tag="unflag"):
    """The operator has seen to a node's flag."""

    worth: ClassVar[Worth] = Worth.SECURITY

    node_id: str
    at: datetime

    def apply(self, connection: Connection, _chain: AuditChain) -> None:
        """Write it."""
        nodes.clear_flag(connection, self.node_id, at=self.at)


class Wanted(_Entry, frozen=True, tag="wanted"):
    """What the operator wants of a node."""

    worth: ClassVar[Worth] = Worth.SECURITY

    node_id: str
    desired: DesiredState
    at: datetime

    def apply(self, connection: Connection, _chain: AuditChain) -> None:
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

    def apply(self, connection: Connection, chain: AuditChain) -> None:
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

    def apply(self, connection: Connection, _chain: AuditChain) -> None:
        """Write it."""
        error_events.record(connection, self.event)


class PulsesSeen(_Entry, frozen=True, tag="pulses"):
    """How the nodes' pulses stood at one moment."""

    worth: ClassVar[Worth] = Worth.SNAPSHOT

    snapshots: tuple[PulseSnapshot, ...]

    def apply(self, connection: Connection, _chain: AuditChain) -> None:
        """Write them."""
        for snapshot in self.snapshots:
            pulse_snapshots.insert(connection, snapshot)


Entry = ProcessStep | HandshakeOutcome | FlagTakenOff | Wanted | Audited | ErrorSeen | PulsesSeen


def worth_of(entries: tuple[Entry, ...]) -> Worth:
    """Give what entries that are written together are worth: as much as the most precious."""
    return max(entry.worth for entry in entries)


def applying(entries: tuple[Entry, ...], chain: AuditChain) -> Callable[[Connection], None]:
    """Give what writes entries, in their order."""

    def apply(connection: Connection) -> None:
        for entry in entries:
            entry.apply(connection, chain)

    return apply
