"""Moments as people type them for ``--since``."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import typer

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_OF_TODAY = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")


def moment_of(text: str) -> float:
    """Return the Unix time of ``10m`` ago, of a time of today, or of ISO 8601 (in local time unless it names a zone).

    Raises
    ------
    typer.BadParameter
        It is none of these.
    """
    now, typed = datetime.now().astimezone(), text.strip().removesuffix(" ago")
    try:
        if ago := _AGO.fullmatch(typed):
            found = now - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
        elif _OF_TODAY.fullmatch(typed):
            hour, _, rest = typed.partition(":")
            found = datetime.fromisoformat(f"{now:%Y-%m-%d}T{hour:0>2}:{rest}")
        else:
            found = datetime.fromisoformat(typed)
        # 0 would stand for none given.
        return max(found.timestamp(), 1.0)
    except (ValueError, OverflowError, OSError):
        hint = f"{text!r} is no time: type 90s, 10m, 2h or 3d, or 2026-11-22T10:00, or 10:00 for today"
        raise typer.BadParameter(hint, param_hint="--since") from None


def coming_moment_of(text: str, option: str) -> float:
    """Return the Unix time of ``in 2h``, of a time of today or else tomorrow, or of ISO 8601.

    Raises
    ------
    typer.BadParameter
        It is none of these, or over.
    """
    now, typed = datetime.now().astimezone(), text.strip().removeprefix("in ")
    try:
        if ahead := _AGO.fullmatch(typed):
            found = now + timedelta(**{_UNITS[ahead[2]]: float(ahead[1])})
        elif _OF_TODAY.fullmatch(typed):
            hour, _, rest = typed.partition(":")
            found = datetime.fromisoformat(f"{now:%Y-%m-%d}T{hour:0>2}:{rest}").astimezone()
            if found <= now:
                tomorrow = now + timedelta(days=1)
                found = datetime.fromisoformat(f"{tomorrow:%Y-%m-%d}T{hour:0>2}:{rest}").astimezone()
        else:
            found = datetime.fromisoformat(typed).astimezone()
        moment = found.timestamp()
    except (ValueError, OverflowError, OSError):
        hint = f"{text!r} is no time: type 18:00, 2026-12-24T18:00, or 'in 2h'"
        raise typer.BadParameter(hint, param_hint=option) from None
    if found <= now:
        raise typer.BadParameter(f"{text!r} is over", param_hint=option)
    return moment


def duration_of(text: str, option: str) -> float:
    """Return the seconds of ``90s``, ``10m``, ``2h``, ``30d``; ``0`` is none.

    Raises
    ------
    typer.BadParameter
    """
    typed = text.strip().lower()
    found = _AGO.fullmatch("0s" if typed == "0" else typed)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no duration: type 90s, 10m, 2h, 30d or 2w", param_hint=option)
    return timedelta(**{_UNITS[found[2]]: float(found[1])}).total_seconds()
