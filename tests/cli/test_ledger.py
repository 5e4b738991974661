"""The ledger at the command line and in Discord: audit, verify, backup, restore; with and without a master."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from master.ledger.schema.migrations import HEAD_REVISION
from sandbox import permissions
from tests.cli.test_commands import fleet

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "fleet"
    assert fleet("init", "--home", str(made), "--yes").returncode == 0
    return made


@pytest.mark.slow
def test_without_a_master_the_ledger_itself_is_opened(home: Path) -> None:
    status = json.loads(fleet("ledger", "status", "--json", home=home).stdout)
    assert (status["dialect"], status["revision"], status["rows"]["nodes"]) == ("sqlite", HEAD_REVISION, 0)
    assert "nothing was done yet" in fleet("audit", "show", home=home).stdout
    assert fleet("audit", "verify", home=home).returncode == 0
    made = json.loads(fleet("backup", "--json", home=home).stdout)
    assert Path(made["path"]).parent == home / "state" / "backups"
    taken = fleet("backup", "--file", made["path"], home=home)
    assert taken.returncode == 1
    assert "is not the absolute path of a new file" in taken.stderr


@pytest.mark.slow
def test_a_restore_asks_and_names_what_is_missing(home: Path) -> None:
    assert fleet("restore", "nowhere.zip", "--yes", home=home).returncode == 1
    backup = json.loads(fleet("backup", "--json", home=home).stdout)["path"]
    assert fleet("restore", backup, home=home).returncode == 2
    done = fleet("restore", backup, "--yes", home=home)
    assert done.returncode == 0
    assert "counts and hashes agree" in done.stdout
    assert "ledger.db.before-" in done.stdout
    # Only an empty ledger is filled: the one that was just restored knows of that.
    assert fleet("ledger", "import", backup, home=home).returncode == 8
    assert outcomes(home) == [("import", "failed"), ("restore", "done")]
    (home / "state" / "ledger.db").unlink()
    assert fleet("ledger", "import", backup, home=home).returncode == 0
    assert actions(home) == ["import"]
    assert fleet("backup", home=home).returncode == 0
    assert actions(home) == ["backup", "import"]
    (home / "junk.zip").write_bytes(b"PK junk")
    refused = fleet("restore", str(home / "junk.zip"), "--yes", "--json", home=home)
    assert refused.returncode == 8
    assert json.loads(refused.stdout)["error"]["code"] == "archive_refused"
    assert outcomes(home)[0] == ("restore", "failed")
    assert fleet("audit", "verify", home=home).returncode == 0


@pytest.mark.slow
def test_a_restore_that_the_system_refuses_is_recorded_as_failed(home: Path) -> None:
    backup = json.loads(fleet("backup", "--json", home=home).stdout)["path"]
    # Where the new ledger is built, something is in the way that no unlink removes.
    (home / "state" / "ledger.db.restoring").mkdir()
    refused = fleet("restore", backup, "--yes", "--json", home=home)
    assert json.loads(refused.stdout)["error"]["code"] == "file_failed"
    assert outcomes(home) == [("restore", "failed"), ("backup", "done")]


def actions(home: Path) -> list[str]:
    return [row["action"] for row in json.loads(fleet("audit", "show", "--json", home=home).stdout)]


def outcomes(home: Path) -> list[tuple[str, str]]:
    shown = json.loads(fleet("audit", "show", "--json", home=home).stdout)
    return [(row["action"], row["outcome"]) for row in shown]


def revision_of(home: Path) -> str:
    with sqlite3.connect(home / "state" / "ledger.db") as ledger:
        return str(ledger.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.mark.slow
def test_looking_at_an_older_ledger_does_not_upgrade_it(home: Path) -> None:
    assert fleet("backup", home=home).returncode == 0
    assert fleet("ledger", "migrate", "--to", "0002", "--yes", home=home).returncode == 0
    refused = fleet("audit", "show", "--json", home=home)
    assert refused.returncode == 8
    error = json.loads(refused.stdout)["error"]
    assert error["code"] == "ledger_too_old"
    assert "fleet ledger migrate" in error["hint"]
    assert revision_of(home) == "0002"


@pytest.mark.slow
def test_a_migration_that_fails_is_recorded_as_failed(home: Path) -> None:
    assert fleet("backup", home=home).returncode == 0
    with sqlite3.connect(home / "state" / "ledger.db") as ledger:
        # What the way back from 0003 drops first is not there.
        ledger.execute("DROP INDEX ix_error_events_last_at")
    assert fleet("ledger", "migrate", "--to", "0002", "--yes", home=home).returncode == 8
    with sqlite3.connect(home / "state" / "ledger.db") as ledger:
        rows = ledger.execute("SELECT action, outcome FROM audit_log ORDER BY sequence").fetchall()
    assert rows == [("backup", "done"), ("migrate", "failed")]


@pytest.mark.slow
def test_a_migration_goes_back_and_forth_and_keeps_a_copy(home: Path) -> None:
    assert fleet("ledger", "status", home=home).returncode == 0
    back = fleet("ledger", "migrate", "--to", "0001", "--yes", home=home)
    assert back.returncode == 0, back.stderr
    assert f"ledger.db.revision-{HEAD_REVISION}" in back.stdout
    with sqlite3.connect(home / "state" / "ledger.db") as ledger:
        assert "giveaways" not in {row[0] for row in ledger.execute("SELECT name FROM sqlite_master")}
    assert fleet("ledger", "migrate", home=home).returncode == 0
    assert (home / "state" / "ledger.db.revision-0001").exists()
    assert fleet("ledger", "migrate", "--to", "9999", "--yes", home=home).returncode == 8
    assert json.loads(fleet("ledger", "status", "--json", home=home).stdout)["revision"] == HEAD_REVISION
    assert outcomes(home) == [("migrate", "failed"), ("migrate", "done"), ("migrate", "done")]
    assert fleet("audit", "verify", home=home).returncode == 0


@pytest.mark.slow
def test_a_damaged_ledger_is_told(home: Path) -> None:
    assert fleet("ledger", "status", home=home).returncode == 0
    with sqlite3.connect(home / "state" / "ledger.db") as ledger:
        ledger.execute("PRAGMA foreign_keys=OFF")
        ledger.execute("INSERT INTO node_tokens (node_id, sealed, updated_at) VALUES ('nobody', x'00', '2026-11-21')")
    told = fleet("ledger", "verify", home=home)
    assert told.returncode == 8
    assert "node_tokens: row" in told.stdout


@pytest.mark.slow
async def test_with_a_master_the_same_commands_ask_it(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")

    def run(*arguments: str) -> tuple[int, str]:
        done = fleet(*arguments, home=stage.home)
        return done.returncode, done.stdout + done.stderr

    assert (await asyncio.to_thread(run, "restart", "atlas"))[0] == 0
    code, shown = await asyncio.to_thread(run, "audit", "show", "--node", "atlas")
    assert code == 0
    assert "restart" in shown
    code, shown = await asyncio.to_thread(run, "audit", "show", "--action", "restart", "--json")
    (row,) = json.loads(shown)
    assert (row["action"], row["outcome"], row["detail"]) == ("restart", "done", "atlas")
    assert "sound" in (await asyncio.to_thread(run, "ledger", "verify"))[1]
    code, shown = await asyncio.to_thread(run, "backup", "--json")
    assert json.loads(shown)["rows"] > 3
    # What replaces the ledger needs it to itself.
    for command in (("restore", json.loads(shown)["path"], "--yes"), ("ledger", "migrate")):
        code, told = await asyncio.to_thread(run, *command)
        assert code == 7, told
    token = stage.bots["atlas"].token
    assert token.encode() not in Path(json.loads(shown)["path"]).read_bytes()


@pytest.mark.slow
async def test_the_audit_log_in_discord(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    shown = await stage.operator.runs_command(stage.office, stage.master_bot, "fleet audit", {"node": "atlas"})
    await shown.wait_until(lambda i: bool(i.embeds))
    assert shown.ephemeral
    assert "atlas" in shown.embeds[0]["description"]
    assert "none altered or removed" in shown.embeds[0]["footer"]["text"]
    kept = await stage.operator.runs_command(stage.office, stage.master_bot, "fleet backup")
    await kept.wait_until(lambda i: bool(i.embeds))
    assert kept.embeds[0]["title"].endswith("The ledger is backed up")
    stranger = stage.sandbox.create_human("eve")
    stage.guild.add_member(stranger, [stage.guild.create_role("managers", permissions.MANAGE_GUILD)])
    refused = await stranger.runs_command(stage.office, stage.master_bot, "fleet audit")
    await refused.wait_until(lambda i: bool(i.embeds))
    assert "atlas" not in str(refused.embeds)


@pytest.mark.slow
async def test_an_audit_log_that_is_cut_short_is_noticed(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    await stage.act("stop", ["atlas"])
    assert stage.master is not None
    stage.master.process.terminate()
    await stage.master.process.wait()
    whole = await asyncio.to_thread(fleet, "audit", "verify", home=stage.home)
    assert whole.returncode == 0, whole.stdout
    with sqlite3.connect(stage.home / "state" / "ledger.db") as ledger:
        ledger.execute("DELETE FROM audit_log WHERE sequence = (SELECT max(sequence) FROM audit_log)")
    cut = await asyncio.to_thread(fleet, "audit", "verify", home=stage.home)
    assert cut.returncode == 8
    assert "the log ends before row 2, and there were 2" in cut.stdout
    # One more action, and a restart, do not make it sound again; what was missing stays on record.
    await stage.start_master()
    assert [result.ok for result in await stage.act("start", ["atlas"])] == [True]
    status = await asyncio.to_thread(fleet, "audit", "verify", home=stage.home)
    assert (status.returncode, "row 2 is missing" in status.stdout) == (8, True)
    assert "fleet audit acknowledge" in status.stdout
    refused = await asyncio.to_thread(fleet, "audit", "acknowledge", home=stage.home)
    assert refused.returncode == 2
    done = await asyncio.to_thread(fleet, "audit", "acknowledge", "--yes", home=stage.home)
    assert "acknowledged: row 2 is missing at the end of the audit log" in done.stdout
    assert (await asyncio.to_thread(fleet, "audit", "verify", home=stage.home)).returncode == 0
    again = await asyncio.to_thread(fleet, "audit", "acknowledge", "--yes", home=stage.home)
    assert (again.returncode, "no alarm of the audit log stands" in again.stderr) == (1, True)
    rows = json.loads((await asyncio.to_thread(fleet, "audit", "show", "--json", home=stage.home)).stdout)
    assert [row["action"] for row in rows][1:4] == ["audit_acknowledge", "start", "audit_alarm"]
    assert any("audit log is not as it was left" in str(m.embeds) for m in stage.log.messages)
