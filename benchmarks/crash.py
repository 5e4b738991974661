"""kill -9 at random moments under load: no acknowledged write is lost or applied twice, the audit chain stays intact.

Each round forks a writer on the same ledger and spool, reads its acknowledgements, and kills it after a random delay.
In every third round the database is locked for a while: writes acknowledged then are in the spool, which a later round
applies. There is no peer: the result is the number of losses.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import select
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from benchmarks.reporting import Outcome, parser, show
from handshake.redaction import Secret
from master.configuration.settings import DatabaseSettings
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows.audit import AuditChain
from master.ledger.rows.inspection import find_faults
from master.ledger.rows.records import ErrorEvent
from master.ledger.rows.records import Outcome as ActionOutcome
from master.ledger.schema.migrations import migrate
from master.ledger.writer.entries import Audited, ErrorCounted

CHAIN = AuditChain(b"crash" * 8)
WRITERS = 8
NODE = "01CRASH"
LONGEST_S = 0.3
EARLY = 0.2
SPOOLED_WITHIN_S = 5.0
BEGIN_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Losses:
    """The results of all rounds."""

    rounds: int = 0
    acknowledged: int = 0
    written: int = 0
    lost: int = 0
    duplicated: int = 0
    miscounted: int = 0
    """The deviation of the error counter, whose increments are not idempotent by themselves."""
    faults: list[str] = field(default_factory=list)


def settings_of(folder: Path) -> DatabaseSettings:
    """Return the ledger of a folder; the time-out is short, so that a locked file soon counts as an outage."""
    return DatabaseSettings(url=Secret(f"sqlite:///{folder / 'ledger.db'}"), statement_timeout_s=0.01)


def prepare(folder: Path) -> None:
    """Create a ledger with one node."""
    migrate(make_url(f"sqlite:///{folder / 'ledger.db'}"))
    with sqlite3.connect(folder / "ledger.db") as ledger:
        ledger.execute(
            "INSERT INTO nodes (id, name, name_key, folder, entry, bot_user_id, desired_state, lifecycle, readiness, "
            "key_epoch, template_version, tags, priority, flag_reason, created_at, updated_at) VALUES "
            "(?, 'crash', 'crash', 'crash', 'bot.py', 1, 'running', 'active', 'handshake', 1, '', '', 1, '', ?, ?)",
            (NODE, "2026-01-01 00:00:00.000000", "2026-01-01 00:00:00.000000"),
        )


async def _work(folder: Path, first: int, ack_fd: int) -> None:
    """Write as fast as possible; sends each number to ``ack_fd`` once it is acknowledged."""
    ledger = await Ledger.open(settings_of(folder), chain=CHAIN, spool_dir=folder / "spool")

    async def write(number: int) -> None:
        while True:
            at = datetime.now(UTC)
            action = Audited(
                at=at, actor="cli:crash", face="cli", action="stop", node_id=NODE,
                outcome=ActionOutcome.DONE, detail=str(number),
            )  # fmt: skip
            seen = ErrorEvent(
                id=f"E{number}", at=at, node_id=NODE, source="task", fingerprint="same", summary="the same error"
            )
            await ledger.write_durable(action, ErrorCounted(event=seen))
            os.write(ack_fd, f"{number}\n".encode())
            number += WRITERS

    os.write(ack_fd, b"0\n")
    await asyncio.gather(*(write(first + offset) for offset in range(WRITERS)))


def _fork(folder: Path, first: int) -> tuple[int, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    code = 1
    try:
        os.close(reading)
        logging.disable(logging.CRITICAL)
        asyncio.run(_work(folder, first, writing))
    except LedgerError as error:
        os.write(writing, f"-1 {error}\n".encode())
    finally:
        os._exit(code)


def _read_some(descriptor: int, timeout_s: float) -> bytes:
    """Read the first output; empty when the writer ends or after the time-out."""
    return os.read(descriptor, 65536) if select.select([descriptor], [], [], timeout_s)[0] else b""


def _read(descriptor: int, until: float) -> tuple[bytes, bool]:
    """Read until a deadline; False when the writer ended by itself before it."""
    content = b""
    while (left := until - time.monotonic()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            part = os.read(descriptor, 65536)
            if not part:
                return content, False
            content += part
    return content, True


@contextmanager
def _locked(folder: Path, wanted: bool) -> Iterator[None]:
    other = sqlite3.connect(folder / "ledger.db", isolation_level=None, timeout=10)
    if wanted:
        other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


def _round(folder: Path, first: int, rng: random.Random, *, away: bool) -> list[int]:
    """Run one writer until it is killed; returns the numbers it acknowledged."""
    pid, reading = _fork(folder, first)
    try:
        # Sometimes it is killed at its start, while it applies the spool.
        early = rng.random() < EARLY
        content = b"" if early else _read_some(reading, BEGIN_TIMEOUT_S)
        alive = early or bool(content)
        with _locked(folder, away):
            if away and not early and alive:
                # Until the writer has detected the outage and spools.
                content += _read_some(reading, SPOOLED_WITHIN_S)
            more, alive = _read(reading, time.monotonic() + rng.random() * LONGEST_S)
            if alive:
                os.kill(pid, signal.SIGKILL)
            content += more
            while part := os.read(reading, 65536):
                content += part
    finally:
        os.close(reading)
        os.waitpid(pid, 0)
    lines = content.decode().splitlines()
    if any(line.startswith("-1") for line in lines):
        raise SystemExit(f"a writer failed: {[line for line in lines if line.startswith('-1')]}")
    return [int(line) for line in lines if line != "0"]


def crash(folder: Path, times: int, *, seed: int) -> Losses:
    """Kill writers ``times`` times, then check the ledger."""
    rng, found = random.Random(seed), Losses(rounds=times)  # noqa: S311 - delays, not secrets
    acknowledged: list[int] = []
    first = 1
    for number in range(times):
        acknowledged += _round(folder, first, rng, away=number % 3 == 2)
        first += 1_000_000
    # The next master applies the rest of the spool.
    asyncio.run(_open_and_close(folder))
    return _count_losses(folder, acknowledged, found)


async def _open_and_close(folder: Path) -> None:
    ledger = await Ledger.open(settings_of(folder), chain=CHAIN, spool_dir=folder / "spool")
    await ledger.wait_available()
    await ledger.close()


def _count_losses(folder: Path, acknowledged: list[int], found: Losses) -> Losses:
    engine = create_engine(f"sqlite:///{folder / 'ledger.db'}")
    with engine.connect() as connection:
        written = Counter(int(row[0]) for row in connection.exec_driver_sql("SELECT detail FROM audit_log").fetchall())
        counted = connection.exec_driver_sql("SELECT sum(count) FROM error_events").scalar() or 0
        fault = CHAIN.verify(connection)
        found.faults = find_faults(connection)
    engine.dispose()
    if fault is not None:
        found.faults.append(fault.problem)
    found.faults += [f"left in the spool: {path.name}" for path in (folder / "spool").glob("*")]
    found.acknowledged, found.written = len(acknowledged), sum(written.values())
    found.lost = sum(1 for number in acknowledged if number not in written)
    found.duplicated = sum(count - 1 for count in written.values())
    found.miscounted = abs(counted - found.written)
    return found


def main() -> None:
    """Run the rounds and print the result."""
    options = parser(__doc__)
    options.add_argument("--times", type=int, default=1000)
    options.add_argument("--seed", type=int, default=int(time.time()))
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-crash-") as name:
        folder = Path(name)
        prepare(folder)
        found = crash(folder, chosen.times, seed=chosen.seed)
    outcome = Outcome(f"kill -9 at {found.rounds} random moments under load (seed {chosen.seed})")
    outcome.rows["fleetmaster"] = {
        "kills": found.rounds,
        "acknowledged": found.acknowledged,
        "written": found.written,
        "lost": found.lost,
        "duplicated": found.duplicated,
        "miscounted": found.miscounted,
        "faults": len(found.faults),
    }
    for name in ("lost", "duplicated", "miscounted", "faults"):
        outcome.at_most(name, outcome.rows["fleetmaster"][name], 0)
    show(outcome, as_json=chosen.json)
    for fault in found.faults:
        print(fault)


if __name__ == "__main__":
    main()
