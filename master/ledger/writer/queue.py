"""The ledger's one writer: a thread that groups writes into transactions, and spools those that can wait.

While the database answers, writes that wait at the same moment share one transaction; when one of them fails, each gets
its own, so that it fails alone (not savepoints: some errors roll the whole transaction back on some servers). When it
does not answer, writes made of entries go to the spool, all others are refused at once, and the database is looked for
in a thread of its own: nobody waits for a time-out a second time. When it is back the spool is applied first.
"""

from __future__ import annotations

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
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from master.ledger.engine import explain
from master.ledger.errors import LedgerCorrupt, LedgerError, LedgerReadOnly, LedgerRetryable, LedgerUnavailable
from master.ledger.rows import applied_writes
from master.ledger.rows.audit import AuditChain
from master.ledger.writer.entries import Entry, apply
from master.ledger.writer.spool import Record, Spool

log = logging.getLogger(__name__)

MAX_GROUP = 256
RETRY_DELAYS_S = (0.05, 0.2, 0.8)
LINGER_S = 0.02
"""How long a write that nobody waits for may wait for others, to share their commit."""
MAX_WAITING = 20_000
PROBE_DELAYS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Between looks for a database that is away; the last one repeats."""
SESSION_KEPT = timedelta(days=30)
_OF_THE_DATABASE = (LedgerUnavailable, LedgerReadOnly, LedgerCorrupt)
"""What no write would survive, whichever came first."""


@dataclass(slots=True)
class LedgerStatistics:
    """What the writer did so far."""

    writes: int = 0
    groups: int = 0
    failures: int = 0
    dropped: int = 0
    retries: int = 0
    spooled: int = 0


@dataclass(frozen=True, slots=True)
class Away:
    """The database does not answer."""

    since: datetime
    why: str
    hint: str


@dataclass(slots=True, eq=False)
class _Write:
    work: Callable[[Connection], Any]
    urgent: bool
    """Whether somebody waits for the outcome."""
    entries: tuple[Entry, ...] = ()
    """What ``work`` writes, when it can wait."""
    done: Future[Any] = field(default_factory=Future)
    sequence: int = 0


class _OneFailed(Exception):
    """One write of a group cannot be carried out, and the transaction is rolled back."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Writer:
    """Owns the thread; everything but :meth:`submit` and what it returns happens there.

    Parameters
    ----------
    engine
        Used by this thread alone, but for looking whether a database is back.
    session_id
        The ULID of this run: its writes are numbered.
    spool
        None: nothing can wait, and every write fails while the database is away.
    chain
        What audited actions hang in.
    prepare
        Brings the schema up to date; called again when a database that was away at the start is back.
    on_change
        Called, on the writer's thread, when the database goes away (with what is wrong) and when it is back (None).
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
    ) -> None:
        self._engine = engine
        self._session_id = session_id
        self._spool = spool
        self._chain = chain
        self._prepare: Callable[[], None] | None = None
        self._prepare_later = prepare
        self._on_change = on_change
        self._waiting: queue.Queue[_Write | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._sequence = itertools.count(1)
        self._probe: _Probe | None = None
        self.away: Away | None = None
        self.statistics = LedgerStatistics()

    def start(self, trouble: LedgerError | None = None) -> None:
        """Apply what waits from earlier sessions, and begin.

        With ``trouble`` the database is known to be away, and its schema was not looked at.
        """
        if trouble is not None:
            self._prepare = self._prepare_later
            self._lose(trouble)
        elif self._spool is not None:
            self._come_back()
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Write or spool what waits, and end."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(timeout_s)

    def submit(self, work: Callable[[Connection], Any]) -> Future[Any]:
        """Queue a write that cannot wait for a database which is away.

        Raises
        ------
        LedgerUnavailable
            Too many writes wait.
        """
        return self._enqueue(_Write(work, urgent=True))

    def submit_entries(self, entries: tuple[Entry, ...], *, urgent: bool) -> Future[Any]:
        """Queue a write that can wait; its future is done when it is in the database or in the spool.

        Raises
        ------
        LedgerUnavailable
            Too many writes wait.
        """
        work = partial(apply, entries=entries, chain=self._chain)
        return self._enqueue(_Write(work, urgent=urgent, entries=entries))

    def _enqueue(self, write: _Write) -> Future[Any]:
        try:
            self._waiting.put_nowait(write)
        except queue.Full:
            raise LedgerUnavailable(
                f"{MAX_WAITING} writes wait for the ledger", hint="the database is too slow or away"
            ) from None
        return write.done

    def _run(self) -> None:
        last = False
        while not last:
            try:
                self._look_for_database()
            except Exception:
                log.exception("what waits could not be applied")
            try:
                first = self._waiting.get(timeout=None if self._probe is None else self._probe.patience_s())
            except queue.Empty:
                continue
            if first is None:
                break
            group = [first]
            last = self._fill(group)
            try:
                self._settle(group)
            except Exception as error:
                # A mistake of ours: it must not end the only writer, nor leave anybody waiting.
                log.exception("the ledger's writer failed")
                for write in group:
                    if not write.done.done():
                        write.done.set_exception(LedgerError(f"the ledger's writer failed: {type(error).__name__}"))
        self._end_session()

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

    def _settle(self, group: list[_Write]) -> None:
        # What its caller gave up before it began is not written; from here on it is.
        live = [write for write in group if write.done.set_running_or_notify_cancel()]
        for write in live:
            write.sequence = next(self._sequence)
        if not live:
            return
        if self.away is None:
            live, trouble = self._write(live)
            if trouble is None:
                return
            if self._spool is not None:
                self._lose(trouble)
        else:
            trouble = LedgerUnavailable(f"the ledger is away: {self.away.why}", hint=self.away.hint)
        self._divert(live, trouble)

    def _write(self, live: list[_Write]) -> tuple[list[_Write], LedgerError | None]:
        """Write a group in one transaction, hoping that all succeed, as they nearly always do; else each in its own.

        Returns those that are not written, and what is wrong with the database.
        """
        if len(live) > 1:
            try:
                self._transact(live)
            except _OneFailed:
                log.debug("one of a group failed: each is written by itself")
            except LedgerError as trouble:
                return live, trouble
            else:
                return [], None
        for position, write in enumerate(live):
            try:
                self._transact([write])
            except _OneFailed as failed:
                self._fail(write, failed.reason)
            except LedgerError as trouble:
                return live[position:], trouble
        return [], None

    def _transact(self, live: list[_Write]) -> None:
        """Write in one transaction, and acknowledge.

        A deadlock, a lost connection or a busy file is tried again. Whether a commit whose answer was lost was carried
        out is asked of the ledger.

        Raises
        ------
        _OneFailed
            One of the writes cannot be carried out; nothing is written.
        LedgerError
            The database does not write.
        """
        values: list[Any] = []
        attempt = 0
        while True:
            try:
                with self._transaction() as connection:
                    known = attempt > 0 and len(values) == len(live)
                    if not (known and self._was_committed(connection, live)):
                        values = []
                        values.extend(self._run_each(connection, live))
                        self._move_on(connection, live[-1].sequence)
                break
            except SQLAlchemyError as error:
                explained = explain(error)
                if attempt == len(RETRY_DELAYS_S) or not isinstance(explained, LedgerRetryable):
                    # A driver may keep a dead connection for a live one (FreeTDS does): begin with new ones.
                    self._engine.dispose()
                    raise explained from error
            self.statistics.retries += 1
            log.info("the ledger asks to be tried again", extra={"why": explained.message})
            time.sleep(RETRY_DELAYS_S[attempt])
            attempt += 1
        self._chain.confirm()
        self.statistics.groups += 1
        for write, value in zip(live, values, strict=True):
            self.statistics.writes += 1
            write.done.set_result(value)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Begin and end a transaction; a server that has rolled back by itself refuses to be asked for it again."""
        try:
            self._chain.forget()
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            if isinstance(error.__context__, _OneFailed):
                raise error.__context__ from None
            raise

    def _was_committed(self, connection: Connection, live: list[_Write]) -> bool:
        return applied_writes.last_of(connection, self._session_id) >= live[-1].sequence

    def _move_on(self, connection: Connection, sequence: int) -> None:
        applied_writes.move_on(connection, self._session_id, sequence, at=datetime.now(UTC))

    def _run_each(self, connection: Connection, live: list[_Write]) -> Iterator[Any]:
        """Run writes, entries that follow each other together; returns what each returns."""
        for can_wait, run in itertools.groupby(live, key=lambda write: bool(write.entries)):
            writes = list(run)
            if can_wait:
                entries = itertools.chain.from_iterable(write.entries for write in writes)
                self._carry_out(connection, partial(apply, entries=entries, chain=self._chain))
                yield from (None for _ in writes)
            else:
                yield from (self._carry_out(connection, write.work) for write in writes)

    def _carry_out(self, connection: Connection, work: Callable[[Connection], Any]) -> Any:
        try:
            return work(connection)
        except SQLAlchemyError as error:
            explained = explain(error)
            if connection.invalidated or isinstance(explained, _OF_THE_DATABASE):
                raise
            raise _OneFailed(explained) from error
        except Exception as error:
            # Whatever it is, it is its caller's to see, and not the end of the writer.
            raise _OneFailed(error) from error

    def _fail(self, write: _Write, reason: Exception) -> None:
        self.statistics.writes += 1
        self.statistics.failures += 1
        write.done.set_exception(reason)

    def _divert(self, live: list[_Write], trouble: LedgerError) -> None:
        """Spool what can wait; refuse the rest."""
        waiting = [write for write in live if write.entries] if self._spool is not None else []
        failure: LedgerError | None = None
        if self._spool is not None and waiting:
            try:
                self._spool.append([Record(write.sequence, write.entries) for write in waiting])
                self.statistics.spooled += len(waiting)
            except LedgerError as error:
                failure = error
        for write in live:
            if write.entries and self._spool is not None and failure is None:
                write.done.set_result(None)
            else:
                self.statistics.failures += 1
                write.done.set_exception(failure if failure is not None and write.entries else trouble)

    def _lose(self, trouble: LedgerError) -> None:
        if self.away is None:
            self.away = Away(datetime.now(UTC), trouble.message, trouble.hint)
            self._on_change(self.away)
        if self._probe is None:
            self._probe = _Probe(self._engine)

    def _look_for_database(self) -> None:
        if self._probe is not None and self._probe.found():
            self._come_back()

    def _come_back(self) -> None:
        """Apply what waits, oldest first; the database is away no longer when all of it is applied."""
        try:
            if self._prepare is not None:
                self._prepare()
                self._prepare = None
            self._apply_spool()
            self._forget_old_sessions()
        except (SQLAlchemyError, LedgerError, OSError) as error:
            explained = explain(error) if isinstance(error, SQLAlchemyError) else error
            if not isinstance(explained, LedgerError):
                explained = LedgerUnavailable(f"the spool cannot be read: {error}", hint="mend the state folder")
            self._lose(explained)
            return
        self._probe = None
        if self.away is not None:
            self.away = None
            self._on_change(None)

    def _apply_spool(self) -> None:
        if self._spool is None:
            return
        for session_id in self._spool.sessions():
            with self._engine.begin() as connection:
                applied = applied_writes.last_of(connection, session_id)
            waiting = (record for record in self._spool.records_of(session_id) if record.sequence > applied)
            while batch := list(itertools.islice(waiting, MAX_GROUP)):
                self._apply_batch(session_id, batch)
            self._spool.remove(session_id)
            if session_id != self._session_id:
                with self._engine.begin() as connection:
                    applied_writes.forget(connection, session_id)

    def _apply_batch(self, session_id: str, batch: list[Record]) -> None:
        try:
            self._apply_records(session_id, batch)
        except _OneFailed:
            for record in batch:
                try:
                    self._apply_records(session_id, [record])
                except _OneFailed as failed:
                    self._set_aside(session_id, record, failed.reason)

    def _apply_records(self, session_id: str, records: list[Record]) -> None:
        entries = itertools.chain.from_iterable(record.entries for record in records)
        with self._transaction() as connection:
            self._carry_out(connection, partial(apply, entries=entries, chain=self._chain))
            applied_writes.move_on(connection, session_id, records[-1].sequence, at=datetime.now(UTC))
        self._chain.confirm()

    def _set_aside(self, session_id: str, record: Record, reason: Exception) -> None:
        """Pass over a record: its node is gone, say, it will be refused for ever, and must not hold up what follows."""
        log.error("a write that waited is refused", extra={"why": str(reason), "sequence": record.sequence})
        self.statistics.failures += 1
        if self._spool is not None:
            self._spool.set_aside(record, str(reason))
        with self._engine.begin() as connection:
            applied_writes.move_on(connection, session_id, record.sequence, at=datetime.now(UTC))

    def _forget_old_sessions(self) -> None:
        with self._engine.begin() as connection:
            applied_writes.forget_older(connection, datetime.now(UTC) - SESSION_KEPT)

    def _end_session(self) -> None:
        """Leave no row behind when nothing waits; a session that ended in a crash leaves one for a while."""
        if self._spool is not None:
            self._spool.close()
            if self._session_id in self._spool.sessions():
                return
        if self.away is None and self.statistics.groups:
            try:
                with self._engine.begin() as connection:
                    applied_writes.forget(connection, self._session_id)
            except SQLAlchemyError as error:
                log.info("the session's row stays", extra={"why": explain(error).message})


class _Probe:
    """Looks for a database that is away, in a thread of its own, until it answers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._attempt = 0
        self._next_at = time.monotonic() + PROBE_DELAYS_S[0]
        self._looking: threading.Thread | None = None
        self._answered = threading.Event()

    def patience_s(self) -> float:
        """Return how long the writer may wait before it asks again."""
        if self._looking is not None:
            return 0.05
        return max(self._next_at - time.monotonic(), 0.01)

    def found(self) -> bool:
        """Say whether the database answered; begins another look when one is due."""
        if self._looking is not None and not self._looking.is_alive():
            self._looking = None
            self._attempt += 1
            self._next_at = time.monotonic() + PROBE_DELAYS_S[min(self._attempt, len(PROBE_DELAYS_S) - 1)]
            if self._answered.is_set():
                # It may still not take what waits: the next look comes later.
                self._answered.clear()
                return True
        if self._looking is None and time.monotonic() >= self._next_at:
            self._looking = threading.Thread(target=self._look, name="ledger-probe", daemon=True)
            self._looking.start()
        return False

    def _look(self) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            log.debug("the database is still away", extra={"why": explain(error).message})
        else:
            self._answered.set()
