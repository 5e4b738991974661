"""Render the schema as a diagram for docs/ledger.md: ``python -m master.ledger.schema.diagram``.

In Mermaid's language (https://mermaid.js.org/syntax/entityRelationshipDiagram.html), which code hosts display.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Table, Unicode, UnicodeText
from sqlalchemy.sql.schema import ForeignKeyConstraint

from master.ledger.schema.tables import UtcDateTime, metadata


def render_diagram() -> str:
    """Return the diagram: tables, columns and foreign keys."""
    tables = sorted(metadata.tables.values(), key=lambda table: table.name)
    lines = ["erDiagram"]
    for table in tables:
        lines += [
            _reference(table, key)
            for key in sorted(table.foreign_key_constraints, key=lambda key: tuple(key.column_keys))
        ]
    for table in tables:
        lines += [f"    {table.name} {{", *(_column(table, column) for column in table.columns), "    }"]
    return "\n".join(lines) + "\n"


def _reference(table: Table, key: ForeignKeyConstraint) -> str:
    (column,) = key.columns
    many = "|o" if column.primary_key and len(table.primary_key.columns) == 1 else "o{"
    one = "|o" if column.nullable else "||"
    return f'    {key.referred_table.name} {one}--{many} {table.name} : "{column.name}"'


def _column(table: Table, column: Column[object]) -> str:
    marks = [mark for mark, wanted in (("PK", column.primary_key), ("FK", bool(column.foreign_keys))) if wanted]
    text = f"        {_type_of(column)} {column.name} {', '.join(marks)}".rstrip()
    return f'{text} "may be null"' if column.nullable else text


def _type_of(column: Column[object]) -> str:
    if isinstance(column.type, UtcDateTime):
        return "moment"
    if isinstance(column.type, LargeBinary):
        return f"bytes({column.type.length})"
    if isinstance(column.type, BigInteger) or column.name == "sequence":
        return "bigint"
    if isinstance(column.type, Integer):
        return "integer"
    length = getattr(column.type, "length", None)
    name = "text" if isinstance(column.type, Unicode | UnicodeText) else type(column.type).__name__.lower()
    return f"{name}({length})" if length else name


if __name__ == "__main__":
    print(render_diagram(), end="")
