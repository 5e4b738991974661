"""Render the schema as T-SQL, for a DBA to read and run: ``python -m master.ledger.schema.rendering``.

Rendered from the migrations in sql/, so the two cannot differ; a test compares sql/schema.sqlserver.sql with it. Each
statement is idempotent, so the script may be run again, also after an older version of it.
"""

from __future__ import annotations

import io
import re
import sys

from sqlalchemy.engine import make_url

from master.ledger.schema.migrations import HEAD_REVISION, alembic_config

_HEADER = f"""\
-- The ledger of Fleetmaster on SQL Server 2017 or later, at revision {HEAD_REVISION}.
-- Rendered from the migrations by `python -m master.ledger.schema.rendering`; do not edit.
-- It may be run again: what is there already is left as it is.
SET XACT_ABORT ON;
"""
_CREATE_TABLE = re.compile(r"CREATE TABLE (\w+)")
_ADD_COLUMN = re.compile(r"ALTER TABLE (\w+) ADD (?!CONSTRAINT)(\w+) ")
_CREATE_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX (\w+) ON (\w+)")


def render_schema() -> str:
    """Return the whole schema as an idempotent script."""
    from alembic import command

    rendered = io.StringIO()
    config = alembic_config(make_url("mssql+pyodbc://"))
    config.output_buffer = rendered
    command.upgrade(config, "head", sql=True)
    batches = (batch.strip().rstrip(";") for batch in re.split(r"^GO$", rendered.getvalue(), flags=re.MULTILINE))
    statements = [guarded for batch in batches if (guarded := _guard(batch))]
    return _HEADER + "\n" + "\n\n".join(statements) + "\n\n" + _VERSION.format(revision=HEAD_REVISION)


def _guard(batch: str) -> str:
    """Make one statement idempotent; returns an empty string for those of Alembic's own table."""
    statement = re.sub(r"^(--.*|BEGIN TRANSACTION;|COMMIT;?)$", "", batch, flags=re.MULTILINE).strip()
    table, index = _CREATE_TABLE.match(statement), _CREATE_INDEX.match(statement)
    if table is not None:
        return f"IF OBJECT_ID(N'{table[1]}', N'U') IS NULL\n{_tidy(statement)};"
    if index is not None:
        return f"IF INDEXPROPERTY(OBJECT_ID(N'{index[2]}'), N'{index[1]}', 'IndexID') IS NULL\n{statement};"
    column = _ADD_COLUMN.match(statement)
    if column is not None:
        return f"IF COL_LENGTH(N'{column[1]}', N'{column[2]}') IS NULL\n{statement};"
    if not statement or "alembic_version" in statement:
        return ""
    raise ValueError(f"this statement cannot be made idempotent: {statement[:80]}")


def _tidy(statement: str) -> str:
    lines = (line.rstrip() for line in statement.splitlines())
    return "\n".join(line.replace("\t", "    ") for line in lines if line)


_VERSION = """\
IF NOT EXISTS (SELECT 1 FROM alembic_version)
INSERT INTO alembic_version (version_num) VALUES (N'{revision}');

UPDATE alembic_version SET version_num = N'{revision}' WHERE version_num < N'{revision}';
"""


if __name__ == "__main__":
    sys.stdout.write(render_schema())
