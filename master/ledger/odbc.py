"""SQL Server through ODBC: choosing a driver, and translating its errors.

https://learn.microsoft.com/sql/connect/odbc/ and ISO/IEC 9075's SQLSTATEs.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from master.ledger.errors import Conflict, LedgerError, LedgerReadOnly, LedgerRetryable, LedgerUnavailable, RowRefused

HOW_TO_INSTALL = f"`FLEET_EXTRAS=sqlserver {Path(__file__).resolve().parents[2] / 'fleet'} doctor` installs it"
"""From the lock of the checkout: no name of ours may be asked of a package index, where others could answer."""

MICROSOFT = ("ODBC Driver 18 for SQL Server", "ODBC Driver 17 for SQL Server")
FREETDS = "FreeTDS"
"""The second choice: after a killed session its connections do not recover by themselves, and it encrypts without
looking at the server's certificate."""
_WHEEL = "mssql_python_odbc"


@dataclass(frozen=True, slots=True)
class OdbcDriver:
    """An ODBC driver.

    Parameters
    ----------
    name
        Display name.
    connection_value
        What follows ``DRIVER=``: a name in braces, or a path.
    """

    name: str
    connection_value: str


def find_driver(installed: Iterable[str], wheel: Path | None = None) -> OdbcDriver | None:
    """Choose a driver: an installed one of Microsoft's, the one in the wheel, or FreeTDS; None when there is none.

    Parameters
    ----------
    installed
        As ``pyodbc.drivers()`` returns them.
    wheel
        The folder of the package ``mssql_python_odbc``, whose driver needs no installation; None without it.
    """
    names = list(installed)
    for name in MICROSOFT:
        if name in names:
            return OdbcDriver(name, "{" + name + "}")
    library = _library_in(wheel) if wheel is not None else None
    if library is not None:
        return OdbcDriver(f"Microsoft's, from the wheel ({library.name})", str(library))
    return OdbcDriver(FREETDS, "{" + FREETDS + "}") if FREETDS in names else None


def wheel_folder() -> Path | None:
    """Return the folder of the package that contains Microsoft's driver; None when it is not installed."""
    spec = importlib.util.find_spec(_WHEEL)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _library_in(wheel: Path) -> Path | None:
    found = sorted(wheel.glob("libs/linux/*/*/lib/libmsodbcsql-*.so*"))
    # One for each family of distributions: Debian's is preferred.
    return next((path for path in found if "debian" in str(path)), found[-1] if found else None)


def installed_driver() -> OdbcDriver:
    """Return the driver that is installed on this machine.

    Raises
    ------
    LedgerError
        pyodbc cannot be imported, or there is no driver for it.
    """
    try:
        import pyodbc
    except ImportError as error:
        if "libodbc" in str(error):
            raise LedgerError("pyodbc needs unixODBC", hint="apt install unixodbc") from error
        raise LedgerError("pyodbc is not installed", hint=HOW_TO_INSTALL) from error
    driver = find_driver(pyodbc.drivers(), wheel_folder())
    if driver is None:
        raise LedgerError(
            "there is no ODBC driver for SQL Server",
            hint=f"{HOW_TO_INSTALL} (Microsoft's, in a wheel)",
        )
    return driver


def check_driver(name: str) -> str:
    """Return ``name`` if it is an installed driver or the path of one.

    Raises
    ------
    LedgerError
    """
    import pyodbc

    installed = pyodbc.drivers()
    if name not in installed and not Path(name).is_file():
        raise LedgerError(
            f"{name}, which config.py names, is not installed",
            hint=f"leave DRIVER out to use an installed one: {', '.join(installed) or 'none'}",
        )
    return name


_PART = re.compile(r"\s*([^=;]+?)\s*=\s*(\{(?:[^}]|\}\})*\}|[^;]*)\s*(?:;|\Z)")
"""One part of a connection string: ``KEY=value``, or ``KEY={value}`` in which ``}}`` stands for ``}``."""


def for_driver(connection: str) -> str:
    """Return a connection string as its driver understands it; Microsoft's keys are what is written in the config.

    FreeTDS does not know ``Encrypt``, and would connect in plain text; nor does it take a port within ``SERVER``.
    """
    parts = {key.casefold(): (key, value) for key, value in _PART.findall(connection)}
    driver = parts.get("driver", ("", ""))[1].strip("{}").casefold()
    if "freetds" not in driver and "libtdsodbc" not in driver:
        return connection
    _, encrypt = parts.pop("encrypt", ("", "yes"))
    parts.pop("trustservercertificate", None)
    plain = encrypt.casefold() in ("no", "optional", "false")
    parts.setdefault("encryption", ("Encryption", "off" if plain else "require"))
    parts.setdefault("tds_version", ("TDS_Version", "7.4"))
    key, server = parts.get("server", ("SERVER", ""))
    host, comma, port = server.removeprefix("tcp:").rpartition(",")
    if comma:
        parts["server"] = (key, host.strip())
        parts["port"] = ("PORT", port.strip())
    return ";".join(f"{key}={value}" for key, value in parts.values())


