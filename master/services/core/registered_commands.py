"""Which slash commands the master registered with Discord last; kept in the state folder."""

from __future__ import annotations

from pathlib import Path

import msgspec

from master.durable import replace_file


class Registered(msgspec.Struct, frozen=True):
    """What was registered."""

    fingerprint: str
    names: tuple[str, ...]


def load_record(path: Path) -> Registered | None:
    """Return the record; None if there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Registered)
    except (OSError, msgspec.MsgspecError):
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
