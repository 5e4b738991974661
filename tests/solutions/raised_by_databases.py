"""Errors of databases, made to happen."""

from __future__ import annotations

import contextlib
import importlib
import sqlite3
from typing import Any

import sqlalchemy.exc

from tests.solutions.raising import Place, Unavailable, free_port, raises

# CROSS raised_by_network ['_free_port']


@raises("sqlite_locked", where="on_message", source="event")
async def sqlite_locked(place: Place) -> None:
    path = place.folder / "locked.db"
    with contextlib.closing(sqlite3.connect(path)) as holder:
        holder.execute("CREATE TABLE t (x)")
        holder.execute("BEGIN EXCLUSIVE")
        with contextlib.closing(sqlite3.connect(path, timeout=0)) as database:
            database.execute("INSERT INTO t VALUES (1)")


@raises("sqlite_locked", where="on_message", source="event")
async def sqlite_locked_below_sqlalchemy(place: Place) -> None:
    try:
        await sqlite_locked(place)
    except sqlite3.OperationalError as error:
        raise sqlalchemy.exc.OperationalError("INSERT INTO t VALUES (1)", {}, error) from error


@raises("sqlite_damaged", where="on_message", source="event")
async def sqlite_is_none(place: Place) -> None:
    (place.folder / "bot.db").write_bytes(b"no database at all" * 100)
    with contextlib.closing(sqlite3.connect(place.folder / "bot.db")) as database:
        database.execute("SELECT * FROM t")


@raises("sqlite_damaged", where="on_message", source="event")
async def sqlite_damaged(place: Place) -> None:
    path = place.folder / "damaged.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE t (x)")
        database.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 100)
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    path.write_bytes(content)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("SELECT * FROM t").fetchall()


@raises("sqlite_read_only", where="on_message", source="event")
async def sqlite_read_only(place: Place) -> None:
    path = place.folder / "readonly.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (x)")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.execute("INSERT INTO t VALUES (1)")


@raises("sqlite_table_missing", where="on_message", source="event", table="coins")
async def sqlite_table_missing(place: Place) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("SELECT * FROM coins")


@raises("odbc_driver_missing", where="on_message", source="event")
async def odbc_driver_missing(place: Place) -> None:
    _pyodbc().connect("DRIVER={ODBC Driver 99 for SQL Server};SERVER=127.0.0.1", timeout=1)


@raises("odbc_driver_missing", where="on_message", source="event")
async def odbc_source_missing(place: Place) -> None:
    _pyodbc().connect("DSN=nobody", timeout=1)


@raises("odbc_connection_failed", where="on_message", source="event")
async def odbc_server_away(place: Place) -> None:
    from master.ledger.odbc import wheel_folder

    drivers = sorted((wheel_folder() or place.folder).glob("libs/linux/debian_ubuntu/*/lib/libmsodbcsql-*.so*"))
    if not drivers:
        raise Unavailable("the package mssql-python-odbc is not installed")
    _pyodbc().connect(f"DRIVER={drivers[0]};SERVER=127.0.0.1,{free_port()};UID=a;PWD=b", timeout=1)


def _pyodbc() -> Any:
    try:
        return importlib.import_module("pyodbc")
    except ImportError as error:
        raise Unavailable("pyodbc or unixODBC is not installed") from error
