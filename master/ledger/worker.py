"""A thread for calls that block on the database, replaced when one of them hangs.

A driver's own time-out does not always hold: a statement on a server that was stopped may take three times as long, or
never return. Such a call is abandoned: its caller gets an error, the calls after it another thread, and when it
returns after all it can do nothing more.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from sqlalchemy import Engine, event

from master.ledger.errors import LedgerHangs, LedgerUnavailable

T = TypeVar("T")

MOST_HUNG = 4
"""Threads of one worker that may hang at the same time; until one of them returns, calls fail at once."""

_current = threading.local()


class Abandoned(Exception):
    """Raised in the thread of an abandoned call, at its next step on the database."""


class Call(Generic[T]):
    """A call that a worker carries out."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        self.done: Future[T] = Future()
        self.abandoned = False
        self.ended = False
        self.beat_at = time.monotonic()
        """When its last step began or ended."""


def beat() -> None:
    """Note that the running call has come to its next step.

    Raises
    ------
    Abandoned
        It took too long, and others have gone on without it.
    """
    call: Call[Any] | None = getattr(_current, "call", None)
    if call is None:
        return
    if call.abandoned:
        raise Abandoned
    call.beat_at = time.monotonic()


def watch(engine: Engine) -> None:
    """Make each statement and each commit of an engine a step of the running call."""
    for name in ("before_cursor_execute", "after_cursor_execute", "begin", "commit"):
        event.listen(engine, name, lambda *_: beat())


class Worker:
    """Carries out calls one after the other, in a thread that is replaced when a call hangs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Call[Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._hung = 0
        self._closed = False

    def submit(self, work: Callable[[], T]) -> Call[T]:
        """Queue a call.

        Raises
        ------
        LedgerUnavailable
            The worker is closed, or too many of its threads hang.
        """
        call = Call(work)
        with self._lock:
            if self._closed:
                raise LedgerUnavailable("the ledger is closed", hint="the master is ending")
            if not self._ensure_thread():
                raise _hangs()
            self._calls.put(call)
        return call

    def run(self, work: Callable[[], T], *, stall_s: float) -> T:
        """Carry out a call and return its value; blocks.

        Parameters
        ----------
        stall_s
            The most that one step of it may take.

        Raises
        ------
        LedgerHangs
            A step took longer: the call was abandoned.
        """
        call = self.submit(work)
        while True:
            left_s = call.beat_at + stall_s - time.monotonic()
            if left_s <= 0:
                self.abandon(call)
                if call.done.cancelled():
                    raise _hangs()  # it never began: calls before it took too long
                return call.done.result()
            try:
                return call.done.result(left_s)
            except TimeoutError:
                if call.done.done():
                    raise  # the call's own

    def abandon(self, call: Call[Any]) -> None:
        """Abandon a call unless it has ended: it fails with ``LedgerHangs``, and calls after it get another thread."""
        with self._lock:
            if call.ended or call.abandoned or call.done.cancel():
                return
            call.abandoned = True
            self._hung += 1
            self._thread = None
            if not self._calls.empty() and not self._ensure_thread():
                self._fail_queued()
        call.done.set_exception(_hangs())

    def close(self, timeout_s: float) -> None:
        """End the thread after the calls that are queued; one that hangs is left behind."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._calls.put(None)
            thread.join(timeout_s)

    def _ensure_thread(self) -> bool:
        if self._thread is None:
            if self._hung >= MOST_HUNG:
                return False
            # A daemon: one that hangs must not keep the program from ending.
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        return True

    def _fail_queued(self) -> None:
        while not self._calls.empty():
            call = self._calls.get()
            if call is not None and call.done.set_running_or_notify_cancel():
                call.done.set_exception(_hangs())

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if not call.done.set_running_or_notify_cancel():
                continue
            call.beat_at = time.monotonic()
            _current.call = call
            value, error = None, None
            try:
                value = call.work()
            except BaseException as raised:
                error = raised
            with self._lock:
                if call.abandoned:
                    self._hung -= 1
                    return
                call.ended = True
            if error is not None:
                call.done.set_exception(error)
            else:
                call.done.set_result(value)
            # Neither a connection nor a transaction's rows are held until the next call.
            del call, value, error


def _hangs() -> LedgerHangs:
    return LedgerHangs(
        "the database hangs: a statement did not come back", hint="look at the server, or at the network"
    )
