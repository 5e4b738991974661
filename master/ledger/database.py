"""The ledger as the rest sees it: reads on one thread, writes grouped into transactions on another.

The event loop never waits on the database. A write returns once it is durably committed; writes that wait at the same
moment share one transaction, each in a savepoint of its own, so that a failing one fails alone.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from master.ledger import migrations
from master.ledger.engine import explain, make_engine, parse_url, prepare_file
from master.ledger.errors import LedgerRetryable, LedgerTimedOut, LedgerUnavailable
from master.settings import DatabaseSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_GROUP = 256
RETRY_DELAYS_S = (0.05, 0.2, 0.8)
SNAPSHOT_TIMEOUT_S = 600.0
LINGER_S = 0.02
"""How long a write that nobody waits for may wait for others, to share their commit."""
MAX_WAITING = 20_000


@dataclass(slots=True)
class LedgerStatistics:
    """What the writer did so far."""

    writes: int = 0
    groups: int = 0
    failures: int = 0
    dropped: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class _Write:
    work: Callable[[Connection], Any]
    done: Future[Any]
    urgent: bool
    """Whether somebody waits for the outcome."""


class Ledger:
    """One open ledger; made by :meth:`open`."""

    def __init__(self, writer: Engine, reader: Engine) -> None:
        self._writer_engine = writer
        self._reader_engine = reader
        self._waiting: queue.Queue[_Write | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._write_forever, name="ledger-writer", daemon=True)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="ledger-reader")
        self.statistics = LedgerStatistics()
        self.dialect = writer.dialect.name
        """``sqlite`` or ``mssql``."""

    @classmethod
    async def open(cls, settings: DatabaseSettings) -> Ledger:
        """Open the ledger, bringing its schema up to date first.

        Raises
        ------
        LedgerError
            It cannot be opened, is not a database, cannot be written, or is newer than this program.
        """
        return await asyncio.to_thread(cls._open, settings)

    @classmethod
    def _open(cls, settings: DatabaseSettings) -> Ledger:
        url = parse_url(settings)
        prepare_file(url)
        writer = make_engine(url, settings)
        try:
            migrations.bring_up_to_date(writer, url)
        except SQLAlchemyError as error:
            writer.dispose()
            raise explain(error) from error
        ledger = cls(writer, make_engine(url, settings, read_only=True))
        ledger._thread.start()
        return ledger

    async def read(self, query: Callable[[Connection], T], *, timeout_s: float = 10.0) -> T:
        """Run ``query`` on the reader's thread.

        Raises
        ------
        LedgerError
        """
        running = asyncio.get_running_loop().run_in_executor(self._readers, self._read, query)
        try:
            return await asyncio.wait_for(running, timeout_s)
        except TimeoutError:
            raise LedgerTimedOut(
                f"the ledger did not answer within {timeout_s:g} s", hint="`fleet doctor` looks closer"
            ) from None

    def _read(self, query: Callable[[Connection], T]) -> T:
        try:
            with self._reader_engine.connect() as connection:
                return query(connection)
        except SQLAlchemyError as error:
            raise explain(error) from error

    async def snapshot(self, query: Callable[[Connection], T]) -> T:
        """Run a long ``query`` on what one moment saw, without keeping short reads waiting.

        Raises
        ------
        LedgerError
        """
        if self.dialect == "sqlite":
            # A connection of its own: in WAL mode a reader sees one moment, and writers go on.
            return await asyncio.to_thread(self._read, query)
        # Elsewhere on the writer's thread: nobody else writes to a ledger.
        return await self.write(query, timeout_s=SNAPSHOT_TIMEOUT_S)

    def file_bytes(self) -> int | None:
        """Give the size of a SQLite ledger with its write-ahead log; None for a server's."""
        path = self._writer_engine.url.database
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
        LedgerTimedOut
            It may still be written; so it may be when the caller is cancelled. Later writes come after it.
        """
        done = self._enqueue(work, urgent=True)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(done), timeout_s)
        except TimeoutError:
            raise LedgerTimedOut(
                f"the ledger did not write within {timeout_s:g} s", hint="`fleet doctor` looks closer"
            ) from None

    def post(self, work: Callable[[Connection], object], *, describe: str) -> None:
        """Write without waiting; a failure is logged under ``describe``."""
        try:
            done = self._enqueue(work, urgent=False)
        except LedgerUnavailable:
            self.statistics.dropped += 1
            log.error("write dropped: the ledger's queue is full", extra={"write": describe})
            return

        def report(finished: Future[Any]) -> None:
            error = None if finished.cancelled() else finished.exception()
            if error is not None:
                log.error("write failed", extra={"write": describe, "why": str(error)})

        done.add_done_callback(report)

    def _enqueue(self, work: Callable[[Connection], Any], *, urgent: bool) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            self._waiting.put_nowait(_Write(work, done, urgent))
        except queue.Full:
            raise LedgerUnavailable(
                f"{MAX_WAITING} writes wait for the ledger", hint="the database is too slow or away"
            ) from None
        return done

    async def flush(self) -> None:
        """Wait until all that was posted so far is written."""
        await self.write(lambda _connection: None)

    async def close(self) -> None:
        """Write what waits, and let go of the database."""
        if self._thread.is_alive():
            await asyncio.to_thread(self._waiting.put, None)
            await asyncio.to_thread(self._thread.join, 30.0)
        await asyncio.to_thread(self._readers.shutdown)
        self._writer_engine.dispose()
        self._reader_engine.dispose()

    def _write_forever(self) -> None:
        last = False
        while not last:
            first = self._waiting.get()
            if first is None:
                return
            group = [first]
            last = self._fill(group)
            self._write_group(group)

    def _fill(self, group: list[_Write]) -> bool:
        """Add what waits, and while nobody waits for the outcome what comes soon; True when the ledger closes."""
        until = time.monotonic() + LINGER_S
        hurry = group[0].urgent
        while len(group) < MAX_GROUP:
            try:
                patience = 0.0 if hurry else max(until - time.monotonic(), 0.0)
                following = self._waiting.get(block=patience > 0, timeout=patience or None)
            except queue.Empty:
                return False
            if following is None:
                return True
            group.append(following)
            hurry = hurry or following.urgent
        return False

    def _write_group(self, group: list[_Write]) -> None:
        # What its caller gave up before it began is not written; from here on it is.
        live = [write for write in group if write.done.set_running_or_notify_cancel()]
        outcomes = self._try_group(live)
        self.statistics.groups += 1
        for write, value, failure in outcomes:
            self.statistics.writes += 1
            if failure is not None:
                self.statistics.failures += 1
                write.done.set_exception(failure)
            else:
                write.done.set_result(value)

    def _try_group(self, live: list[_Write]) -> list[tuple[_Write, Any, Exception | None]]:
        """Write a group in one transaction; a deadlock, a lost connection or a busy file is tried again."""
        attempt = 0
        while True:
            try:
                with self._writer_engine.begin() as connection:
                    return [(write, *self._write_one(connection, write)) for write in live]
            except SQLAlchemyError as error:
                explained = explain(error)
                if attempt == len(RETRY_DELAYS_S) or not isinstance(explained, LedgerRetryable):
                    return [(write, None, explained) for write in live]
            self.statistics.retries += 1
            log.info("the ledger asks to be tried again", extra={"why": explained.message})
            time.sleep(RETRY_DELAYS_S[attempt])
            attempt += 1

    def _write_one(self, connection: Connection, write: _Write) -> tuple[Any, Exception | None]:
        """Run one write in its own savepoint; whatever it raises is its caller's to see, not the group's."""
        try:
            with connection.begin_nested():
                return write.work(connection), None
        except SQLAlchemyError as error:
            explained = explain(error)
            if connection.invalidated or isinstance(explained, LedgerRetryable):
                # The server has rolled back the whole transaction, or will not go on with it.
                raise
            return None, explained
        except Exception as error:
            return None, error
