"""Parameters of operations on announcements: one Struct each, decoded strictly."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Word = Annotated[str, Meta(min_length=1, max_length=26)]
"""An announcement's id, or as much of it as no other begins with."""
PlaceName = Annotated[str, Meta(min_length=1, max_length=40)]
PlaceNames = Annotated[tuple[PlaceName, ...], Meta(max_length=100)]


class AnnounceParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An announcement."""

    text: Annotated[str, Meta(max_length=20_000)]
    title: Annotated[str, Meta(max_length=400)] = ""
    places: PlaceNames = ()
    """Names in ANNOUNCE."""
    all: bool = False
    """Every place that there is."""
    at: Annotated[float, Meta(ge=0, le=253_402_300_000)] = 0.0
    """When, in Unix seconds; 0: now."""
    every: Annotated[str, Meta(max_length=120)] = ""
    """A cron expression; empty: once."""


class AnnouncementsParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which announcements are listed."""

    scheduled: bool = False
    """Only those that wait for their time."""
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 30


class AnnouncementParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One announcement."""

    announcement: Word


class ResendParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An announcement to send again."""

    announcement: Word
    places: PlaceNames = ()
    """None: where it was given up."""
