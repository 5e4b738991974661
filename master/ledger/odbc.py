"""SQL Server through ODBC: choosing a driver, and translating its errors.

https://learn.microsoft.com/sql/connect/odbc/ and ISO/IEC 9075's SQLSTATEs.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from master.ledger.errors import LedgerError, LedgerReadOnly, LedgerRetryable, LedgerUnavailable

MICROSOFT = ("ODBC Driver 18 for SQL Server", "ODBC Driver 17 for SQL Server")
FREETDS = "FreeTDS"
"""The second choice: after a killed session its connections do not recover by themselves."""
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
        raise LedgerError("pyodbc is not installed", hint="pip install 'fleetmaster[sqlserver]'") from error
    driver = find_driver(pyodbc.drivers(), wheel_folder())
    if driver is None:
        raise LedgerError(
            "there is no ODBC driver for SQL Server",
            hint="pip install 'fleetmaster[sqlserver]' brings Microsoft's in a wheel",
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


_CONNECTION_LOST = ("08S01", "08003", "08007")
_FREETDS_UNREACHABLE = "20009"
"""FreeTDS reports a closed port as a lost connection."""
_TRANSIENT_NUMBERS = ("1205", "1222", "40197", "40501", "40613", "49918", "10928", "10929")
_ROLLED_BACK_NUMBERS = ("628", "3902", "3903", "6401")
"""No such transaction or savepoint: the server had already rolled back by itself, after a deadlock say."""


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
    if state == "IM002" or "Can't open lib" in message:
        return LedgerError(
            "the ODBC driver of DATABASE['DRIVER'] is not installed",
            hint="leave DRIVER out to use an installed one; `fleet doctor` shows it",
        )
    if state == "28000" or number == "18456":
        return LedgerError("SQL Server refuses the login", hint="check USER and PASSWORD, or TRUSTED_CONNECTION")
    if state == "42000" and number in ("4060", "911"):
        return LedgerError(
            "the database does not exist, or this login has no access", hint="check DATABASE['DATABASE']"
        )
    if number in ("229", "230", "262"):
        return LedgerReadOnly("the login lacks a permission", hint="run sql/roles.sqlserver.sql, and grant it the role")
    if state in ("40001", "25000") or number in (*_TRANSIENT_NUMBERS, *_ROLLED_BACK_NUMBERS):
        return LedgerRetryable(f"SQL Server reports a transient error ({number or state})")
    if state in _CONNECTION_LOST and number != _FREETDS_UNREACHABLE:
        return LedgerRetryable("the connection to SQL Server was lost")
    if state == "08001" or number == _FREETDS_UNREACHABLE:
        if "certificate" in message.lower():
            return LedgerUnavailable(
                "SQL Server's certificate is not trusted", hint="install its authority, or TRUST_CERTIFICATE: True"
            )
        return LedgerUnavailable("SQL Server cannot be reached", hint="check SERVER and its port; is TCP switched on?")
    if state in ("HYT00", "HYT01"):
        return LedgerUnavailable("SQL Server did not answer in time", hint="check SERVER, its port and any firewall")
    return LedgerError(f"SQL Server refused a statement ({state or 'no SQLSTATE'}{', ' + number if number else ''})")
