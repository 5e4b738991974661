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
    bare = re.sub(r"^--.*\n", "", script, flags=re.MULTILINE)
    return [part.strip() for part in bare.split("\n\n") if part.strip()]


def test_the_schema_script_is_what_the_migrations_say() -> None:
    written = (SQL / "schema.sqlserver.sql").read_text("utf-8")
    assert written == render_schema(), "run `python -m master.ledger.schema.rendering > sql/schema.sqlserver.sql`"
    assert f"at revision {HEAD_REVISION}" in written


BLOCK = re.compile(
    r"IF NOT EXISTS \(SELECT 1 FROM alembic_version WHERE version_num >= N'(\d+)'\)\n"
    r"BEGIN\n    BEGIN TRANSACTION;\n(.*)\n    COMMIT TRANSACTION;\nEND;",
    re.DOTALL,
)


def blocks_of(script: str) -> dict[str, list[str]]:
    """Return the statements of each revision."""
    found = (BLOCK.fullmatch(statement) for statement in statements_of(script))
    return {
        block[1]: [part.strip() for part in re.split(r";$", block[2], flags=re.MULTILINE) if part.strip()]
        for block in found
        if block is not None
    }


def test_every_revision_is_guarded_by_itself_and_all_or_nothing() -> None:
    head, *blocks = re.split(r"(?=IF NOT EXISTS)", render_schema())
    assert re.findall(r"^SET (\w+) ON;$", head, flags=re.MULTILINE) == [
        "QUOTED_IDENTIFIER",
        "ANSI_NULLS",
        "XACT_ABORT",
    ]
    found = blocks_of(render_schema())
    assert len(found) == len(blocks)
    assert list(found) == [f"{number:04}" for number in range(1, int(HEAD_REVISION) + 1)]
    for revision, statements in found.items():
        # Each block leaves its own revision behind, so that it is passed over the next time.
        assert re.search(rf"alembic_version.*'{revision}'", statements[-1]), statements[-1]


def test_every_statement_of_it_is_t_sql() -> None:
    tables, indexes = {"alembic_version"}, set()
    for statement in (statement for statements in blocks_of(render_schema()).values() for statement in statements):
        parsed = sqlglot.parse_one(statement, dialect="tsql")
        assert not isinstance(parsed, exp.Command), statement
        created = parsed.find(exp.Table)
        assert created is not None
        if isinstance(parsed, exp.Create) and parsed.kind == "TABLE":
            tables.add(created.name)
        elif isinstance(parsed, exp.Create):
            indexes.add(created.name)
    assert tables == {*metadata.tables, "alembic_version"}
    assert indexes <= tables


def test_no_later_statement_of_a_block_uses_what_an_earlier_one_adds_to_a_table() -> None:
    # A server compiles a block as a whole: a column that is not there yet would be an error before anything ran.
    for statements in blocks_of(render_schema()).values():
        added = [found for statement in statements if (found := re.match(r"ALTER TABLE (\w+) ADD (\w+)", statement))]
        for table, column in (found.groups() for found in added):
            of_table = [
                one for one in statements if re.search(rf"\b{table}\b", one) and not one.startswith("CREATE TABLE")
            ]
            assert sum(re.search(rf"\b{column}\b", statement) is not None for statement in of_table) == 1


def run_like_a_server(script: str, present: str | None) -> list[str]:
    """Return the revisions whose blocks a server at a revision carries out."""
    return [revision for revision in blocks_of(script) if present is None or not present >= revision]


@pytest.mark.parametrize("present", [None, "0001", "0002", "0003", HEAD_REVISION])
def test_what_is_there_is_passed_over(present: str | None) -> None:
    done = run_like_a_server(render_schema(), present)
    assert done == [f"{number:04}" for number in range(int(present or 0) + 1, int(HEAD_REVISION) + 1)]


def test_types_are_those_that_every_t_sql_server_takes() -> None:
    types = set(re.findall(r"^        \w+ ([A-Z]+\d?)", render_schema(), flags=re.MULTILINE))
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
    # Within EXEC: a server that refuses DENY refuses a script that holds one before it runs anything of it.
    (denied,) = re.findall(r"^.*\bDENY .*$", re.sub(r"^--.*$", "", script, flags=re.MULTILINE), flags=re.MULTILINE)[:1]
    assert denied.strip() == "EXEC (N'DENY UPDATE, DELETE ON audit_log TO fleetmaster_master');"
    assert not re.search(r"\b(ALTER|CONTROL|db_owner)\b", re.sub(r"^--.*$", "", script, flags=re.MULTILINE))


@pytest.mark.parametrize("name", ["schema.sqlserver.sql", "roles.sqlserver.sql"])
def test_nothing_is_used_that_babelfish_refuses(name: str) -> None:
    script = (SQL / name).read_text("utf-8").upper()
    for refused in ("MERGE ", "CREATE OR ALTER", "WAITFOR", "DATETIMEOFFSET", "IMAGE", "NTEXT", "\nGO\n"):
        assert refused not in script


def test_the_diagram_is_what_the_tables_say() -> None:
    written = (SQL.parent / "docs" / "ledger.md").read_text("utf-8")
    assert f"```mermaid\n{render_diagram()}```\n" in written, "run `python -m master.ledger.schema.diagram`"
