"""The ledger on a real SQLite file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import threading
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from msgspec.structs import replace
from sqlalchemy import Connection, Delete, Update, create_engine, inspect
from sqlalchemy.dialects import mssql
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable

from handshake.redaction import Secret
from master.configuration.settings import DatabaseSettings
from master.errors import FleetError
from master.ledger.database import Ledger
from master.ledger.errors import (
    Conflict,
    Fenced,
    LedgerCorrupt,
    LedgerError,
    LedgerReadOnly,
    LedgerTooNew,
    LedgerUnavailable,
)
from master.ledger.rows import audit, error_events, handshake_events, licences, nodes, tokens
from master.ledger.rows.audit import AuditChain
from master.ledger.rows.audit_head import AuditHead
from master.ledger.rows.records import DesiredState, ErrorEvent, HandshakeEvent, Lifecycle, Node, Outcome, ReadinessKind
from master.ledger.schema.migrations import HEAD_REVISION, alembic_config, migrate
from master.ledger.schema.tables import audit_log, metadata
from master.ledger.writer.entries import DesiredStateSet

NOW = datetime(2026, 11, 21, 1, 2, 3, 456000, tzinfo=UTC)


def a_node(node_id: str = "01A", name: str = "Atlas", bot_user_id: int = 2**62) -> Node:
    return Node(
        id=node_id,
        name=name,
        folder=name,
        bot_user_id=bot_user_id,
        tags=("music", "beta"),
        created_at=NOW,
        updated_at=NOW,
    )


async def test_a_node_is_read_back_as_it_was_written(ledger: Ledger) -> None:
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    assert await ledger.read(lambda c: nodes.get(c, "01A")) == a_node()


async def test_names_are_unique_without_regard_to_case_until_a_node_is_removed(ledger: Ledger) -> None:
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    with pytest.raises(Conflict):
        await ledger.write(lambda c: nodes.insert(c, a_node("01B", "ATLAS", 5)))
    with pytest.raises(Conflict):
        await ledger.write(lambda c: nodes.insert(c, a_node("01B", "Borealis")))
    await ledger.write(lambda c: nodes.mark_removed(c, "01A", host="", at=NOW))
    await ledger.write(lambda c: nodes.insert(c, a_node("01B", "ATLAS")))
    assert [node.id for node in await ledger.read(nodes.list_active)] == ["01B"]


async def test_programs_without_a_bot_and_shared_folders_are_no_conflict(ledger: Ledger) -> None:
    for number in range(2):
        program = replace(a_node(f"01{number}", f"web{number}", 0), folder="/srv/site")
        await ledger.write(lambda c, program=program: nodes.insert(c, program))  # type: ignore[misc]
    assert len(await ledger.read(nodes.list_active)) == 2


async def test_a_node_is_changed_and_read_back_and_keeps_what_is_not_the_operators(ledger: Ledger) -> None:
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    await ledger.write(lambda c: nodes.insert(c, a_node("01B", "Borealis", 5)))
    await ledger.write(lambda c: nodes.set_flag(c, "01A", "replayed", host="", at=NOW))
    wanted = replace(
        a_node(), name="Atlas2", folder="/srv/x", entry="main.py", bot_user_id=7, tags=("a",), priority=5,
        readiness=ReadinessKind.PROCESS, options='{"ARGS":"-v"}', desired_state=DesiredState.RUNNING,
    )  # fmt: skip
    await ledger.write(lambda c: nodes.change(c, wanted))
    found = await ledger.read(lambda c: nodes.find_by_name(c, "ATLAS2"))
    flagged = {"flagged_at": NOW, "flag_reason": "replayed"}
    assert found == replace(wanted, desired_state=DesiredState.STOPPED, **flagged)
    with pytest.raises(Conflict):
        await ledger.write(lambda c: nodes.change(c, replace(wanted, name="borealis")))
    with pytest.raises(Fenced):
        await ledger.write(lambda c: nodes.change(c, replace(wanted, host="elsewhere")))


async def test_a_write_that_fails_fails_alone_and_leaves_nothing(ledger: Ledger) -> None:
    def half(connection: Connection) -> None:
        nodes.insert(connection, a_node("01X", "half", 7))
        raise RuntimeError("in the middle")

    outcomes = await asyncio.gather(
        ledger.write(lambda c: nodes.insert(c, a_node("01A", "one", 1))),
        ledger.write(half),
        ledger.write(lambda c: nodes.insert(c, a_node("01B", "two", 2))),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), RuntimeError, type(None)]
    assert [node.name for node in await ledger.read(nodes.list_active)] == ["one", "two"]


async def test_many_writers_share_transactions(ledger: Ledger) -> None:
    await ledger.write(lambda c: nodes.insert(c, a_node()))

    async def writer(number: int) -> None:
        for step in range(20):
            event = HandshakeEvent(
                id=f"{number:03}{step:03}",
                at=NOW,
                node_id="01A",
                message_type="heartbeat",
                outcome="accepted",
                transport="local",
            )
            await ledger.write(lambda c, event=event: handshake_events.insert(c, event))  # type: ignore[misc]

    await asyncio.gather(*(writer(number) for number in range(32)))
    assert len(await ledger.read(lambda c: handshake_events.recent(c, limit=1000))) == 640
    assert ledger.statistics.groups < ledger.statistics.writes / 2


async def test_queued_writes_are_written_when_the_ledger_closes(ledger_settings: DatabaseSettings) -> None:
    ledger = await Ledger.open(ledger_settings)
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    for number in range(500):
        desired = DesiredState.RUNNING if number % 2 else DesiredState.STOPPED
        ledger.write_soon(DesiredStateSet(node_id="01A", desired=desired, at=NOW))
    await ledger.close()
    again = await Ledger.open(ledger_settings)
    node = await again.read(lambda c: nodes.get(c, "01A"))
    assert node is not None
    assert node.desired_state is DesiredState.RUNNING
    await again.close()


async def test_foreign_keys_are_enforced(ledger: Ledger) -> None:
    with pytest.raises(Conflict):
        await ledger.write(lambda c: tokens.store(c, "01NOBODY", b"sealed", at=NOW))


async def test_the_reader_cannot_write(ledger: Ledger) -> None:
    # SQLite refuses the write; a server rolls it back.
    with contextlib.suppress(LedgerError):
        await ledger.read(lambda c: nodes.insert(c, a_node()))
    assert await ledger.read(nodes.list_active) == []


async def test_the_same_error_is_one_row_with_a_count(ledger: Ledger) -> None:
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    for number in range(3):
        event = ErrorEvent(
            id=f"0{number}", at=NOW, node_id="01A", source="event", fingerprint="f" * 16, summary="boom", count=2
        )
        await ledger.write(lambda c, event=event: error_events.record(c, event))  # type: ignore[misc]
    (row,) = await ledger.read(error_events.recent)
    assert (row.count, row.summary) == (6, "boom")


async def test_the_file_is_private(tmp_path: Path) -> None:
    ledger = await Ledger.open(settings_for(tmp_path / "new.db"))
    await ledger.close()
    assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) == 0o600


def settings_for(path: Path) -> DatabaseSettings:
    return DatabaseSettings(url=Secret(f"sqlite:///{path}"))


async def refusal_of(path: Path) -> FleetError:
    with pytest.raises(LedgerError) as refused:
        await Ledger.open(settings_for(path))
    assert refused.value.hint
    return refused.value


async def test_a_file_that_is_not_a_database_is_reported_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(b"\xff\xd8\xff" * 100)
    assert isinstance(await refusal_of(path), LedgerCorrupt)
    assert path.read_bytes() == b"\xff\xd8\xff" * 100


async def test_a_damaged_database_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"SQLite format 3\x00" + os.urandom(8192))
    assert isinstance(await refusal_of(path), LedgerCorrupt)


async def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    assert isinstance(await refusal_of(tmp_path / "no" / "ledger.db"), LedgerUnavailable)


async def test_a_ledger_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "folder.db"
    path.mkdir()  # even root, as which tests may run, cannot open a folder for writing
    assert isinstance(await refusal_of(path), LedgerReadOnly)


async def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    ledger = await Ledger.open(settings_for(tmp_path / "ledger.db"))
    await ledger.close()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert isinstance(await refusal_of(tmp_path / "ledger.db"), LedgerTooNew)


def test_migrations_and_tables_are_the_same_schema(tmp_path: Path) -> None:
    url = make_url(f"sqlite:///{tmp_path / 'ledger.db'}")
    migrate(url)
    engine = create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    command.downgrade(alembic_config(url), "base")
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    engine.dispose()


def _schema(path: Path) -> list[tuple[str, str | None]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


async def test_a_migration_that_fails_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = await Ledger.open(settings_for(path))
    for node_id, name in (("01A", "one"), ("01B", "two")):
        node = replace(a_node(node_id, name, bot_user_id=0), folder=name)
        await ledger.write(partial(nodes.insert, node=node))
    await ledger.close()
    before, config = _schema(path), alembic_config(make_url(f"sqlite:///{path}"))
    for _ in range(2):
        with pytest.raises(IntegrityError):  # an earlier version knew no nodes without a bot
            command.downgrade(config, "0004")
        assert _schema(path) == before


def test_the_head_that_the_program_knows_is_the_newest() -> None:
    script = ScriptDirectory.from_config(alembic_config(make_url("sqlite://")))
    assert script.get_current_head() == HEAD_REVISION


def test_every_table_compiles_for_sql_server() -> None:
    for table in metadata.sorted_tables:
        rendered = str(CreateTable(table).compile(dialect=mssql.dialect()))  # type: ignore[no-untyped-call]
        assert "CREATE TABLE" in rendered
        assert "NVARCHAR(max)" not in rendered or table.name == "error_events"


async def _audited(ledger: Ledger, chain: AuditChain, count: int) -> None:
    for number in range(count):
        await ledger.write(
            lambda c, number=number: chain.append(  # type: ignore[misc]
                c,
                at=NOW,
                actor="cli:root",
                face="cli",
                action="restart",
                node_id="01A",
                outcome=Outcome.DONE,
                detail=f"number {number}",
            )
        )


async def test_an_untouched_audit_log_verifies(ledger: Ledger) -> None:
    chain = AuditChain(b"k" * 32)
    await _audited(ledger, chain, 5)
    assert await ledger.read(chain.verify) is None
    assert (await ledger.read(audit.search))[0].detail == "number 4"
    assert await ledger.read(AuditChain(b"x" * 32).verify) is not None


@pytest.mark.parametrize(
    ("statement", "sequence"),
    [
        (audit_log.update().values(actor="cli:nobody"), 3),
        (audit_log.update().values(outcome="failed"), 2),
        (audit_log.delete(), 4),
        (audit_log.update().values(chain=b"?" * 32), 1),
    ],
)
async def test_the_first_altered_row_is_detected(ledger: Ledger, statement: Update | Delete, sequence: int) -> None:
    chain = AuditChain(b"k" * 32)
    await _audited(ledger, chain, 5)
    await ledger.write(lambda c: c.execute(statement.where(audit_log.c.sequence == sequence)).close())
    fault = await ledger.read(chain.verify)
    assert fault is not None
    assert fault.sequence == sequence


async def test_a_truncated_log_is_detected_by_its_head(ledger_settings: DatabaseSettings) -> None:
    chain = AuditChain(b"k" * 32)
    ledger = await Ledger.open(ledger_settings, chain=chain)
    await _audited(ledger, chain, 5)
    head = chain.head
    assert head is not None
    assert head.sequence == 5
    assert await ledger.read(lambda c: chain.verify(c, head)) is None
    with pytest.raises(RuntimeError):
        await ledger.write(lambda c: _append_and_fail(c, chain))
    assert chain.head == head  # a rolled-back row never counts
    await ledger.write(lambda c: c.execute(audit_log.delete().where(audit_log.c.sequence > 3)).close())
    assert await ledger.read(AuditChain(b"k" * 32).verify) is None
    fault = await ledger.read(lambda c: chain.verify(c, head))
    assert fault is not None
    assert (fault.sequence, fault.problem) == (4, "the log ends before row 4, and there were 5")
    # The log has grown again, by somebody with an earlier key: the row differs.
    await _audited(ledger, chain, 3)
    fault = await ledger.read(lambda c: chain.verify(c, AuditHead(5, b"?" * 32)))
    assert fault is not None
    assert fault.sequence == 5
    await ledger.close()


def _append_and_fail(connection: Connection, chain: AuditChain) -> None:
    chain.append(
        connection, at=NOW, actor="cli:root", face="cli", action="stop", node_id=None, outcome=Outcome.DONE, detail=""
    )
    raise RuntimeError("rolled back")


async def test_swapped_rows_are_detected(ledger: Ledger) -> None:
    chain = AuditChain(b"k" * 32)
    await _audited(ledger, chain, 3)

    def swap(connection: Connection) -> None:
        for before, after in ((1, 101), (2, 1), (101, 2)):
            connection.execute(audit_log.update().where(audit_log.c.sequence == before).values(sequence=after))

    await ledger.write(swap)
    fault = await ledger.read(chain.verify)
    assert fault is not None
    assert fault.sequence == 1


async def test_a_removed_node_keeps_its_history_and_loses_its_licence(ledger: Ledger) -> None:
    await ledger.write(lambda c: nodes.insert(c, a_node()))
    await ledger.write(lambda c: nodes.mark_removed(c, "01A", host="", at=NOW))
    await ledger.write(lambda c: licences.revoke_of_node(c, "01A"))
    node = await ledger.read(lambda c: nodes.get(c, "01A"))
    assert node is not None
    assert node.lifecycle is Lifecycle.REMOVED


@pytest.mark.parametrize("turns", range(5))
async def test_a_read_that_is_cancelled_as_its_answer_comes_is_cancelled(ledger: Ledger, turns: int) -> None:
    answered = threading.Event()

    def query(_connection: object) -> str:
        answered.set()
        return "answer"

    reading = asyncio.create_task(ledger.read(query))
    await asyncio.sleep(0)
    # The loop stands still until the answer is on its way, so that the cancellation meets it at each of its stages.
    assert answered.wait(10)
    time.sleep(0.05)  # noqa: ASYNC251 - as said
    for _ in range(turns):
        await asyncio.sleep(0)
    was_waiting = reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled() == was_waiting
