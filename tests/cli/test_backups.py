"""A backup of the whole home, and moving house with it."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import tarfile
from pathlib import Path

import pytest

from master.services.upkeep.home_archive import HomeArchiveRefused, plan, unpack
from tests.hostile.conversations import Told, typed

pytestmark = pytest.mark.timeout(120)

WAY_BACK = "bots/atlas/.releases/1/old/c0ffee"
"""What a patched node goes back to, which is nowhere else."""


def fleet(home: Path, *arguments: str) -> Told:
    return typed([*arguments, "--home", str(home)])


@pytest.fixture
def home(tmp_path: Path, empty_ledger: Path) -> Path:
    made = tmp_path / "old house"
    assert fleet(made, "init", "--yes").code == 0
    shutil.copy(empty_ledger, made / "state" / "ledger.db")
    bot = made / "bots" / "atlas"
    (bot / "cogs" / "__pycache__").mkdir(parents=True)
    (bot / "cogs" / "__pycache__" / "fun.pyc").touch()
    (bot / "cogs" / "fun.py").write_text("fun = 1\n")
    (bot / "run.sh").write_text("#!/bin/sh\n")
    (bot / "run.sh").chmod(0o755)
    (bot / "latest").symlink_to("/nowhere/at all")
    (bot / ".venv" / "bin").mkdir(parents=True)
    (bot / ".venv" / "pyvenv.cfg").touch()
    (bot / ".releases" / "1" / "old").mkdir(parents=True)
    (bot / ".releases" / "1" / "old" / "c0ffee").write_text("the way back\n")
    os.mkfifo(bot / "pipe")
    (made / "env").mkdir()
    (made / "env" / "atlas.env").write_text("KEY=1\n")
    return made


@pytest.mark.slow
def test_moving_house(home: Path, tmp_path: Path) -> None:
    archive = tmp_path / "fleet.tar.gz"
    told = fleet(home, "backup", "--all", "--with-secret", "--file", str(archive))
    assert told.code == 0, told
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert "whoever gets it has every bot" in told.out
    assert str(home / "bots" / "atlas" / ".venv") in told.out
    new = tmp_path / "new house"
    assert fleet(new, "restore", str(archive)).code == 2  # it would ask
    assert not new.exists()
    told = fleet(new, "restore", str(archive), "--yes")
    assert told.code == 0, told
    assert "counts and hashes agree" in told.out
    assert f"fleet up --home '{new}'" in told.out
    (row, *_) = [row for row in json.loads(fleet(home, "audit", "show", "--json").out) if row["action"] == "backup"]
    assert row["detail"] == str(archive)
    for name in ("config.py", ".env", "env/atlas.env", "bots/atlas/cogs/fun.py", "bots/atlas/run.sh", WAY_BACK):
        assert (new / name).read_bytes() == (home / name).read_bytes(), name
        assert (new / name).stat().st_mode == (home / name).stat().st_mode, name
    assert os.readlink(new / "bots" / "atlas" / "latest") == "/nowhere/at all"
    assert {path.name for path in (new / "bots" / "atlas").iterdir()} == {"cogs", "run.sh", "latest", ".releases"}
    assert fleet(new, "audit", "verify").code == 0
    assert not list(new.glob("replaced-*"))


@pytest.mark.slow
def test_nothing_that_is_newer_is_replaced_without_a_word_or_lost(home: Path) -> None:
    made = json.loads(fleet(home, "backup", "--with", "bots", "--json").out)
    assert Path(made["path"]).parent == home / "state" / "backups"
    assert made["parts"] == ["bots"]
    cog, config = home / "bots" / "atlas" / "cogs" / "fun.py", (home / "config.py").read_bytes()
    cog.write_text("fun = 2\n")
    os.utime(cog, (cog.stat().st_mtime + 60,) * 2)
    (home / "bots" / "atlas" / "run.sh").unlink()
    told = fleet(home, "restore", made["path"], "--yes")
    assert told.code == 0, told
    assert "NEWER than in the backup, and replaced: bots/atlas/cogs/fun.py" in told.out
    assert cog.read_text() == "fun = 1\n"
    assert (home / "bots" / "atlas" / "run.sh").exists()
    (aside,) = home.glob("replaced-*")
    assert [path.read_text() for path in aside.rglob("fun.py")] == ["fun = 2\n"]
    assert (home / "config.py").read_bytes() == config


def test_the_secret_is_only_in_a_backup_that_asked_for_it(home: Path, tmp_path: Path) -> None:
    secret = (home / ".env").read_bytes()
    told = fleet(home, "backup", "--all", "--file", str(tmp_path / "plain.tar.gz"))
    assert "not in it: .env" in told.out
    with tarfile.open(tmp_path / "plain.tar.gz") as archive:
        assert ".env" not in archive.getnames()
        assert all(secret not in archive.extractfile(m).read() for m in archive if m.isfile())  # type: ignore[union-attr]
    told = fleet(tmp_path / "new", "restore", str(tmp_path / "plain.tar.gz"), "--yes")
    assert (told.code, "nor in the backup" in told.err, (tmp_path / "new").exists()) == (1, True, False)
    assert fleet(home, "backup", "--all", "--file", str(tmp_path / "plain.tar.gz")).code == 1  # it is there
    assert fleet(home, "backup", "--with", "bits").code == 2


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, 1 if kind == tarfile.REGTYPE else 0
    return made


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../outside")],
        [entry("/outside")],
        [entry("bots/../../outside")],
        [entry("elsewhere/x")],
        [entry("bots/x", tarfile.CHRTYPE)],
        [entry("bots/x", tarfile.LNKTYPE, "/etc/passwd")],
        [entry("bots/way", tarfile.SYMTYPE, ".."), entry("bots/way/outside")],
    ],
)
def test_a_backup_that_leads_elsewhere_is_refused(tmp_path: Path, entries: list[tarfile.TarInfo]) -> None:
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as archive:
        for each in entries:
            archive.addfile(each, io.BytesIO(b"x"))
    bots = {"bots": tmp_path / "home" / "bots"}
    with pytest.raises(HomeArchiveRefused):
        unpack(tmp_path / "evil.tar.gz", bots, aside=tmp_path / "aside")
    assert not list(tmp_path.rglob("outside"))
    (tmp_path / "junk.tar.gz").write_bytes(b"\x1f\x8b junk")
    with pytest.raises(HomeArchiveRefused):
        plan(tmp_path / "junk.tar.gz", bots)
