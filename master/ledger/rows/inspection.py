"""Size and integrity of the whole ledger."""

from __future__ import annotations

from sqlalchemy import Connection, Select, Table, func, literal, select, text

from master.ledger.schema.tables import metadata


def count_rows(connection: Connection, most: int | None = None) -> dict[str, int]:
    """Return the number of rows of each table.

    Parameters
    ----------
    most
        Stop counting here: a result of ``most`` means that many or more. Counting millions reads all of them.
    """
    return {table.name: connection.execute(_counting(table, most)).scalar_one() for table in metadata.sorted_tables}


def _counting(table: Table, most: int | None) -> Select[int]:
    if most is None:
        return select(func.count()).select_from(table)
    first = select(literal(1).label("one")).select_from(table).limit(most).subquery()
    return select(func.count()).select_from(first)


def find_faults(connection: Connection) -> list[str]:
    """Run the database's own integrity checks of file and references; empty when there are no faults."""
    if connection.dialect.name != "sqlite":
        # DBCC CHECKDB is for a DBA to run, and needs more permissions than the master should have.
        return []
    damage = connection.execute(text("PRAGMA integrity_check(20)")).scalars().all()
    faults = [f"file: {line}" for line in damage if line != "ok"]
    orphans = connection.execute(text("PRAGMA foreign_key_check")).all()
    return faults + [f"{row[0]}: row {row[1]} refers to a missing row of {row[2]}" for row in orphans[:20]]
