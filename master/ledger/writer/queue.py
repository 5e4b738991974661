"""The ledger's single writer: a thread that groups writes into transactions, and spools those that can wait.

While the database answers, all queued writes share one transaction. When one of them fails, each gets a transaction of
its own, so that only that one fails (not savepoints: on some servers some errors roll back the whole transaction).
While the database is away, writes made of entries go to the spool, and all others fail at once. The database is probed
meanwhile, so no caller waits for a second time-out. When it is back, the spool is applied first.

What touches the database runs in a worker, which replaces its thread when a call hangs. Nothing is taken for written
that was not read back: the number of the writes moves first in each transaction, and is read before the commit.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from master.ledger.engine import explain
from master.ledger.errors import (
    LedgerDiskFull,
    LedgerError,
    LedgerHangs,
    LedgerRetryable,
    LedgerUnavailable,
    RowRefused,
    TransactionLost,
)
from master.ledger.rows import applied_writes
from master.ledger.rows.audit import AuditChain
from master.ledger.worker import Worker, watch
from master.ledger.writer.entries import Audited, DesiredStateSet, Entry, apply, remove_leftovers
from master.ledger.writer.probe import Probe
from master.ledger.writer.spool import Record, Spool, SpoolFailed

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_GROUP = 256
RETRY_DELAYS_S = (0.05, 0.2, 0.8)
LINGER_S = 0.02
"""How long a write that nobody awaits may be delayed, to share a commit with others."""
MAX_QUEUED = 20_000
MAX_HELD_BYTES = 8 * 2**20
"""Of writes that are held in memory while neither the database nor the spool has room."""
SESSION_RETENTION = timedelta(days=30)
STALL_S = 20.0
"""The most that one statement may take, if nothing else is asked for: longer than a driver's own time-outs."""


@dataclass(slots=True)
class LedgerStatistics:
    """Counters of the writer."""

    writes: int = 0
    groups: int = 0
    failures: int = 0
    dropped: int = 0
    retries: int = 0
    spooled: int = 0
    held: int = 0
    """Writes in memory: neither the database nor the spool took them."""


@dataclass(frozen=True, slots=True)
class Away:
    """An outage: the database does not answer."""

    since: datetime
    why: str
    hint: str
    disk_full: bool = False
    """There is no room; reading goes on."""


@dataclass(slots=True, eq=False)
class _Write:
    work: Callable[[Connection], Any]
    urgent: bool
    """Whether a caller awaits the outcome."""
    entries: tuple[Entry, ...] = ()
    """What ``work`` writes, when it can be spooled; empty otherwise."""
    stall_s: float = 0.0
    """The most that one of its statements may take, if that is longer than for others."""
    done: Future[Any] = field(default_factory=Future)
    sequence: int = 0


class _Signal(Enum):
    """What the writer's thread is told beside writes."""

    END = "end"
    PROBE = "probe"


