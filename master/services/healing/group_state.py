"""The state of a group of errors at a moment: time alone makes known what was new, and resolves what stays away."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from master.ledger.rows.records import ErrorGroup

State: TypeAlias = Literal["new", "known", "regressed", "resolved", "muted"]

NEW_FOR = timedelta(days=1)
"""How long a group is called new, or regressed."""
RESOLVED_AFTER = timedelta(days=30)
"""What was not seen for so long is taken for mended."""


def state_now(group: ErrorGroup, now: datetime) -> State:
    """Return a group's state at a moment.

    ``new`` and ``regressed`` become ``known`` after a day; ``muted`` ends with its time; whatever is not muted is
    ``resolved`` when it was not seen for a month, or when an operator says so. Seen again, what is resolved is
    ``regressed``.
    """
    if group.state == "muted" and (group.muted_until is None or now < group.muted_until):
        return "muted"
    if group.state == "resolved" or now - group.last_at > RESOLVED_AFTER:
        return "resolved"
    if group.state == "muted":
        return "known"
    if group.state != "known" and now - (group.changed_at or group.first_at) > NEW_FOR:
        return "known"
    return group.state
