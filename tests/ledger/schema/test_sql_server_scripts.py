"""What a DBA is given: rendered from the migrations, and T-SQL throughout."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlglot
from sqlalchemy import UniqueConstraint
from sqlglot import exp

from master.ledger.schema.diagram import render_diagram
from master.ledger.schema.migrations import HEAD_REVISION
from master.ledger.schema.rendering import render_schema
from master.ledger.schema.tables import metadata

SQL = Path(__file__).resolve().parents[3] / "sql"


def statements_of(script: str) -> list[str]:
    """Split a script at the blank lines between its statements, without comments."""
    bare = re.sub(r"^--.*$", "", script, flags=re.MULTILINE)
    return [part.strip() for part in re.split(r";\s*$", bare, flags=re.MULTILINE) if part.strip()]


def test_the_schema_script_is_what_the_migrations_say() -> None:
    written = (SQL / "schema.sqlserver.sql").read_text("utf-8")
    assert written == render_schema(), "run `python -m master.ledger.schema.rendering > sql/schema.sqlserver.sql`"
    assert f"at revision {HEAD_REVISION}" in written


def test_every_statement_of_it_is_t_sql_and_may_run_again() -> None:
    tables, indexes = set(), set()
    for statement in statements_of(render_schema()):
        if statement.startswith(("SET XACT_ABORT", "UPDATE alembic_version")):
            continue
        guard, _, body = statement.partition("\n")
        assert re.fullmatch(
            r"IF (OBJECT_ID\(N'\w+', N'U'\) IS NULL|INDEXPROPERTY\(.*\) IS NULL|COL_LENGTH\(N'\w+', N'\w+'\) IS NULL"
            r"|NOT EXISTS \(.*\))",
            guard,
        )
        parsed = sqlglot.parse_one(body, dialect="tsql")
        assert not isinstance(parsed, exp.Command), body
        created = parsed.find(exp.Table)
        assert created is not None
        if isinstance(parsed, exp.Create) and parsed.kind == "TABLE":
            tables.add(created.name)
        elif isinstance(parsed, exp.Create):
            indexes.add(created.name)
    assert tables == {*metadata.tables, "alembic_version"}
    assert indexes <= tables


def test_types_are_those_that_every_t_sql_server_takes() -> None:
    types = set(re.findall(r"^    \w+ ([A-Z]+\d?)", render_schema(), flags=re.MULTILINE))
    taken = {"NVARCHAR", "VARBINARY", "DATETIME2", "BIGINT", "INTEGER", "SMALLINT", "BIT", "FLOAT", "VARCHAR"}
    assert types - {"PRIMARY", "CHECK", "FOREIGN", "UNIQUE"} <= taken


def test_a_unique_column_that_may_be_null_is_a_filtered_index() -> None:
    # SQL Server's UNIQUE takes a single NULL.
    for table in metadata.tables.values():
        for constraint in table.constraints:
            if isinstance(constraint, UniqueConstraint):
                assert not any(column.nullable for column in constraint.columns), table.name


def granted(script: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for verbs, table in re.findall(r"^GRANT ([A-Z, ]+) ON (\w+) TO fleetmaster_master;$", script, flags=re.MULTILINE):
        found.setdefault(table, set()).update(verbs.split(", "))
    return found


def test_the_role_has_the_least_rights() -> None:
    script = (SQL / "roles.sqlserver.sql").read_text("utf-8")
    rights = granted(script)
    assert set(rights) == {*metadata.tables, "alembic_version"}
    assert rights["audit_log"] == {"SELECT", "INSERT"}
    assert rights["alembic_version"] == {"SELECT"}
    assert "DENY UPDATE, DELETE ON audit_log" in script
    assert not re.search(r"\b(ALTER|CONTROL|db_owner)\b", re.sub(r"^--.*$", "", script, flags=re.MULTILINE))


@pytest.mark.parametrize("name", ["schema.sqlserver.sql", "roles.sqlserver.sql"])
def test_nothing_is_used_that_babelfish_refuses(name: str) -> None:
    script = (SQL / name).read_text("utf-8").upper()
    for refused in ("MERGE ", "CREATE OR ALTER", "WAITFOR", "DATETIMEOFFSET", "IMAGE", "NTEXT", "\nGO\n"):
        assert refused not in script


def test_the_diagram_is_what_the_tables_say() -> None:
    written = (SQL.parent / "docs" / "ledger.md").read_text("utf-8")
    assert f"```mermaid\n{render_diagram()}```\n" in written, "run `python -m master.ledger.schema.diagram`"
