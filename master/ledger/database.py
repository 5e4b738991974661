"""The ledger's public face: reads run on one thread, writes on another.

The event loop never blocks on the database. A write returns once it is durably committed. A write made of entries goes
to the spool while the database is away, and returns once it is on disk there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from master.bus import EventBus
from master.configuration.settings import DatabaseSettings
from master.events import AuditLogCut, LedgerAway, LedgerReturned
from master.ledger.engine import explain, make_engine, parse_url, prepare_file
from master.ledger.errors import LedgerRetryable, LedgerTimedOut, LedgerUnavailable
from master.ledger.identifiers import is_ulid, ulid_after, ulid_of
from master.ledger.rows.audit import AuditChain
from master.ledger.schema import migrations
from master.ledger.writer.entries import Entry
from master.ledger.writer.queue import RETRY_DELAYS_S, Away, LedgerStatistics, Writer
from master.ledger.writer.spool import Spool, SpoolStatistics

log = logging.getLogger(__name__)

T = TypeVar("T")

AUDIT_HINT = "`fleet audit verify` shows it, and `fleet audit acknowledge` once you know why"

SNAPSHOT_TIMEOUT_S = 600.0
CLOSE_TIMEOUT_S = 30.0
DURABLE_TIMEOUT_S = 30.0
"""Longer than a statement's and a connection's time-out together: by then an outage has been detected."""


def _session_after(spool_dir: Path | None) -> str:
    """Return the id of a new session, after all that have a spool: they are applied in the order of their names.

    The clock alone does not see to that: a box may begin with one that is years back.
    """
    session_id = ulid_of(datetime.now(UTC))
    earlier = [] if spool_dir is None else [path.stem for path in spool_dir.glob("*.spool")]
    return max([session_id, *(ulid_after(name) for name in earlier if is_ulid(name))])


class Ledger:
    """One open ledger; made by :meth:`open`."""

    def __init__(
        self, settings: DatabaseSettings, *, chain: AuditChain, spool_dir: Path | None, session_id: str, bus: EventBus
    ) -> None:
        self._bus = bus
        self._url = parse_url(settings)
        self._engine = make_engine(self._url, settings)
        self._reader_engine = make_engine(self._url, settings, read_only=True)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="ledger-reader")
        self._loop = asyncio.get_running_loop()
        self._spool = None if spool_dir is None else Spool(spool_dir, session_id)
        self._writer = Writer(
            self._engine,
            session_id=session_id,
            spool=self._spool,
            chain=chain,
            prepare=self._prepare,
            on_change=self._announce,
        )
        chain.on_alarm = self._warn_of_cut
        self.chain = chain
        """What audited actions hang in."""
        self._available = asyncio.Event()
        self._disk_was_full = False
        self.dialect = self._engine.dialect.name
        """``sqlite`` or ``mssql``."""
        self.audit_cut = ""
        """What was wrong with the end of the audit log when the ledger was opened."""

    @classmethod
    async def open(
        cls,
        settings: DatabaseSettings,
        *,
        chain: AuditChain | None = None,
        spool_dir: Path | None = None,
        bus: EventBus | None = None,
    ) -> Ledger:
        """Open the ledger, and upgrade its schema first.

        Parameters
        ----------
        chain
            The audit log's chain; None when nothing is audited.
        spool_dir
            Where entries wait while the database is away; with it, a ledger opens though its database is away.
            None: they fail then.
        bus
            Hears when the database goes away and when it is back, and of each audited action.

        Raises
        ------
        LedgerError
            It cannot be opened, is not a database, cannot be written, or is newer than this program.
        """
        chain = chain or AuditChain(b"")
        session_id = _session_after(spool_dir)
        ledger = cls(settings, chain=chain, spool_dir=spool_dir, session_id=session_id, bus=bus or EventBus())
        try:
            await asyncio.to_thread(ledger._open_database)
        except BaseException:
            ledger._dispose()
            raise
        if ledger.away is None:
            ledger._available.set()
        return ledger

    def _open_database(self) -> None:
        if self._spool is not None:
            self._spool.open()
        outage = None
        try:
            self._prepare()
        except LedgerUnavailable as error:
            if self._spool is None:
                raise
            outage = error
        self._writer.start(outage)

    def _prepare(self) -> None:
        prepare_file(self._url)
        try:
            migrations.upgrade_schema(self._engine, self._url)
            if self.chain.has_key:
                with self._reader_engine.connect() as connection:
                    self.audit_cut = self.chain.open(connection)
        except SQLAlchemyError as error:
            raise explain(error) from error

    def _announce(self, away: Away | None) -> None:
        """Log a change of availability, and pass it from the writer's thread to the event loop."""
        if away is None:
            log.info("the ledger is back")
        else:
            log.error("the ledger is away", extra={"why": away.why, "hint": away.hint})
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_change, away)

    def _on_change(self, away: Away | None) -> None:
        if away is None:
            self._available.set()
            self._bus.publish(LedgerReturned(at=datetime.now(UTC), disk_full=self._disk_was_full))
        else:
            self._available.clear()
            self._disk_was_full = away.disk_full
            self._bus.publish(LedgerAway(at=away.since, why=away.why, hint=away.hint, disk_full=away.disk_full))

    def _warn_of_cut(self, cut: str) -> None:
        """Pass an alarm of the audit log from the writer's thread to the loop."""
        log.error("the audit log is not as it was left", extra={"why": cut, "hint": AUDIT_HINT})
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._bus.publish, AuditLogCut(at=datetime.now(UTC), detail=cut))

    @property
    def away(self) -> Away | None:
        """The current outage; None while the database answers."""
        return self._writer.away

    @property
    def statistics(self) -> LedgerStatistics:
        """Counters of the writer."""
        return self._writer.statistics

    @property
    def spooled(self) -> SpoolStatistics:
        """What the spool holds."""
        return SpoolStatistics() if self._spool is None else self._spool.statistics

    async def pending_entries(self) -> list[Entry]:
        """Return the spooled entries in order; they are newer than any row that was read.

        Raises
        ------
        LedgerError
        """
        if self._spool is None:
            return []
        return await asyncio.to_thread(self._spool.entries)

    async def wait_available(self) -> None:
        """Wait until the database answers and the spool is applied."""
        await self._available.wait()

    async def read(self, query: Callable[[Connection], T], *, timeout_s: float = 10.0) -> T:
        """Run ``query`` on the reader's thread.

        Raises
        ------
        LedgerError
        """
        if self.away is not None and self.dialect != "sqlite":
            # Fail at once: it would block the reader's thread until the connection times out.
            raise LedgerUnavailable(f"the ledger is away: {self.away.why}", hint=self.away.hint)
        running = asyncio.get_running_loop().run_in_executor(self._readers, self._read, query)
        try:
            return await asyncio.wait_for(running, timeout_s)
        except TimeoutError:
            raise LedgerTimedOut(
                f"the ledger did not answer within {timeout_s:g} s", hint="`fleet doctor` looks closer"
            ) from None

    def _read(self, query: Callable[[Connection], T]) -> T:
        for delay_s in (*RETRY_DELAYS_S, None):
            try:
                with self._reader_engine.connect() as connection:
                    return query(connection)
            except SQLAlchemyError as error:
                explained = explain(error)
                if delay_s is None or not isinstance(explained, LedgerRetryable):
                    raise explained from error
                time.sleep(delay_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def snapshot(self, query: Callable[[Connection], T]) -> T:
        """Run a long ``query`` on a consistent snapshot, without blocking short reads.

        Raises
        ------
        LedgerError
        """
        if self.dialect == "sqlite":
            # A connection of its own: in WAL mode a reader sees one snapshot, and writers continue.
            return await asyncio.to_thread(self._read, query)
        # On a server it runs on the writer's thread: there is no other writer.
        return await self.write(query, timeout_s=SNAPSHOT_TIMEOUT_S)

    def file_bytes(self) -> int | None:
        """Return the size of a SQLite ledger with its write-ahead log; None for a server's."""
        path = self._url.database
        if self.dialect != "sqlite" or not path:
            return None
        return sum(Path(name).stat().st_size for name in (path, f"{path}-wal") if Path(name).exists())

    async def write(self, work: Callable[[Connection], T], *, timeout_s: float = 15.0) -> T:
        """Run ``work`` in a transaction; returns its value once that is durably committed.

        Raises
        ------
        Conflict
            A constraint refused a row; nothing of ``work`` was written.
        LedgerError
            Nothing of ``work`` was written.
        LedgerUnavailable
            Nothing was written, unless the connection broke between a commit and its answer, and the outage lasts.
        LedgerTimedOut
            It may still be written, as it may after the caller is cancelled. Later writes come after it.
        """
        return await self._await_write(self._writer.submit(work), timeout_s)

    async def write_durable(self, *entries: Entry, timeout_s: float = DURABLE_TIMEOUT_S) -> bool:
        """Write entries in one transaction; True once they are durable, in the ledger or in its spool.

        False on a full disk: they are held in memory, and follow when there is room.

        Raises
        ------
        LedgerError
            They are in neither.
        LedgerTimedOut
            They may still be written.
        """
        return bool(await self._await_write(self._writer.submit_entries(entries, urgent=True), timeout_s))

    async def _await_write(self, done: Future[T], timeout_s: float) -> T:
        try:
            return await asyncio.wait_for(asyncio.wrap_future(done), timeout_s)
        except TimeoutError:
            raise LedgerTimedOut(
                f"the ledger did not write within {timeout_s:g} s", hint="`fleet doctor` looks closer"
            ) from None

    def write_soon(self, *entries: Entry) -> None:
        """Write entries without waiting; a failure is logged."""
        kinds = ", ".join(type(entry).__name__ for entry in entries)
        try:
            done = self._writer.submit_entries(entries, urgent=False)
        except LedgerUnavailable as error:
            self.statistics.dropped += 1
            log.error("write dropped", extra={"write": kinds, "why": error.message})
            return

        def report(finished: Future[Any]) -> None:
            error = None if finished.cancelled() else finished.exception()
            if error is not None:
                log.error("write failed", extra={"write": kinds, "why": str(error)})

        done.add_done_callback(report)

    async def flush(self) -> None:
        """Wait until all writes queued so far are in the ledger or in its spool."""
        try:
            await self.write(lambda _connection: None)
        except LedgerUnavailable:
            if self.away is None:
                raise

    async def close(self) -> None:
        """Write or spool what is queued, then close the database."""
        await asyncio.to_thread(self._writer.stop, CLOSE_TIMEOUT_S)
        await asyncio.to_thread(self._dispose)

    def _dispose(self) -> None:
        self._readers.shutdown()
        self._engine.dispose()
        self._reader_engine.dispose()
