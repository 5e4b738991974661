"""Files of the state folder that a master reads as it starts: whatever stands there instead, it starts without it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from master.bot.own_id import RememberedId
from master.bus import EventBus
from master.ledger.rows.audit_head import HeadFile
from master.services.core.alert_outbox import AlertOutbox
from master.services.core.ledger_cache import load_cached_ledger, read_older_head
from master.services.core.registered_commands import load_record
from master.supervision.clock import SystemClock

pytestmark = pytest.mark.timeout(20)


def number_in_outbox(path: Path) -> int | None:
    return len(AlertOutbox(path, EventBus(), SystemClock(), lambda: True)) or None


READERS: dict[str, Callable[[Path], object]] = {
    "alerts": number_in_outbox,
    "audit head": lambda path: HeadFile(path, b"k" * 32).load().head,
    "commands": load_record,
    "ledger cache": lambda path: asyncio.run(load_cached_ledger(path)),
    "older head": read_older_head,
    "own id": lambda path: RememberedId("no-token-of-discord's", path).value or None,
}
CONTENTS: dict[str, bytes] = {
    "nothing": b"",
    "no text": b"\xff\x00\xc1",
    "deep JSON": b'{"other":' + b"[" * 100_000,
    "deep MessagePack": b"\x81\xa5other" + b"\x91" * 100_000,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "folder", "endless", *CONTENTS])
def test_what_cannot_be_read_is_taken_for_nothing(tmp_path: Path, reader: str, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(CONTENTS[kind])
    assert READERS[reader](path) is None
