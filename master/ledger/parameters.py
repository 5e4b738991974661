"""How values are bound over ODBC: each parameter says its type, so that no driver has to ask the server for it.

pyodbc asks the server to describe a parameter that is bound as None. Where that fails the server may roll the
transaction back, and pyodbc goes on as if nothing had happened: what follows is committed, what came before is lost.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Engine,
    Float,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    TypeDecorator,
    event,
)
from sqlalchemy.types import TypeEngine

from master.ledger.schema.tables import UtcDateTime

# The more special types come first. The numbers are ODBC's own, in sql.h and sqlext.h.
_ODBC_TYPES: tuple[tuple[type[TypeEngine[Any]], int], ...] = (
    (BigInteger, -5),
    (SmallInteger, 5),
    (Integer, 4),
    (Boolean, -7),
    (Float, 8),
    (LargeBinary, -3),
    (String, -9),
)
_TEXT = -9
"""SQL_WVARCHAR; moments are bound as text too."""
_LONG_TEXT = 2000
"""Characters from which on SQL Server's drivers want a text bound as NVARCHAR(max), which is the size 0."""

OdbcType = tuple[int, int | None, int | None]
"""Type, size and digits, as pyodbc's ``setinputsizes`` takes them; None leaves a size to the value."""


def odbc_type_of(kind: TypeEngine[Any]) -> OdbcType:
    """Return how the values of a column are bound.

    Raises
    ------
    TypeError
        The type is none of the ledger's.
    """
    if isinstance(kind, UtcDateTime):
        return (_TEXT, None, None)
    if isinstance(kind, TypeDecorator):
        # One of SQLAlchemy's own, in its questions about the schema.
        return odbc_type_of(kind.impl_instance)
    if isinstance(kind, String) and (kind.length is None or kind.length >= _LONG_TEXT):
        return (_TEXT, 0, 0)
    for known, number in _ODBC_TYPES:
        if isinstance(kind, known):
            return (number, None, None)
    raise TypeError(f"no ODBC type is known for {kind!r}")


def bind_with_types(engine: Engine) -> None:
    """Set the type of each parameter of each statement, whether its value is None or not."""

    @event.listens_for(engine, "do_setinputsizes")
    def _type(sizes: dict[Any, Any], _cursor: object, _statement: str, _parameters: object, _context: object) -> None:
        for parameter in sizes:
            sizes[parameter] = odbc_type_of(parameter.type)

    # pyodbc asks the server about None in spite of a given type, and takes its own NULL as it is.
    null = getattr(engine.dialect.dbapi, "BinaryNull", None)

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def _replace_none(
        _connection: object, _cursor: object, statement: str, parameters: Any, _context: object, executemany: bool
    ) -> tuple[str, Any]:
        if executemany:
            return statement, [_without_none(row, null) for row in parameters]
        return statement, _without_none(parameters, null)


def _without_none(row: Any, null: object) -> Any:
    return tuple(null if value is None else value for value in row) if None in row else row