class _WriteFailed(Exception):
    """One write of a group failed; the transaction is rolled back."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Writer:
    """Owns the writer thread; only :meth:`start`, :meth:`stop` and the ``submit`` methods are called from others.

    Parameters
    ----------
    engine
        Used by this writer's worker only.
    session_id
        The ULID of this run. Its writes are numbered, which makes a replay idempotent.
    spool
        None: nothing is spooled, and every write fails while the database is away.
    chain
        The audit log's chain, which audited actions are appended to.
    prepare
        Upgrades the schema; called later if the database was away at the start.
    on_change
        Called on the writer's thread: with the outage when the database goes away, with None when it is back.
    stall_s
        The most that one statement may take; then its thread is abandoned, and the database is away.
    mend
        Puts a file that was deleted back in its place; raises a ``LedgerError`` if it cannot.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        session_id: str,
        spool: Spool | None,
        chain: AuditChain,
        prepare: Callable[[], None],
        on_change: Callable[[Away | None], None],
        stall_s: float = STALL_S,
        mend: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        watch(engine)
        self._worker = Worker("ledger-database")
        self._stall_s = stall_s
        self._session_id = session_id
        self._spool = spool
        self._chain = chain
        self._due_prepare: Callable[[], None] | None = None
        self._prepare = prepare
        self._on_change = on_change
        self._mend = mend
        self._queue: queue.Queue[_Write | _Signal] = queue.Queue(MAX_QUEUED)
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._sequence = itertools.count(1)
        self._applied: int | None = 0
        """The highest write of this session in the database; None when that has to be looked up."""
        self._lost = False
        """Whether the last transaction was lost: some of it may be in the database all the same."""
        self._closing = threading.Lock()
        self._closed = False
        self._probe: Probe | None = None
        self._held: list[Record] = []
        self._held_bytes = 0
        self.away: Away | None = None
        self.statistics = LedgerStatistics()

    def start(self, outage: LedgerError | None = None) -> None:
        """Apply the spool of earlier sessions, then start the thread.

        Parameters
        ----------
        outage
            Set when the database is known to be away, and its schema is not checked yet.
        """
        if outage is not None:
            self._due_prepare = self._prepare
            self._mark_away(outage)
        elif self._spool is not None:
            self._recover()
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Write or spool what is queued, then stop the thread; a later write fails at once."""
        with self._closing:
            self._closed = True
        if self._thread.is_alive():
            self._queue.put(_Signal.END)
            self._thread.join(timeout_s)

    def retry(self) -> None:
        """Probe a database that is away now, instead of when its turn comes."""
        probe = self._probe
        if probe is not None:
            probe.hasten()
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(_Signal.PROBE)

    def close_worker(self) -> None:
        """End the worker's thread; called when the writer's has ended, or never began."""
        self._worker.close(self._stall_s)

    def submit(self, work: Callable[[Connection], Any], *, stall_s: float = 0.0) -> Future[Any]:
        """Queue a write that cannot be spooled: it fails at once while the database is away.

        Parameters
        ----------
        stall_s
            The most that one of its statements may take, if that is longer than for others.

        Raises
        ------
        LedgerUnavailable
            Too many writes wait, or the writer is stopped.
        """
        return self._enqueue(_Write(work, urgent=True, stall_s=stall_s))

    def submit_entries(self, entries: tuple[Entry, ...], *, urgent: bool) -> Future[Any]:
        """Queue a write that can be spooled; its future is True once it is in the database or in the spool.

        It is False when the disk is full: then it is held in memory, in order, and follows when there is room.

        Raises
        ------
        LedgerUnavailable
            Too many writes wait, or the writer is stopped.
        """
        work = partial(apply, entries=entries, chain=self._chain)
        return self._enqueue(_Write(work, urgent=urgent, entries=entries))

    def _enqueue(self, write: _Write) -> Future[Any]:
        try:
            with self._closing:
                if self._closed:
                    raise LedgerUnavailable("the ledger is closed", hint="the master is ending")
                self._queue.put_nowait(write)
        except queue.Full:
            raise LedgerUnavailable(
                f"{MAX_QUEUED} writes are queued for the ledger", hint="the database is too slow or away"
            ) from None
        return write.done

    def _run(self) -> None:
        last = False
        while not last:
            try:
                self._probe_database()
            except Exception:
                log.exception("the spool could not be applied")
            try:
                first = self._queue.get(timeout=None if self._probe is None else self._probe.poll_delay_s())
            except queue.Empty:
                continue
            if first is _Signal.END:
                break
            if first is _Signal.PROBE:
                continue
            group = [first]
            last = self._collect(group)
            try:
                self._process_group(group)
            except Exception as error:
                # A bug of ours: it must not end the only writer, and every caller must get an answer.
                log.exception("the ledger's writer failed")
                for write in group:
                    if not write.done.done():
                        write.done.set_exception(LedgerError(f"the ledger's writer failed: {type(error).__name__}"))
        self._end_session()

    def _on_database(self, work: Callable[[], T], stall_s: float = 0.0) -> T:
        """Carry out what touches the database, in the worker; when it hangs, connections are made anew."""
        try:
            return self._worker.run(work, stall_s=max(stall_s, self._stall_s))
        except LedgerHangs:
            self._chain.discard_pending()
            self._engine.dispose(close=False)
            raise

    def _collect(self, group: list[_Write]) -> bool:
        """Add queued writes to ``group``; True when the ledger closes.

        While nobody awaits an outcome, writes that arrive within ``LINGER_S`` join too.
        """
        until = time.monotonic() + LINGER_S
        urgent = group[0].urgent
        while len(group) < MAX_GROUP:
            try:
                timeout_s = 0.0 if urgent else max(until - time.monotonic(), 0.0)
                following = self._queue.get(block=timeout_s > 0, timeout=timeout_s or None)
            except queue.Empty:
                return False
            if following is _Signal.END:
                return True
            if following is _Signal.PROBE:
                continue
            group.append(following)
            urgent = urgent or following.urgent
        return False

    def _process_group(self, group: list[_Write]) -> None:
        # A write that its caller cancelled before this point is dropped; from here on it is carried out.
        live = [write for write in group if write.done.set_running_or_notify_cancel()]
        for write in live:
            write.sequence = next(self._sequence)
        if not live:
            return
        if self.away is None:
            live, outage = self._write_group(live)
            if outage is None:
                return
            if self._spool is not None:
                self._mark_away(outage)
        else:
            outage = LedgerUnavailable(f"the ledger is away: {self.away.why}", hint=self.away.hint)
        self._spool_or_fail(live, outage)

    def _write_group(self, live: list[_Write]) -> tuple[list[_Write], LedgerError | None]:
        """Write a group in one transaction; if one write fails, each in a transaction of its own.

        Returns the writes that are not carried out, and the outage that stopped them.
        """
        if (lost := self._find_lost()) is not None:
            return live, lost
        if len(live) > 1:
            try:
                self._commit_group(live)
            except _WriteFailed:
                log.debug("one write of a group failed: retrying each in its own transaction")
            except LedgerError as outage:
                return live, outage
            else:
                return [], None
        for position, write in enumerate(live):
            try:
                self._commit_group([write])
            except _WriteFailed as failed:
                self._fail(write, failed.reason)
            except LedgerError as outage:
                return live[position:], outage
        return [], None

    def _find_lost(self) -> LedgerError | None:
        """Return why there is nothing to write to: the file is gone, and cannot be put back now."""
        try:
            self._mend()
        except LedgerError as lost:
            self._due_prepare = self._mend
            return lost
        return None

    def _commit_group(self, live: list[_Write]) -> None:
        """Write in one transaction, and acknowledge.

        A deadlock, a lost connection or transaction, or a busy file is retried with backoff. When the answer to a
        commit was lost, ``applied_writes`` tells whether it was carried out.

        Raises
        ------
        _WriteFailed
            One of the writes failed; nothing is written.
        LedgerError
            The database is away.
        """
        values: list[Any] = []
        stall_s = max(write.stall_s for write in live)
        for delay_s in (*RETRY_DELAYS_S, None):
            try:
                self._on_database(partial(self._attempt, live, values), stall_s)
                break
            except _WriteFailed:
                raise
            except LedgerError as error:
                self._applied = None
                if delay_s is None or not isinstance(error, LedgerRetryable):
                    raise
                self.statistics.retries += 1
                log.info("retrying a transaction", extra={"why": error.message})
                time.sleep(delay_s)
        self._applied = live[-1].sequence
        self._chain.mark_committed()
        self.statistics.groups += 1
        for write, value in zip(live, values, strict=True):
            self.statistics.writes += 1
            write.done.set_result(value)

    def _attempt(self, live: list[_Write], values: list[Any]) -> None:
        """Write once in one transaction, unless an earlier attempt was committed; fills ``values``."""
        last = live[-1].sequence
        with self._transaction() as connection:
            applied = self._applied
            if applied is None:
                applied = applied_writes.last_applied(connection, self._session_id)
                if applied >= last and len(values) == len(live):
                    return
            values.clear()
            self._chain.discard_pending()
            with self._numbered(connection, self._session_id, last, after=applied):
                if self._lost:
                    remove_leftovers(connection, (entry for write in live for entry in write.entries))
                values.extend(self._run_each(connection, live))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Begin and end a transaction; whatever goes wrong is raised as an error of the ledger.

        A server that has rolled back by itself refuses our ROLLBACK: the write's own error is raised instead of that.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            if isinstance(error.__context__, _WriteFailed | LedgerError):
                raise error.__context__ from None
            explained = explain(error)
            if isinstance(explained, RowRefused):
                # Of a statement of ours, or of the commit: no write is to blame.
                explained = LedgerUnavailable(f"the ledger's own bookkeeping failed: {explained.message}")
            if not isinstance(explained, LedgerRetryable):
                # A driver may take a dead connection for a live one (FreeTDS does): start with new ones.
                self._engine.dispose()
            raise explained from error

    @contextmanager
    def _numbered(self, connection: Connection, session_id: str, sequence: int, *, after: int) -> Iterator[None]:
        """Move the number of a session's writes before what is written, and read it back after that."""
        try:
            applied_writes.advance(connection, session_id, sequence, after=after, at=datetime.now(UTC))
            yield
            applied_writes.require(connection, session_id, sequence)
        except TransactionLost:
            self._lost = True
            raise
        self._lost = False

    def _run_each(self, connection: Connection, live: list[_Write]) -> Iterator[Any]:
        """Execute writes in order, consecutive entries as one batch; yields the value of each."""
        for can_wait, run in itertools.groupby(live, key=lambda write: bool(write.entries)):
            writes = list(run)
            if can_wait:
                entries = itertools.chain.from_iterable(write.entries for write in writes)
                self._execute(connection, partial(apply, entries=entries, chain=self._chain))
                yield from (True for _ in writes)
            else:
                yield from (self._execute(connection, write.work) for write in writes)

    def _execute(self, connection: Connection, work: Callable[[Connection], Any]) -> Any:
        try:
            return work(connection)
        except SQLAlchemyError as error:
            explained = explain(error)
            if connection.invalidated or not isinstance(explained, RowRefused):
                raise
            raise _WriteFailed(explained) from error
        except Exception as error:
            # Any error belongs to its caller, and must not end the writer.
            raise _WriteFailed(error) from error

    def _fail(self, write: _Write, reason: Exception) -> None:
        self.statistics.writes += 1
        self.statistics.failures += 1
        write.done.set_exception(reason)

    def _spool_or_fail(self, live: list[_Write], outage: LedgerError) -> None:
        """Spool the writes that are made of entries; fail the rest."""
        waiting = [write for write in live if write.entries] if self._spool is not None else []
        failure: LedgerError | None = None
        held = False
        if self._spool is not None and waiting:
            records = [Record(write.sequence, write.entries) for write in waiting]
            try:
                self._spool.append([*self._held, *records])
                self.statistics.spooled += len(waiting)
                self._drop_held()
            except SpoolFailed as error:
                held = self._hold(records)
                failure = None if held else error
            except LedgerError as error:
                failure = error
        for write in live:
            if write.entries and self._spool is not None and failure is None:
                write.done.set_result(not held)
            else:
                self.statistics.failures += 1
                write.done.set_exception(failure if failure is not None and write.entries else outage)

    def _hold(self, records: list[Record]) -> bool:
        """Hold records in memory; False if there is no room for them either."""
        size = sum(record.bytes for record in records)
        if self._held_bytes + size > MAX_HELD_BYTES:
            return False
        self._held += records
        self._held_bytes += size
        self.statistics.held = len(self._held)
        return True

    def _drop_held(self) -> None:
        """Forget the held records: they are written."""
        self._held, self._held_bytes, self.statistics.held = [], 0, 0

    def _apply_held(self) -> None:
        """Write what is held; the number that a commit moved on tells what its lost answer would have."""
        if not self._held:
            return
        applied = self._on_database(partial(self._look_up, self._session_id))
        waiting = [record for record in self._held if record.sequence > applied]
        for batch in (waiting[at : at + MAX_GROUP] for at in range(0, len(waiting), MAX_GROUP)):
            self._apply_batch(self._session_id, batch, after=applied)
            applied = batch[-1].sequence
        self._applied = applied
        self._drop_held()

    def _prove_room(self) -> None:
        """Write something: a full disk answers every question, and refuses only that."""
        with self._transaction() as connection:
            applied = applied_writes.last_applied(connection, self._session_id)
            number = applied or 1
            applied_writes.advance(connection, self._session_id, number, after=applied, at=datetime.now(UTC))
            if not applied:
                applied_writes.delete_session(connection, self._session_id)

    def _mark_away(self, outage: LedgerError) -> None:
        if self.away is None:
            full = isinstance(outage, LedgerDiskFull)
            self.away = Away(datetime.now(UTC), outage.message, outage.hint, disk_full=full)
            self._on_change(self.away)
        if self._probe is None:
            self._probe = Probe(self._engine, self._worker, self._stall_s)

    def _probe_database(self) -> None:
        if self._probe is not None and self._probe.poll():
            self._recover()

    def _recover(self) -> None:
        """Apply the spool, oldest record first; the outage ends when all of it is applied."""
        try:
            if self._due_prepare is not None:
                self._due_prepare()
                self._due_prepare = None
            self._apply_spool()
            self._apply_held()
            self._on_database(self._delete_old_sessions)
            if self.away is not None and self.away.disk_full:
                self._on_database(self._prove_room)
        except (LedgerError, OSError) as error:
            outage = error if isinstance(error, LedgerError) else None
            self._mark_away(
                outage or LedgerUnavailable(f"the spool cannot be read: {error}", hint="repair the state folder")
            )
            return
        self._probe = None
        if self.away is not None:
            self.away = None
            self._on_change(None)

    def _apply_spool(self) -> None:
        if self._spool is None:
            return
        for session_id in self._spool.sessions():
            applied = self._on_database(partial(self._look_up, session_id))
            waiting = (record for record in self._spool.records_of(session_id) if record.sequence > applied)
            while batch := list(itertools.islice(waiting, MAX_GROUP)):
                self._apply_batch(session_id, batch, after=applied)
                applied = batch[-1].sequence
            self._spool.remove(session_id)
            if session_id == self._session_id:
                self._applied = applied
            else:
                self._on_database(partial(self._delete_session, session_id))

    def _look_up(self, session_id: str) -> int:
        with self._transaction() as connection:
            return applied_writes.last_applied(connection, session_id)

    def _delete_session(self, session_id: str) -> None:
        with self._transaction() as connection:
            applied_writes.delete_session(connection, session_id)

    def _apply_batch(self, session_id: str, batch: list[Record], *, after: int) -> None:
        try:
            self._apply_records(session_id, batch, after=after)
        except _WriteFailed:
            for record in batch:
                try:
                    self._apply_records(session_id, [record], after=after)
                except _WriteFailed as failed:
                    self._skip_refused(session_id, record, failed.reason, after=after)
                after = record.sequence

    def _apply_records(self, session_id: str, records: list[Record], *, after: int) -> None:
        self._on_database(partial(self._write_records, session_id, records, after))
        self._chain.mark_committed()

    def _write_records(self, session_id: str, records: list[Record], after: int) -> None:
        entries = [entry for record in records for entry in record.entries]
        self._chain.discard_pending()
        with (
            self._transaction() as connection,
            self._numbered(connection, session_id, records[-1].sequence, after=after),
        ):
            if self._lost:
                remove_leftovers(connection, entries)
            self._execute(connection, partial(apply, entries=entries, chain=self._chain))

    def _skip_refused(self, session_id: str, record: Record, reason: Exception, *, after: int) -> None:
        """Skip a record that the database will always refuse (its node is gone, say), so that it blocks nothing."""
        log.error("a spooled write is refused", extra={"why": str(reason), "sequence": record.sequence})
        self.statistics.failures += 1
        if self._spool is not None:
            self._spool.save_refused(record, str(reason))
        self._on_database(partial(self._skip, session_id, record.sequence, after))

    def _skip(self, session_id: str, sequence: int, after: int) -> None:
        with self._transaction() as connection, self._numbered(connection, session_id, sequence, after=after):
            pass

    def _delete_old_sessions(self) -> None:
        with self._transaction() as connection:
            applied_writes.delete_older_than(connection, datetime.now(UTC) - SESSION_RETENTION)

    def _end_session(self) -> None:
        """Delete the session's row unless its spool still holds records; a crashed session's row is deleted later."""
        self._save_held()
        if self._spool is not None:
            self._spool.close()
            if self._session_id in self._spool.sessions():
                return
        if self.away is None and self.statistics.groups:
            try:
                self._on_database(partial(self._delete_session, self._session_id))
            except LedgerError as error:
                log.info("the session's row could not be deleted", extra={"why": error.message})

    def _save_held(self) -> None:
        """Try a last time to write what is held: with the process it would be gone."""
        if not self._held or self._spool is None:
            return
        try:
            self._spool.append(self._held)
            self._drop_held()
        except LedgerError as error:
            for entry in itertools.chain.from_iterable(record.entries for record in self._held):
                if isinstance(entry, Audited | DesiredStateSet):
                    log.error("lost, the disk is full", extra={"entry": msgspec.json.encode(entry).decode()})
            log.error("writes in memory are lost", extra={"count": len(self._held), "why": error.message})
