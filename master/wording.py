"""How figures are worded, in the terminal and on Discord alike."""

from __future__ import annotations

from datetime import datetime

_DAY_S = 86_400.0


def duration(seconds: float | None) -> str:
    """Write a duration in its two largest units."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02}h"


def moment(at: float) -> str:
    """Write a moment (Unix seconds) in local time, with its date unless it is within the last day."""
    local = datetime.fromtimestamp(at).astimezone()
    recent = datetime.now().astimezone().timestamp() - at < _DAY_S
    return local.strftime("%H:%M:%S" if recent else "%Y-%m-%d %H:%M")
