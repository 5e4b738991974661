"""A T-SQL server for the ledger's tests, as treacherous as it is told to be.

Microsoft's driver and FreeTDS log in to it. It speaks TDS, keeps its tables in SQLite, and remembers what it was asked.
It knows the statements of the ledger, not T-SQL. It runs in a process of its own: a driver may hold Python's lock while
it waits for an answer.
"""

from __future__ import annotations

import re
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlglot

from tests.hostile import tds

_FIXED_ANSWERS: tuple[tuple[str, Any], ...] = (
    (r"SERVERPROPERTY\('?ProductVersion", "16.0.1000.6"),
    (r"SELECT name FROM sys\.system_views", "dm_exec_sessions"),
    (r"transaction_isolation_level", "READ COMMITTED"),
    (r"schema_name\(\)", "dbo"),
    (r"test max support", "test max support"),
    (r"INFORMATION_SCHEMA|sys\.", "alembic_version"),
)
_SERVER_ERRORS = {"UNIQUE": (2627, 14), "FOREIGN KEY": (547, 16), "CHECK": (547, 16), "NOT NULL": (515, 16)}


@dataclass(frozen=True)
class Behaviour:
    """What the server does that a server should not do."""

    encryption: int = tds.ENCRYPT_NOT_SUPPORTED
    """How it answers a pre-login."""
    describing_rolls_back: bool = False
    """As Babelfish does: describing a parameter fails, and the transaction is gone."""
    fail_with: tuple[int, str] | None = None
    """An error for each INSERT, UPDATE and DELETE."""
    refuse_login: tuple[int, str] | None = None
    """An error in answer to each login."""
    deaf: bool = False
    """It reads and does not answer."""


@dataclass
class Observed:
    """What the server was asked."""

    statements: list[tuple[str, tuple[tds.Parameter, ...]]] = field(default_factory=list)
    """What it was asked to execute, with the parameters."""
    described: int = 0
    """How many times it was asked to describe parameters."""
    encryption_asked: list[int] = field(default_factory=list)
    logins: int = 0
    """How many logins arrived in plain text."""


class TSqlServer:
    """One server on a port of its own."""

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.seen = Observed()
        self._database = Path()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, name="t-sql", daemon=True).start()

    def port(self) -> int:
        """Return its port."""
        return int(self._listener.getsockname()[1])

    def begin(self, database: Path) -> None:
        """Begin anew with another database: well-behaved, and without connections."""
        self.behaviour, self.seen, self._database = Behaviour(), Observed(), database
        for end in list(self._open):
            end.close()

    def behave(self, behaviour: Behaviour) -> None:
        """Behave like that from now on."""
        self.behaviour = behaviour

    def observed(self) -> Observed:
        """Return what it was asked so far."""
        return self.seen

    def _accept(self) -> None:
        while True:
            end, _ = self._listener.accept()
            self._open.add(end)
            threading.Thread(target=self._serve, args=(end,), name="t-sql session", daemon=True).start()

    def _serve(self, end: socket.socket) -> None:
        session = _Session(self, end, self._database)
        try:
            session.run()
        except (OSError, EOFError):
            pass  # the driver hung up
        finally:
            session.end()
            end.close()
            self._open.discard(end)


class ServerManager(BaseManager):
    """Runs a server in a process of its own."""

    if TYPE_CHECKING:

        def make(self) -> TSqlServer:
            """Start a server."""


ServerManager.register("make", TSqlServer)


@contextmanager
def running_server() -> Iterator[TSqlServer]:
    """Yield a server in a process of its own."""
    with ServerManager(ctx=get_context("spawn")) as manager:
        yield manager.make()


