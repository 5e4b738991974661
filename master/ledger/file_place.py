"""The SQLite ledger's file: noticed when it is deleted under a running master, and written again from what is open.

SQLite goes on with a deleted file as if nothing had happened, and all that is written then is gone with the process.
But as long as a connection is open, so is the file, with everything that was ever acknowledged.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from master.ledger.errors import LedgerCorrupt, LedgerUnavailable

READERS_TIMEOUT_S = 5.0
_BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside a file. They belong to one file: beside another they would damage it."""


class FilePlace:
    """Watches that the ledger's path leads to the file that is open.

    Parameters
    ----------
    path
        None: the ledger is no file, and always in its place.
    writer, reader
        The engines that have it open.
    on_mended
        Called after the file was written again, on the writer's thread, with a sentence for the operator.
    """

    def __init__(self, path: Path | None, *, writer: Engine, reader: Engine, on_mended: Callable[[str], None]) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._on_mended = on_mended
        self._known: tuple[int, int] | None = None
        """Device and inode of the file; None before it was opened."""
        self._mending = threading.Event()
        self._reading: set[int] = set()
        """Connections in use. The pool forgets how many there are when it is disposed of."""
        if path is not None:
            event.listen(reader, "checkout", lambda connection, *_: self._reading.add(id(connection)))
            event.listen(reader, "checkin", lambda connection, _: self._reading.discard(id(connection)))
            for engine in (writer, reader):
                event.listen(engine, "do_connect", self._before_connecting)

    def remember(self) -> None:
        """Take what is at the path now for the ledger."""
        self._known = None if self._path is None else _identity(self._path)

    def is_in_place(self) -> bool:
        """Tell whether the path leads to the file that is open."""
        return self._known is None or self._path is None or _identity(self._path) == self._known

    def mend(self) -> None:
        """Put the ledger back in its place, if it is not there. For the writer's thread, outside of a transaction.

        Raises
        ------
        LedgerUnavailable
            It cannot be written there now.
        LedgerCorrupt
            No connection has it open any more.
        """
        if self.is_in_place() or self._path is None:
            return
        what = "deleted" if _identity(self._path) is None else "replaced by another"
        if (source := self._open_engine()) is None and not self._reading:
            raise LedgerCorrupt(
                f"the ledger {self._path} was {what}, and is open no more",
                hint="stop the master, and restore the last backup: fleet restore FILE",
            )
        self._mending.set()
        try:
            kept = self._write_again(self._path, source or self._reader)
        except (OSError, sqlite3.Error, SQLAlchemyError) as error:
            raise LedgerUnavailable(
                f"the ledger {self._path} was {what}, and cannot be written again: {error}",
                hint="free some space, and make its folder writable; do not stop the master before, or it is lost",
            ) from error
        finally:
            self._mending.clear()
        self.remember()
        also = (
            f" The other file is kept as {kept}; `fleet restore` takes a backup while no master runs." if kept else ""
        )
        self._on_mended(
            f"{self._path} was {what} while the master ran. It was written again with all that it held.{also}"
        )

    def _before_connecting(self, _dialect: Any, _record: Any, _arguments: Any, _options: Any) -> None:
        """Refuse to open, and so to create, anything but the ledger."""
        if self._mending.is_set():
            raise sqlite3.OperationalError("database is locked: it is being written again")
        if not self.is_in_place():
            raise sqlite3.OperationalError("its file was deleted or replaced")

    def _open_engine(self) -> Engine | None:
        """Return an engine that has an idle connection to the file; the writer has none before its first write."""
        pools: list[tuple[Engine, Any]] = [(engine, engine.pool) for engine in (self._writer, self._reader)]
        return next((engine for engine, pool in pools if pool.checkedin() > 0), None)

    def _write_again(self, path: Path, source: Engine) -> str:
        """Write what is open to the path; returns where another file at the path was moved to, empty if none was.

        All connections to the old file are closed before the new one is there: the last of them to close deletes what
        is called ``ledger.db-wal`` by then.
        """
        copy = path.with_name(f"{path.name}.again")
        with contextlib.suppress(FileNotFoundError):
            copy.unlink()
        os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            open_one = source.raw_connection()
            try:
                with contextlib.closing(sqlite3.connect(copy)) as again:
                    open_one.driver_connection.backup(again)  # type: ignore[union-attr]
            finally:
                open_one.close()
            _sync(copy)
            self._close_readers()
            self._writer.dispose()
            kept = _move_aside(path)
            os.replace(copy, path)
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
        _sync(path.parent)
        return kept

    def _close_readers(self) -> None:
        pool: Any = self._reader.pool
        self._reader.dispose()
        until = time.monotonic() + READERS_TIMEOUT_S
        while self._reading:
            if time.monotonic() > until:
                raise OSError("it is being read")
            time.sleep(0.01)
        pool.dispose()


def ledger_path(url: URL) -> Path | None:
    """Return the path of a ledger that is a file."""
    is_file = url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:"
    return Path(url.database or "") if is_file else None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _move_aside(path: Path) -> str:
    """Move what is at the path away with what belongs to it; returns where to, or removes what is left of our own."""
    if not path.exists():
        for ending in _BESIDE:
            path.with_name(path.name + ending).unlink(missing_ok=True)
        return ""
    aside = path.with_name(f"{path.name}.found-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    for ending in ("", *_BESIDE):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    return str(aside)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
