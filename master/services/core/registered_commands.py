"""Which slash commands the master registered with Discord last; kept in the state folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from handshake.files import read_regular
from master.durable import replace_file

_MAX_BYTES = 1 << 20

Payload = dict[str, Any]
"""A command as Discord takes it."""


class Registered(msgspec.Struct, frozen=True):
    """What was registered."""

    fingerprint: str
    names: tuple[str, ...]
    cogs: dict[str, list[Payload]] = {}
    """The commands of each cog, also of one that was not loaded then."""


def load_record(path: Path) -> Registered | None:
    """Return the record; None if there is none that can be read."""
    try:
        return msgspec.json.decode(read_regular(path, _MAX_BYTES), type=Registered)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None


def load_registered(path: Path) -> tuple[str, ...]:
    """Return the names that were registered last; empty if none ever were."""
    record = load_record(path)
    return () if record is None else record.names


def save_record(path: Path, record: Registered) -> None:
    """Remember what has been registered.

    Raises
    ------
    OSError
    """
    replace_file(path, msgspec.json.encode(record))