class _Session:
    """One connection: its transaction, and its prepared statements."""

    def __init__(self, server: TSqlServer, end: socket.socket, database: Path) -> None:
        self._server, self._socket = server, end
        self._database = sqlite3.connect(
            database, isolation_level=None, timeout=10, check_same_thread=False, detect_types=sqlite3.PARSE_DECLTYPES
        )
        self._database.execute("PRAGMA foreign_keys=ON")
        self._implicit = False
        self._transactions = 0
        self._begun = False
        """Whether a transaction is open; SQLite's begins with the first write, for only one may write."""
        self._notices = b""
        self._prepared: dict[int, str] = {}

    def end(self) -> None:
        """Roll back what is open."""
        self._database.close()

    def run(self) -> None:
        """Serve until the driver hangs up."""
        while True:
            kind, data = self._receive()
            while self._server.behaviour.deaf:
                time.sleep(0.01)
            if kind == tds.PRELOGIN:
                self._server.seen.encryption_asked.append(tds.encryption_asked(data))
                self._send(tds.prelogin_reply(self._server.behaviour.encryption))
            elif kind == tds.LOGIN:
                self._server.seen.logins += 1
                refused = self._server.behaviour.refuse_login
                if refused is not None:
                    self._send(tds.error(*refused, severity=14) + tds.done(failed=True))
                    return
                self._send(tds.login_reply())
            elif kind == tds.BATCH:
                reader = tds.Reader(data)
                reader.skip_headers()
                self._send(self._batch(reader.rest().decode("utf-16-le")))
            elif kind == tds.RPC:
                self._send(self._call(tds.read_call(data)))
            elif kind == tds.TRANSACTION:
                self._send(self._manage(data))
            elif kind == tds.ATTENTION:
                self._send(tds.attention_reply())
            else:
                self._send(tds.done())

    def _receive(self) -> tuple[int, bytes]:
        data = b""
        while True:
            header = self._read(8)
            kind, last = header[0], header[1] & 1
            data += self._read(int.from_bytes(header[2:4], "big") - 8)
            if last:
                return kind, data

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _send(self, payload: bytes) -> None:
        payload, self._notices = self._notices + payload, b""
        room = 4096 - 8
        parts = [payload[at : at + room] for at in range(0, len(payload), room)] or [b""]
        for number, part in enumerate(parts, 1):
            last = int(number == len(parts))
            head = bytes([tds.REPLY, last]) + (len(part) + 8).to_bytes(2, "big") + bytes([0, 51, number % 256, 0])
            self._socket.sendall(head + part)

    def _batch(self, text: str) -> bytes:
        if re.match(r"\s*set implicit_transactions", text, re.IGNORECASE):
            self._implicit = text.strip().lower().endswith("on")
            return tds.done()
        if re.match(r"\s*(set|use)\b", text, re.IGNORECASE):
            return tds.done()
        if re.match(r"\s*(exec\b|sp_)", text, re.IGNORECASE):
            return tds.error(2812, "Could not find the stored procedure.") + tds.done(failed=True)
        if re.search(r"\b(commit|rollback)\b", text, re.IGNORECASE):
            self._finish(committed="commit" in text.lower())
            if re.search(r"\bbegin tran", text, re.IGNORECASE):
                self._begin()
            return tds.done()
        if re.match(r"\s*begin tran", text, re.IGNORECASE):
            self._begin()
            return tds.done()
        return self._execute(text, ())

    def _manage(self, data: bytes) -> bytes:
        reader = tds.Reader(data)
        reader.skip_headers()
        what = reader.number(2)
        if what == 5:
            self._begin()
        elif what in (7, 8):
            self._finish(committed=what == 7)
            reader.take(reader.number(1))
            if reader.number(1) & 1:
                self._begin()
        return tds.done()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._transactions += 1
            self._notices += tds.transaction_began(self._transactions)

    def _finish(self, *, committed: bool) -> None:
        if self._database.in_transaction:
            self._database.execute("COMMIT" if committed else "ROLLBACK")
        if self._begun:
            self._begun = False
            self._notices += tds.transaction_ended(self._transactions, committed=committed)

    def _call(self, call: tds.Call) -> bytes:
        given = call.parameters
        if call.procedure == "sp_executesql":
            return self._execute(given[0].value, given[2:], kind=0xFF) + _END
        if call.procedure == "sp_prepexec":
            handle = len(self._prepared) + 1
            self._prepared[handle] = given[2].value
            reply = self._execute(given[2].value, given[3:], kind=0xFF)
            return reply + tds.handle_reply(handle) + _END
        if call.procedure == "sp_prepare":
            handle = len(self._prepared) + 1
            self._prepared[handle] = given[2].value
            return tds.handle_reply(handle) + _END
        if call.procedure == "sp_execute":
            return self._execute(self._prepared[given[0].value], given[1:], kind=0xFF) + _END
        if "describe_undeclared" in call.procedure:
            return self._describe()
        if call.procedure == "sp_unprepare":
            return _END
        return tds.error(2812, f"Could not find stored procedure '{call.procedure}'.") + tds.done(
            kind=0xFE, failed=True
        )

    def _describe(self) -> bytes:
        self._server.seen.described += 1
        if self._server.behaviour.describing_rolls_back and self._database.in_transaction:
            # Without a notice: the driver does not learn of it.
            self._database.execute("ROLLBACK")
        return tds.error(11514, "The metadata could not be determined.") + tds.done(kind=0xFE, failed=True)

    def _execute(self, text: str, given: tuple[tds.Parameter, ...], kind: int = 0xFD) -> bytes:
        self._server.seen.statements.append((text, given))
        for pattern, value in _FIXED_ANSWERS:
            if re.search(pattern, text, re.IGNORECASE):
                return tds.rows_reply([""], [[value]]) + tds.done(1, kind=kind, more=kind == 0xFF)
        failing = self._server.behaviour.fail_with
        if failing is not None and re.match(r"\s*(INSERT|UPDATE|DELETE)", text, re.IGNORECASE):
            return tds.error(*failing) + tds.done(kind=kind, failed=True, more=kind == 0xFF)
        if self._implicit:
            self._begin()
        try:
            writes = re.match(r"\s*(INSERT|UPDATE|DELETE)", text, re.IGNORECASE)
            if writes and self._begun and not self._database.in_transaction:
                self._database.execute("BEGIN IMMEDIATE")
            cursor = self._database.execute(_for_sqlite(text), [_for_storage(parameter) for parameter in given])
        except sqlite3.Error as error:
            number, severity = next((n for word, n in _SERVER_ERRORS.items() if word in str(error)), (102, 15))
            return tds.error(number, str(error), severity=severity) + tds.done(
                kind=kind, failed=True, more=kind == 0xFF
            )
        if cursor.description is None:
            return tds.done(cursor.rowcount, kind=kind, more=kind == 0xFF)
        rows = [tuple(_with_type(value) for value in row) for row in cursor]
        reply = tds.rows_reply([column[0] for column in cursor.description], rows)
        return reply + tds.done(len(rows), kind=kind, more=kind == 0xFF)


_END = tds.status_reply() + tds.done(kind=0xFE)
_TRANSLATED: dict[str, str] = {}


def _for_sqlite(text: str) -> str:
    if text not in _TRANSLATED:
        (statement,) = sqlglot.transpile(text, read="tsql", write="sqlite", error_level=sqlglot.ErrorLevel.IGNORE)
        _TRANSLATED[text] = re.sub(r"@P\w+", "?", statement)
    return _TRANSLATED[text]


def _for_storage(parameter: tds.Parameter) -> Any:
    """Store a moment as SQLite does, whether it was bound as text or not."""
    value = parameter.value
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+", value):
        return value.replace("T", " ") + "000"
    return value


def _with_type(value: Any) -> Any:
    """Return a moment as one: SQLite knows the type of a column, and not that of the latest of its values."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", value):
        return datetime.fromisoformat(value)
    return value


def _read_moment(text: bytes) -> datetime:
    return datetime.fromisoformat(text.decode())


sqlite3.register_converter("DATETIME", _read_moment)
