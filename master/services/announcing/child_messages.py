"""What the master and the process that sends one announcement say to each other, over its pipes."""

from __future__ import annotations

import msgspec

from master.services.announcing.outcomes import Outcome
from master.services.announcing.texts import Limits


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is asked to do."""

    urls: tuple[str, ...]
    send: bool
    """False: say what the addresses take."""
    title: str = ""
    text: str = ""
    key: str = ""
    """The same for each attempt at one place: Mastodon posts what has the same key once."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What an address takes, or why it is none."""

    limits: Limits | None = None
    detail: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the child found."""

    known: tuple[Known, ...] = ()
    outcome: Outcome | None = None
