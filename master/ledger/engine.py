"""SQLAlchemy engines, and the translation of driver errors into errors that an operator can act on."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    MultipleResultsFound,
    NoResultFound,
    NoSuchModuleError,
    SQLAlchemyError,
    StatementError,
)

from master.configuration.settings import ANY_DRIVER, DatabaseSettings
from master.ledger.errors import (
    Conflict,
    LedgerCorrupt,
    LedgerDiskFull,
    LedgerError,
    LedgerReadOnly,
    LedgerRetryable,
    LedgerUnavailable,
    RowRefused,
)
from master.ledger.odbc import HOW_TO_INSTALL, explain_odbc, for_driver, installed_driver, sql_state_of
from master.ledger.parameters import bind_with_types

_SQLITE_HEADER = b"SQLite format 3\x00"


def parse_url(settings: DatabaseSettings) -> URL:
    """Return the ledger's URL.

    Raises
    ------
    LedgerError
        It is not a valid URL.
    """
    try:
        return make_url(settings.url.reveal())
    except ArgumentError:
        raise LedgerError("DATABASE is not a database URL", hint="for SQLite: sqlite:///state/ledger.db") from None


def prepare_file(url: URL) -> None:
    """Create a SQLite file, readable by its owner only, or raise why it cannot be the ledger.

    Raises
    ------
    LedgerUnavailable, LedgerReadOnly, LedgerCorrupt
    """
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return
    path = Path(url.database)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with path.open("rb") as stream:
            header = stream.read(len(_SQLITE_HEADER))
    except (PermissionError, IsADirectoryError) as error:
        raise LedgerReadOnly(
            f"the ledger {path} cannot be written: {error.strerror}",
            hint=f"make it writable for the user who runs the master: chmod u+rw {path}",
        ) from error
    except OSError as error:
        if error.errno == 30:  # EROFS
            raise LedgerReadOnly(
                f"the ledger {path} is on a read-only file system", hint="mount it writable"
            ) from error
        raise LedgerUnavailable(
            f"the ledger {path} cannot be opened: {error.strerror}",
            hint="check DATABASE in config.py and that the folder exists",
        ) from error
    if header and header != _SQLITE_HEADER:
        raise LedgerCorrupt(
            f"the ledger {path} is not a SQLite database",
            hint="set DATABASE in config.py to the right file, or move this one away: a new ledger is created then",
        )


def make_engine(url: URL, settings: DatabaseSettings, *, read_only: bool = False) -> Engine:
    """Make an engine for one thread; with ``read_only``, one that refuses to write (SQLite).

    Raises
    ------
    LedgerError
        The driver is missing.
    """
    try:
        if url.get_backend_name() == "sqlite":
            engine = create_engine(
                url,
                # Kept open: closing the last connection would checkpoint the write-ahead log each time.
                pool_size=1,
                max_overflow=1,
                connect_args={"timeout": settings.statement_timeout_s, "check_same_thread": False},
            )
            _set_up_sqlite(engine, read_only=read_only)
            return engine
        return make_pool(with_driver(url), settings)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise LedgerError(
            f"the driver for {url.drivername} is not installed ({error})",
            hint=f"for SQL Server: {HOW_TO_INSTALL}",
        ) from error


@contextmanager
def connect_as_it_is(settings: DatabaseSettings) -> Iterator[Connection | None]:
    """Open a transaction without upgrading the schema; None if there is no ledger yet. Blocks.

    Raises
    ------
    LedgerError
    """
    url = parse_url(settings)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        yield None
        return
    engine = make_engine(url, settings)
    try:
        with engine.begin() as connection:
            yield connection if inspect(connection).has_table("alembic_version") else None
    except SQLAlchemyError as error:
        raise explain(error) from error
    finally:
        engine.dispose()


def make_pool(url: URL, settings: DatabaseSettings) -> Engine:
    """Make an engine over ODBC: one connection, pinged before use, with time-outs for login and statements."""
    engine = create_engine(
        url,
        pool_size=1,
        max_overflow=1,
        pool_timeout=settings.connect_timeout_s,
        pool_pre_ping=True,
        pool_recycle=1800,
        use_insertmanyvalues=False,
        connect_args={"timeout": _whole_seconds(settings.connect_timeout_s)},
    )

    if engine.dialect.dbapi is not None:
        # The driver manager's own pool would hand out dead connections, which this pool could not detect.
        setattr(engine.dialect.dbapi, "pooling", False)  # noqa: B010 - pyodbc's own, unknown to the type

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.timeout = _whole_seconds(settings.statement_timeout_s)

    bind_with_types(engine)
    return engine


def _whole_seconds(seconds: float) -> int:
    """Return a time-out in whole seconds, at least 1: for ODBC 0 means no time-out."""
    return max(1, round(seconds))


def with_driver(url: URL) -> URL:
    """Insert the installed driver where the config names none, and say the rest as that driver understands it."""
    if url.get_backend_name() != "mssql":
        return url
    connect = url.query.get("odbc_connect")
    if not isinstance(connect, str):
        (connect,), options = url.get_dialect()().create_connect_args(url)
        if options or connect == for_driver(connect):
            return url
        url = url.set(username=None, password=None, host=None, port=None, database=None, query={})
    chosen = "DRIVER={" + ANY_DRIVER + "}"
    if chosen in connect:
        connect = connect.replace(chosen, f"DRIVER={installed_driver().connection_value}")
    return url.update_query_dict({"odbc_connect": for_driver(connect)})


def _set_up_sqlite(engine: Engine, *, read_only: bool) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        # The driver's own BEGIN comes late and breaks savepoints; _begin below issues it instead.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        # FULL: an acknowledged write survives a power cut. Group commits make it cheap.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA cache_size=-1024")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def explain(error: SQLAlchemyError) -> LedgerError:
    """Translate a SQLAlchemy error into the ledger's own; statements and parameters are left out.

    Only :class:`RowRefused` blames the row. What is not known to be its fault is the database's: the row waits then.
    """
    original = getattr(error, "orig", None)
    text = str(original or error).splitlines()[0][:200]
    if type(original).__module__ == "pyodbc" and original is not None:
        state, message = ([*map(str, original.args), "", ""])[:2]
        return explain_odbc(state if len(state) == 5 else sql_state_of(message), message)
    if isinstance(error, IntegrityError):
        return Conflict(f"the ledger refused a row: {text}")
    if isinstance(error, DataError):
        return RowRefused(f"the ledger refused a value: {text}")
    if isinstance(original, sqlite3.Error):
        if "readonly" in text:
            return LedgerReadOnly(f"the ledger cannot be written: {text}", hint="check the file's permissions")
        if "not a database" in text or "malformed" in text:
            return LedgerCorrupt(f"the ledger is damaged: {text}", hint="restore it from a backup")
        if "disk" in text and "full" in text:
            return LedgerDiskFull("the disk of the ledger is full", hint="free some space")
        if "locked" in text or "busy" in text:
            return LedgerRetryable("the ledger is locked", hint="another program has it open: close it")
    if isinstance(error, DBAPIError) or not isinstance(error, StatementError | NoResultFound | MultipleResultsFound):
        return LedgerUnavailable(f"the ledger could not be reached: {text}", hint="`fleet doctor` looks closer")
    # It never reached the database, as a value that cannot be bound; or the caller made too much of what it read.
    return RowRefused(f"the ledger refused a statement: {text}")
