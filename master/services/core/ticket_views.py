"""Tickets and permissions in them, as faces show them."""

from __future__ import annotations

from typing import Literal

import msgspec


class TicketRow(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket."""

    id: str
    number: int
    node: str
    category: str
    state: str
    channel_id: int
    is_thread: bool
    author_id: int
    """0: it came by mail."""
    claimed_by: int = 0
    priority: str
    topic: str
    opened_at: float
    last_at: float
    warned_at: float | None = None
    closed_at: float | None = None
    closed_by: int = 0
    reason: str = ""
    position: int = 0
    """In the queue; 0: not in it."""


class TicketPermissionRow(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody in a ticket, or a question whether to let him in."""

    id: str
    ticket_id: str
    ticket: int
    """Its number."""
    node: str
    subject_id: int
    permission_set: str
    state: str
    at: float
    until: float | None = None
    decided_by: str = ""
    detail: str = ""


class TicketDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket with all that there is to it."""

    ticket: TicketRow
    answers: tuple[str, ...] = ()
    permissions: tuple[TicketPermissionRow, ...] = ()


class TicketFinding(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the master may do what a category of tickets needs."""

    category: str
    verdict: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""
