"""Render the schema as T-SQL, for a DBA to read and run: ``python -m master.ledger.schema.rendering``.

Rendered from the migrations in sql/, so the two cannot differ; a test compares sql/schema.sqlserver.sql with it. Each
revision is one block: guarded by the revision that the database is at, and in a transaction. So the script may be run
again, also after an older version of it. The guard is not each object's name: some servers rename indexes.
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
-- It may be run again: a revision that is there already is passed over.
-- Filtered indexes want these two on; sqlcmd has the first one off.
SET QUOTED_IDENTIFIER ON;

SET ANSI_NULLS ON;

SET XACT_ABORT ON;

IF OBJECT_ID(N'alembic_version', N'U') IS NULL
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
"""
_BLOCK = """\
IF NOT EXISTS (SELECT 1 FROM alembic_version WHERE version_num >= N'{revision}')
BEGIN
    BEGIN TRANSACTION;
{statements}
    COMMIT TRANSACTION;
END;
"""
_REVISION = re.compile(r"^-- Running upgrade \w* *-> (\w+)$", re.MULTILINE)


def render_schema() -> str:
    """Return the whole schema as an idempotent script."""
    from alembic import command

    rendered = io.StringIO()
    config = alembic_config(make_url("mssql+pyodbc://"))
    config.output_buffer = rendered
    command.upgrade(config, "head", sql=True)
    # What comes before the first revision is Alembic's own table, which the header creates.
    _, *parts = _REVISION.split(rendered.getvalue())
    blocks = [_block(revision, body) for revision, body in zip(parts[::2], parts[1::2], strict=True)]
    return _HEADER + "\n" + "\n".join(blocks)


def _block(revision: str, body: str) -> str:
    """Return a revision's statements as one block, which does nothing where the revision is there already."""
    statements = [_indent(statement) for batch in _batches(body) if (statement := _tidy(batch))]
    return _BLOCK.format(revision=revision, statements="\n".join(statements))


def _batches(body: str) -> list[str]:
    return re.split(r"^GO$", body, flags=re.MULTILINE)


def _tidy(batch: str) -> str:
    """Return a statement without comments, blank lines and the transaction that Alembic puts around all of them."""
    bare = re.sub(r"^(--.*|BEGIN TRANSACTION;|COMMIT;?)$", "", batch, flags=re.MULTILINE).strip().rstrip(";")
    # A result set in the middle of a script: some drivers stop reading there.
    bare = bare.replace(" OUTPUT inserted.version_num", "")
    lines = (line.rstrip().replace("\t", "    ") for line in bare.splitlines())
    statement = "\n".join(line for line in lines if line)
    return statement + ";" if statement else ""


def _indent(statement: str) -> str:
    return "\n".join(f"    {line}" for line in statement.splitlines())


if __name__ == "__main__":
    sys.stdout.write(render_schema())
