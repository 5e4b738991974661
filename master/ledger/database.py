"""The ledger's public face: reads run on one thread, writes on another.

The event loop never blocks on the database. A write returns once it is durably committed. A write made of entries goes
to the spool while the database is away, and returns once it is on disk there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from master.bus import EventBus
from master.configuration.settings import DatabaseSettings
from master.events import AuditLogCut, LedgerAway, LedgerReturned, LedgerRewritten
from master.ledger.engine import explain, make_engine, parse_url, prepare_file
from master.ledger.errors import (
    LedgerCorrupt,
    LedgerHangs,
    LedgerReadOnly,
    LedgerRetryable,
    LedgerTimedOut,
    LedgerUnavailable,
)
from master.ledger.file_place import FilePlace, ledger_path
from master.ledger.identifiers import is_ulid, ulid_after, ulid_of
from master.ledger.rows.audit import AuditChain
from master.ledger.schema import migrations
from master.ledger.worker import Worker, watch
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
STALL_GRACE_S = 5.0
"""How much longer than its time-out a statement may take before its thread is abandoned."""


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
        watch(self._reader_engine)
        self._reader = Worker("ledger-reader")
        self._stall_s = max(settings.connect_timeout_s, settings.statement_timeout_s) + STALL_GRACE_S
        self._loop = asyncio.get_running_loop()
        self._spool = None if spool_dir is None else Spool(spool_dir, session_id)
        self._place = FilePlace(
            ledger_path(self._url), writer=self._engine, reader=self._reader_engine, on_mended=self._announce_mended
        )
        self._writer = Writer(
            self._engine,
            session_id=session_id,
            spool=self._spool,
            chain=chain,
            prepare=self._prepare,
            on_change=self._announce,
            stall_s=self._stall_s,
            mend=self._place.mend,
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
        except (LedgerUnavailable, LedgerReadOnly) as error:
            # A file that cannot be written is this box's to mend; what a server forbids may be allowed again.
            if self._spool is None or (isinstance(error, LedgerReadOnly) and self.dialect == "sqlite"):
                raise
            outage = error
        self._writer.start(outage)

    def _prepare(self) -> None:
        prepare_file(self._url)
        try:
            revision = self._reader.run(self._read_revision, stall_s=self._stall_s)
            migrations.upgrade_schema(revision, self._url)
            if self.chain.has_key:
                self.audit_cut = self._reader.run(self._open_chain, stall_s=self._stall_s)
        except LedgerHangs:
            self._reader_engine.dispose(close=False)
            raise
        self._place.remember()
        if self.dialect == "sqlite":
            # The writer's own connection: a file that is deleted before the first write is written again from it.
            with contextlib.suppress(SQLAlchemyError), self._engine.connect():
                pass

    def _read_revision(self) -> str | None:
        try:
            return migrations.current_revision(self._reader_engine)
        except SQLAlchemyError as error:
            raise explain(error) from error

    def _open_chain(self) -> str:
        try:
            with self._reader_engine.connect() as connection:
                return self.chain.open(connection)
        except SQLAlchemyError as error:
            raise explain(error) from error

    def _announce_mended(self, what: str) -> None:
        """Log that the file was deleted and written again, and pass it from the writer's thread to the event loop."""
        log.error("the ledger's file was deleted, and written again", extra={"what": what})
        if not self._loop.is_closed():
            event = LedgerRewritten(at=datetime.now(UTC), detail=what)
            self._loop.call_soon_threadsafe(self._bus.publish, event)

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
        call = self._reader.submit(partial(self._read, query))
        try:
            # Not `wait_for`: before Python 3.12 it swallows a cancellation that comes together with the answer.
            async with asyncio.timeout(timeout_s):
                return await asyncio.wrap_future(call.done)
        except TimeoutError:
            # The reads after it get another thread and connection.
            self._reader.abandon(call)
            self._reader_engine.dispose(close=False)
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
        return await self._await_write(
            self._writer.submit(query, stall_s=SNAPSHOT_TIMEOUT_S), timeout_s=SNAPSHOT_TIMEOUT_S
        )

    def retry(self) -> None:
        """Look now whether a database that is away is back; does nothing while it is there."""
        self._writer.retry()

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
            It was still queued, and is not written.
        """
        done = self._writer.submit(work)
        try:
            return await self._await_write(done, timeout_s)
        except asyncio.CancelledError:
            # Dropped if it is still queued. If not it is carried out, and later writes come after it.
            done.cancel()
            raise

    async def write_durable(self, *entries: Entry, timeout_s: float = DURABLE_TIMEOUT_S) -> bool:
        """Write entries in one transaction; True once they are durable, in the ledger or in its spool.

        False on a full disk: they are held in memory, and follow when there is room.

        They are written although the caller is cancelled meanwhile: what they tell has happened.

        Raises
        ------
        LedgerError
            They are in neither.
        LedgerTimedOut
            They were still queued, and are not written.
        """
        done = self._writer.submit_entries(entries, urgent=True)
        try:
            return bool(await self._await_write(done, timeout_s))
        except asyncio.CancelledError:
            done.add_done_callback(partial(_report, entries))
            raise

    async def _await_write(self, done: Future[T], timeout_s: float) -> T:
        """Wait for a write; what is answered and what is written agree.

        A write that is queued is given up after ``timeout_s``. One that was begun is waited for: the writer bounds it.
        """
        waiting = asyncio.wrap_future(done)
        # Not `wait_for`: it would cancel what was begun.
        await asyncio.wait([waiting], timeout=timeout_s)
        if not waiting.done() and done.cancel():
            raise LedgerTimedOut(
                f"the ledger did not come to write this within {timeout_s:g} s; nothing of it is written",
                hint="`fleet doctor` looks closer",
            )
        return await asyncio.shield(waiting)

    def write_soon(self, *entries: Entry) -> None:
        """Write entries without waiting; a failure is logged."""
        try:
            done = self._writer.submit_entries(entries, urgent=False)
        except LedgerUnavailable as error:
            self.statistics.dropped += 1
            log.error("write dropped", extra={"write": _kinds(entries), "why": error.message})
            return
        done.add_done_callback(partial(_report, entries))

    async def look_for_file(self) -> None:
        """Notice a SQLite file that was deleted, even if nothing is written; it is put back, or the ledger is away.

        Raises
        ------
        LedgerTimedOut
        """
        if self.away is None and not self._place.is_in_place():
            with contextlib.suppress(LedgerUnavailable, LedgerCorrupt):  # announced where it was noticed
                await self.flush()

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
        self._reader.close(self._stall_s)
        self._writer.close_worker()
        # In a thread of its own: closing a connection to a server that hangs may hang too.
        closing = Worker("ledger-closing")
        with contextlib.suppress(LedgerHangs):
            closing.run(self._engine.dispose, stall_s=STALL_GRACE_S)
            closing.run(self._reader_engine.dispose, stall_s=STALL_GRACE_S)
        closing.close(STALL_GRACE_S)


def _kinds(entries: tuple[Entry, ...]) -> str:
    return ", ".join(type(entry).__name__ for entry in entries)


def _report(entries: tuple[Entry, ...], finished: Future[Any]) -> None:
    """Log the failure of a write that nobody waits for."""
    error = None if finished.cancelled() else finished.exception()
    if error is not None:
        log.error("write failed", extra={"write": _kinds(entries), "why": str(error)})