_CONNECTION_LOST = ("08S01", "08003", "08007")
_FREETDS_UNREACHABLE = "20009"
"""FreeTDS reports a closed port as a lost connection."""
_TRANSIENT_NUMBERS = ("1205", "1222", "40197", "40501", "40613", "49918", "10928", "10929")
_ROLLED_BACK_NUMBERS = ("628", "3902", "3903", "6401")
"""No such transaction or savepoint: the server had already rolled back by itself, after a deadlock say."""
_CONSTRAINT_NUMBERS = ("515", "547", "2601", "2627")
_DATA_NUMBERS = ("220", "241", "242", "245", "2628", "8114", "8115", "8152")
"""FreeTDS gives the newer ones of these the SQLSTATE 42000."""
_NO_ROOM = {"1105": "a file of the database is full", "1101": "a file is full", "9002": "its transaction log is full"}


def sql_state_of(message: str) -> str:
    """Return the SQLSTATE that a driver's message begins with; empty when there is none."""
    found = re.search(r"\[?([0-9A-Z]{5})\]", message)
    return found[1] if found else ""


def _number_of(message: str) -> str:
    """Return the server's own error number: ``... (1205) (SQLExecDirectW)``."""
    found = re.search(r"\((\d{2,6})\) \(SQL", message)
    return found[1] if found else ""


def explain_odbc(state: str, message: str) -> LedgerError:
    """Translate an ODBC error; the driver's message may contain a login, so only its numbers are shown.

    Parameters
    ----------
    state
        The SQLSTATE.
    message
        The driver's message.
    """
    number = _number_of(message)
    for told in (_explain_row(state, number), _explain_access(state, number, message), _explain_loss(state, number)):
        if told is not None:
            return told
    if state == "08001" or number == _FREETDS_UNREACHABLE:
        if "certificate" in message.lower():
            return LedgerUnavailable(
                "SQL Server's certificate is not trusted", hint="install its authority, or TRUST_CERTIFICATE: True"
            )
        return LedgerUnavailable("SQL Server cannot be reached", hint="check SERVER and its port; is TCP switched on?")
    if state in ("HYT00", "HYT01"):
        return LedgerUnavailable("SQL Server did not answer in time", hint="check SERVER, its port and any firewall")
    if number in _NO_ROOM:
        return LedgerUnavailable(
            f"SQL Server has no room: {_NO_ROOM[number]} ({number})", hint="its DBA has to make some"
        )
    return LedgerUnavailable(
        f"SQL Server refused a statement ({state or 'no SQLSTATE'}{', ' + number if number else ''})",
        hint="what was to be written waits; the server's own log says more",
    )


def _explain_row(state: str, number: str) -> LedgerError | None:
    """Return the row's fault: classes 22 (data) and 23 (constraints), by SQLSTATE or by the server's number."""
    if state.startswith("23") or number in _CONSTRAINT_NUMBERS:
        return Conflict(f"the ledger refused a row ({number or state})")
    if state.startswith("22") or number in _DATA_NUMBERS:
        return RowRefused(f"the ledger refused a value ({number or state})")
    return None


def _explain_access(state: str, number: str, message: str) -> LedgerError | None:
    """Return what keeps the login out, or lets it read only."""
    if state == "IM002" or "Can't open lib" in message:
        return LedgerUnavailable(
            "the ODBC driver of DATABASE['DRIVER'] is not installed",
            hint="leave DRIVER out to use an installed one; `fleet doctor` shows it",
        )
    if state == "28000" or number == "18456":
        return LedgerUnavailable("SQL Server refuses the login", hint="check USER and PASSWORD, or TRUSTED_CONNECTION")
    if number in ("4060", "911"):
        return LedgerUnavailable(
            "the database does not exist, or this login has no access", hint="check DATABASE['DATABASE']"
        )
    if number in ("229", "230", "262"):
        return LedgerReadOnly("the login lacks a permission", hint="run sql/roles.sqlserver.sql, and grant it the role")
    if number in ("3906", "3908"):
        return LedgerReadOnly(f"the database is read-only ({number})", hint="ask its DBA why")
    return None


def _explain_loss(state: str, number: str) -> LedgerError | None:
    """Return what is over soon: a deadlock, a lost connection, a transaction that the server rolled back."""
    if state in ("40001", "25000") or number in (*_TRANSIENT_NUMBERS, *_ROLLED_BACK_NUMBERS):
        return LedgerRetryable(f"SQL Server reports a transient error ({number or state})")
    if state in _CONNECTION_LOST and number != _FREETDS_UNREACHABLE:
        return LedgerRetryable("the connection to SQL Server was lost")
    return None
