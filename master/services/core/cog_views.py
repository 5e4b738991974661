"""Views of the master's cogs, as faces show them."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class CogState(StrEnum):
    """What a cog of the master does now."""

    WAITING = "waiting"
    """The master is not logged in to Discord; cogs are loaded once it is."""
    LOADING = "loading"
    LOADED = "loaded"
    FAILED = "failed"
    """It could not be loaded, and is tried again by itself."""
    DISABLED = "disabled"
    """An operator switched it off; it stays so over restarts."""


class CogView(msgspec.Struct, frozen=True, kw_only=True):
    """One cog of the master."""

    name: str
    state: CogState
    commands: tuple[str, ...] = ()
    """Its slash commands; of one that is not loaded, those that it had when it was."""
    required: str = ""
    """Why it cannot be disabled; empty if it can."""
    why: str = ""
    """Why it could not be loaded, or who disabled it."""
    tries: int = 0
    """Failed attempts in a row."""
    next_try_in_s: float | None = None
    failures: int = 0
    """Unexpected errors of its listeners, commands and buttons since the master started."""
    last_failure: str = ""
    last_failure_at: float | None = None
    """Unix time."""
