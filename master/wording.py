"""How figures are worded, in the terminal and on Discord alike."""

from __future__ import annotations


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


def step_text(seconds: float) -> str:
    """Say by how much a clock was set."""
    days, rest = divmod(abs(seconds), 86_400)
    much = f"{days:.0f} days" if days >= 2 else f"{days * 86_400 + rest:.0f} s"
    return f"{'back' if seconds < 0 else 'forward'} by {much}"
