"""Announcements, and what becomes of them at each place, as faces show them."""

from __future__ import annotations

import msgspec


class AnnouncementPlaceRow(msgspec.Struct, frozen=True, kw_only=True):
    """An announcement at one place."""

    place: str
    state: str
    """waiting, sending, sent, asked (it is not known whether it was sent), given_up."""
    attempts: int = 0
    next_at: float | None = None
    url: str = ""
    detail: str = ""


class AnnouncementRow(msgspec.Struct, frozen=True, kw_only=True):
    """An announcement."""

    id: str
    at: float
    due_at: float
    schedule: str = ""
    parent_id: str = ""
    title: str
    text: str
    state: str
    """scheduled, sending, sent, cancelled, failed."""
    written_by: str
    detail: str = ""
    places: tuple[AnnouncementPlaceRow, ...] = ()


class PlacePreview(msgspec.Struct, frozen=True, kw_only=True):
    """An announcement as a place would get it."""

    place: str
    service: str = ""
    title: str = ""
    text: str = ""
    cut: int = 0
    """Characters that do not fit."""
    problem: str = ""
    """Why it cannot be sent there; empty if it can."""


class AnnouncementPreview(msgspec.Struct, frozen=True, kw_only=True):
    """An announcement before it is sent."""

    places: tuple[PlacePreview, ...]
    times: tuple[float, ...] = ()
    """When it would be sent: the next five times of a schedule, or the one; empty: now."""


class PlaceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A place of ANNOUNCE."""

    place: str
    service: str
    text: int = 0
    """How many characters it takes; 0: as many as there are."""
    problem: str = ""
