"""Schedules of announcements: cron expressions, in the box's time zone."""

from __future__ import annotations

from datetime import datetime, timedelta

from master.configuration.programs import check_schedule
from master.errors import FleetError
from master.services.announcing.errors import AnnouncementRefused
from master.services.fleet.scheduled_restarts import next_time

__all__ = ["checked_schedule", "next_time"]

SHORTEST = timedelta(minutes=5)


def checked_schedule(text: str) -> str:
    """Return a cron expression that is met, and not more often than every five minutes.

    Raises
    ------
    AnnouncementRefused
    """
    try:
        expression = check_schedule(text)
        first = next_time(expression, datetime.now().astimezone())
        second = next_time(expression, first)
    except FleetError as error:
        raise AnnouncementRefused(error.message, hint=error.hint) from error
    except StopIteration:
        raise AnnouncementRefused(f"{text[:60]!r} is never met") from None
    if second - first < SHORTEST:
        raise AnnouncementRefused(f"{text[:60]!r} is met more often than every five minutes")
    return expression
