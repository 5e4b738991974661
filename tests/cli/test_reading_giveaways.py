"""Giveaways on the command line: without a master, in 80 columns, as JSON; and the check of a draw's file."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from master.configuration.loading import load_settings
from master.errors import ExitCode
from master.ledger.database import Ledger
from master.ledger.rows import giveaways
from master.ledger.rows.records import Giveaway, GiveawayEntry, GiveawayWinner
from master.security.derivation import new_master_secret
from master.services.core.auditing import audit_chain_of
from master.services.people.giveaway_draw import entries_hash, pick, seed_hash
from tests.hostile.conversations import Told, typed

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SEED = b"s" * 32
ENTRIES = [(10**17 + number, 1 + number % 2) for number in range(9)]
DRAWN, OPEN = "01M0000000000000000000000A", "01M0000000000000000000000B"


@pytest.fixture
async def home(tmp_path: Path, empty_ledger: Path) -> Path:
    """Return the folder of a fleet that had two giveaways, and has no master now."""
    (tmp_path / "state").mkdir(mode=0o700)
    shutil.copy(empty_ledger, tmp_path / "state" / "ledger.db")
    (tmp_path / "config.py").write_text(
        'import os\nIDENTITY = {"TEMPLATE_PATH": ".", "MASTER_SECRET": os.environ["MASTER_SECRET"]}\n'
    )
    (tmp_path / ".env").touch(mode=stat.S_IRUSR | stat.S_IWUSR)
    (tmp_path / ".env").write_text(f"MASTER_SECRET={new_master_secret()}\n")
    settings = load_settings(tmp_path, {})
    hashed = entries_hash(DRAWN, ENTRIES)
    made = Giveaway(
        id=OPEN, guild_id=1, channel_id=2, message_id=3, prize="a \x1b[31mmug of a rather long name, " + "blue " * 20,
        winners=2, started_by=7, starts_at=NOW, ends_at=NOW + timedelta(hours=1), state="open",
        seed_hash=seed_hash(SEED), sealed_seed=b"x", changed_at=NOW, changed_by="discord:7",
    )  # fmt: skip
    drawn = Giveaway(
        id=DRAWN, guild_id=1, channel_id=2, prize="a mug", winners=2, started_by=7, starts_at=NOW, ends_at=NOW,
        state="drawn", seed_hash=seed_hash(SEED), sealed_seed=b"x", seed=SEED, entries_hash=hashed, draws=1,
        told_draws=1, drawn_at=NOW, changed_at=NOW, changed_by="system:master",
    )  # fmt: skip
    ledger = await Ledger.open(settings.database, chain=audit_chain_of(settings))

    def fill(connection: Connection) -> None:
        for one in (drawn, made):
            giveaways.insert(connection, one)
        entries = [GiveawayEntry(giveaway_id=DRAWN, user_id=u, at=NOW, weight=w) for u, w in ENTRIES]
        giveaways.add_entries(connection, entries)
        won = pick(SEED, hashed, 0, ENTRIES, 2)
        winners = [
            GiveawayWinner(giveaway_id=DRAWN, draw=0, place=at, user_id=user, state="told", changed_at=NOW)
            for at, user in enumerate(won)
        ]
        giveaways.add_winners(connection, winners)

    await ledger.write(fill)
    await ledger.close()
    return tmp_path


def fleet(home: Path, *arguments: str) -> Told:
    return typed(["giveaway", *arguments, "--home", str(home)])


async def in_thread(home: Path, *arguments: str) -> Told:

    return await asyncio.to_thread(fleet, home, *arguments)


async def test_the_list_and_one_of_them_fit_and_obey_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = await in_thread(home, "list")
    assert listed.code == ExitCode.OK
    assert "\x1b[31m" not in listed.out
    assert "drawn" in listed.out
    assert "open" in listed.out
    shown = await in_thread(home, "show", DRAWN)
    assert seed_hash(SEED).hex() in shown.out
    assert "draw 0, place 1" in shown.out
    assert SEED.hex() not in (await in_thread(home, "show", OPEN, "--json")).out
    as_json = json.loads((await in_thread(home, "list", "--json")).out)
    assert [one["id"] for one in as_json["giveaways"]] == [OPEN, DRAWN]
    many = await in_thread(home, "show", DRAWN[:8])
    assert (many.code, "more than one giveaway" in many.err) == (ExitCode.NOT_FOUND, True)


async def test_a_draw_is_exported_and_checked(home: Path) -> None:
    file = home / "draw.json"
    exported = await in_thread(home, "export", DRAWN, "--out", str(file))
    assert exported.code == ExitCode.OK, exported.err
    assert (await in_thread(home, "export", DRAWN, "--out", str(file))).code == ExitCode.FAILED
    checked = typed(["giveaway", "verify", str(file)])
    assert (checked.code, "as its rule says" in checked.out) == (ExitCode.OK, True)
    hashed = seed_hash(SEED).hex()
    assert typed(["giveaway", "verify", str(file), "--seed-hash", f" {hashed.upper()}"]).code == ExitCode.OK
    other = typed(["giveaway", "verify", str(file), "--seed-hash", "00" * 32, "--json"])
    assert other.code == ExitCode.FAILED
    assert json.loads(other.out)["problems"] == ["the seed hash is not the one that you named"]
    changed = json.loads(file.read_text())
    changed["draws"][0]["winners"][0] = "1"
    file.write_text(json.dumps(changed))
    told = typed(["giveaway", "verify", str(file)])
    assert (told.code, "does not fit" in told.out) == (ExitCode.FAILED, True)
    not_yet = await in_thread(home, "export", OPEN)
    assert (not_yet.code, "not drawn" in not_yet.err) == (ExitCode.REFUSED, True)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}", b"[" * 50_000])
def test_what_is_no_file_of_a_draw_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "draw.json"
    file.write_bytes(content)
    told = typed(["giveaway", "verify", str(file)])
    assert (told.code, told.out) == (ExitCode.REFUSED, "")
    assert "no file of a draw" in told.err
    assert typed(["giveaway", "verify", os.fspath(tmp_path / "absent")]).code == ExitCode.FAILED
