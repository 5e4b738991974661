"""Backups are complete, verified before anything changes, and restored atomically."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import stat
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from handshake.redaction import Secret
from master.configuration.settings import DatabaseSettings, IdentitySettings, Settings
from master.ledger.archive import Manifest, TableDigest, _seal, check_archive
from master.ledger.database import Ledger
from master.ledger.errors import ArchiveRefused
from master.ledger.rows import audit, nodes, tokens
from master.ledger.rows.records import Outcome
from master.ledger.schema.tables import SINCE, metadata
from master.security.derivation import MasterSecret, check_master_secret, new_master_secret
from master.services.upkeep.ledger_admin import BACKUPS_KEPT, LedgerAdmin
from master.services.upkeep.restoring import import_into, restore
from tests.conftest import TurnableClock
from tests.ledger.samples import events
from tests.ledger.test_database import NOW, a_node

ROWS = 700


def settings_at(folder: Path, secret: str) -> Settings:
    return Settings(
        home=folder,
        state_dir=folder,
        database=DatabaseSettings(url=Secret(f"sqlite:///{folder / 'ledger.db'}")),
        identity=IdentitySettings(
            bots_base_path=folder,
            template_path=folder,
            guild_id=0,
            master_secret=Secret(check_master_secret(secret)),
        ),
    )


def ledger_admin(settings: Settings, ledger: Ledger, clock: TurnableClock) -> LedgerAdmin:
    return LedgerAdmin(settings, ledger, MasterSecret(settings.identity.master_secret), clock)


async def filled(settings: Settings) -> Ledger:
    """Return a ledger that contains every kind of value."""
    ledger = await Ledger.open(settings.database)
    node = a_node(name="Ätlas 🛰", bot_user_id=2**63 - 1)

    def write(connection: Connection) -> None:
        nodes.insert(connection, node)
        tokens.store(connection, node.id, b"\x00\xffsealed", at=NOW)
        events(ROWS, node.id, at=NOW)(connection)
        AuditWriter(settings).append(connection)

    await ledger.write(write)
    return ledger


class AuditWriter:
    def __init__(self, settings: Settings) -> None:
        self._chain = audit.AuditChain(MasterSecret(settings.identity.master_secret).derive("audit"))

    def append(self, connection: Connection) -> None:
        self._chain.append(
            connection,
            at=NOW,
            actor="cli:ada",
            face="cli",
            action="restart",
            node_id=None,
            outcome=Outcome.DONE,
            detail="a row",
        )


@pytest.fixture
def secret() -> str:
    return new_master_secret()


@pytest.fixture
async def archive(tmp_path: Path, secret: str, clock: TurnableClock) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    settings = settings_at(source, secret)
    ledger = await filled(settings)
    made = await ledger_admin(settings, ledger, clock).back_up()
    await ledger.close()
    return Path(made.path)


async def test_a_restored_ledger_equals_the_saved_one(
    archive: Path, tmp_path: Path, secret: str, clock: TurnableClock
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    settings = settings_at(target, secret)
    found = await asyncio.to_thread(import_into, settings, archive)
    assert found.tables["handshake_events"] == ROWS
    ledger = await Ledger.open(settings.database)
    (node,) = await ledger.read(nodes.list_active)
    assert (node.name, node.bot_user_id, node.created_at) == ("Ätlas 🛰", 2**63 - 1, NOW)
    assert await ledger.read(lambda c: tokens.load(c, node.id)) == b"\x00\xffsealed"
    verified = await ledger_admin(settings, ledger, clock).verify()
    assert (verified.ok, verified.audit_rows) == (True, 1)
    # The way back gives the same file, but for the time it was made.
    again = await ledger_admin(settings, ledger, clock).back_up(str(target / "again.zip"))
    key = MasterSecret(settings.identity.master_secret).derive("archive")
    assert check_archive(Path(again.path), key=key).tables == check_archive(archive, key=key).tables
    await ledger.close()
    with pytest.raises(ArchiveRefused, match="not empty"):
        await asyncio.to_thread(import_into, settings, archive)


NEWER_COLUMNS_OF_NODES = {"0003": 2, "0004": 1, "0005": 0}
NEWER_TABLES = {table.name for table in metadata.sorted_tables if SINCE in table.info}


def of_revision(revision: str, archive: Path, key: bytes) -> Path:
    """Write an archive over as an earlier version would have written it."""
    copy = archive.with_name(f"{revision}.zip")
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(copy, "w") as target:
        manifest = msgspec.json.decode(source.read("manifest.json"), type=Manifest)
        tables = {name: digest for name, digest in manifest.tables.items() if name not in NEWER_TABLES}
        for name in tables:
            content = source.read(f"{name}.jsonl")
            if name == "nodes":
                newer = NEWER_COLUMNS_OF_NODES[revision]
                rows = [row[: len(row) - newer] for row in map(msgspec.json.decode, content.splitlines())]
                content = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
                tables[name] = TableDigest(len(rows), hashlib.sha256(content).hexdigest())
            target.writestr(f"{name}.jsonl", content)
        manifest = msgspec.structs.replace(manifest, revision=revision, tables=tables)
        manifest = msgspec.structs.replace(manifest, seal=_seal(manifest, key))
        target.writestr("manifest.json", msgspec.json.encode(manifest))
    return copy


@pytest.mark.parametrize("revision", NEWER_COLUMNS_OF_NODES)
@pytest.mark.slow
async def test_a_backup_of_an_earlier_version_is_restored(
    archive: Path, tmp_path: Path, secret: str, revision: str
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    settings = settings_at(target, secret)
    old = of_revision(revision, archive, MasterSecret(settings.identity.master_secret).derive("archive"))
    found = await asyncio.to_thread(restore, settings, old, at=NOW)
    assert found.tables["handshake_events"] == ROWS
    ledger = await Ledger.open(settings.database)
    (node,) = await ledger.read(nodes.list_active)
    assert (node.name, node.host, node.options, node.created_at) == ("Ätlas 🛰", "", "", NOW)
    await ledger.close()


@pytest.mark.slow
async def test_restoring_replaces_a_ledger_and_keeps_it(archive: Path, tmp_path: Path, secret: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    settings = settings_at(target, secret)
    await (await Ledger.open(settings.database)).close()
    found = await asyncio.to_thread(restore, settings, archive, at=datetime(2026, 11, 21, tzinfo=UTC))
    assert found.kept.endswith("ledger.db.before-20261121-000000")
    assert Path(found.kept).exists()
    ledger = await Ledger.open(settings.database)
    assert len(await ledger.read(nodes.list_active)) == 1
    await ledger.close()
    assert not list(target.glob("*restoring*"))


@pytest.mark.slow
async def test_the_write_ahead_log_of_a_crash_is_kept_with_the_old_ledger(
    archive: Path, tmp_path: Path, secret: str
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    settings = settings_at(target, secret)
    await (await Ledger.open(settings.database)).close()
    # As after a crash: a row that is only in the write-ahead log, which must not be applied to another ledger's file.
    # The process ends without closing, because closing would checkpoint the log.
    crashing = (
        "import os, sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute(sys.argv[2]); d.commit(); os._exit(0)"
    )
    row = "INSERT INTO facts VALUES ('crash', 'x')"
    crashed = await asyncio.create_subprocess_exec(sys.executable, "-c", crashing, str(target / "ledger.db"), row)
    assert await crashed.wait() == 0
    assert (target / "ledger.db-wal").stat().st_size > 0
    found = await asyncio.to_thread(restore, settings, archive, at=NOW)
    with sqlite3.connect(found.kept) as kept, sqlite3.connect(target / "ledger.db") as present:
        assert kept.execute("SELECT count(*) FROM facts WHERE name = 'crash'").fetchone() == (1,)
        assert present.execute("SELECT count(*) FROM facts WHERE name = 'crash'").fetchone() == (0,)
        assert present.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_damaged_ledger_is_replaced_and_kept(archive: Path, tmp_path: Path, secret: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "ledger.db").write_bytes(b"SQLite format 3\0" + b"junk" * 2000)
    found = await asyncio.to_thread(restore, settings_at(target, secret), archive, at=NOW)
    assert Path(found.kept).read_bytes().endswith(b"junk")
    ledger = await Ledger.open(settings_at(target, secret).database)
    assert len(await ledger.read(nodes.list_active)) == 1
    await ledger.close()


async def test_another_secret_is_refused_before_anything_changes(archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "ledger.db").write_bytes(b"precious")
    with pytest.raises(ArchiveRefused, match="another MASTER_SECRET"):
        await asyncio.to_thread(restore, settings_at(target, new_master_secret()), archive, at=NOW)
    assert [path.name for path in target.iterdir()] == ["ledger.db"]
    assert (target / "ledger.db").read_bytes() == b"precious"


def rewritten(archive: Path, name: str, change: bytes | None) -> Path:
    """Copy an archive with one member changed, or left out."""
    copy = archive.with_name("changed.zip")
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(copy, "w") as target:
        for member in source.namelist():
            content = source.read(member)
            if member == name:
                if change is None:
                    continue
                content = content + change if not member.endswith("manifest.json") else change
            target.writestr(member, content)
    return copy


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("nodes.jsonl", b'["01X"]\n', "table nodes is damaged"),
        ("nodes.jsonl", b"no end of line", "table nodes is damaged"),
        ("handshake_events.jsonl", None, "not a readable archive"),
        ("manifest.json", None, "not a readable archive"),
        ("manifest.json", b"{}", "manifest cannot be read"),
    ],
)
@pytest.mark.slow
async def test_a_damaged_archive_is_named(
    archive: Path, tmp_path: Path, secret: str, name: str, change: bytes | None, words: str
) -> None:
    settings = settings_at(tmp_path, secret)
    with pytest.raises(ArchiveRefused, match=words):
        await asyncio.to_thread(restore, settings, rewritten(archive, name, change), at=NOW)
    assert not (tmp_path / "ledger.db").exists()


async def test_an_altered_manifest_does_not_match_its_seal(archive: Path, tmp_path: Path, secret: str) -> None:
    with zipfile.ZipFile(archive) as source:
        manifest = json.loads(source.read("manifest.json"))
    manifest["tables"]["audit_log"]["rows"] = 0
    changed = rewritten(archive, "manifest.json", json.dumps(manifest).encode())
    with pytest.raises(ArchiveRefused, match="was altered"):
        await asyncio.to_thread(restore, settings_at(tmp_path, secret), changed, at=NOW)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(offset=st.integers(0, 20_000), junk=st.binary(min_size=1, max_size=50))
async def test_a_damaged_archive_is_never_accepted(archive: Path, secret: str, offset: int, junk: bytes) -> None:
    content = bytearray(archive.read_bytes())
    offset %= len(content)
    if bytes(content[offset : offset + len(junk)]) == junk:
        return
    content[offset : offset + len(junk)] = junk
    damaged = archive.with_name("damaged.zip")
    damaged.write_bytes(content)
    key = MasterSecret(Secret(check_master_secret(secret))).derive("archive")
    whole = check_archive(archive, key=key).tables
    try:
        assert check_archive(damaged, key=key).tables == whole
    except ArchiveRefused:
        return


async def test_a_backup_is_private_and_the_oldest_are_removed(
    tmp_path: Path, secret: str, clock: TurnableClock
) -> None:
    settings = settings_at(tmp_path, secret)
    ledger = await Ledger.open(settings.database)
    admin = ledger_admin(settings, ledger, clock)
    for _ in range(BACKUPS_KEPT + 3):
        made = Path((await admin.back_up()).path)
        clock.turn(60)
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert len(list(made.parent.iterdir())) == BACKUPS_KEPT
    await ledger.close()


@pytest.mark.slow
async def test_a_backup_is_a_consistent_snapshot_while_others_write(archive: Path, tmp_path: Path, secret: str) -> None:
    settings = settings_at(archive.parents[1], secret)
    ledger = await Ledger.open(settings.database)
    chain, stop = AuditWriter(settings), asyncio.Event()

    async def write_on() -> None:
        while not stop.is_set():
            await ledger.write(chain.append)

    writing = asyncio.create_task(write_on())
    for number in range(5):
        made = await ledger_admin(settings, ledger, TurnableClock()).back_up(str(tmp_path / f"{number}.zip"))
        target = tmp_path / f"target-{number}"
        target.mkdir()
        elsewhere = settings_at(target, secret)
        await asyncio.to_thread(import_into, elsewhere, Path(made.path))
        copy = await Ledger.open(elsewhere.database)
        assert (await ledger_admin(elsewhere, copy, TurnableClock()).verify()).ok
        await copy.close()
    stop.set()
    await writing
    await ledger.close()
