"""Archives that would decompress to gigabytes are refused at once: by size, by rows, by ratio."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from master.ledger.archive import Manifest, TableDigest, _seal, check_archive
from master.ledger.errors import ArchiveRefused
from master.security.derivation import MasterSecret, new_master_secret
from tests.conftest import TurnableClock
from tests.ledger.test_archive import filled, ledger_admin, settings_at

MB = 2**20


@pytest.fixture
async def archive(tmp_path: Path, clock: TurnableClock) -> tuple[Path, bytes]:
    """Return a backup, and the key of its seal."""
    (tmp_path / "source").mkdir()
    settings = settings_at(tmp_path / "source", new_master_secret())
    ledger = await filled(settings)
    made = await ledger_admin(settings, ledger, clock).back_up()
    await ledger.close()
    return Path(made.path), MasterSecret(settings.identity.master_secret).derive("archive")


def replaced(path: Path, name: str, chunks: Iterator[bytes], target: Path, kind: int = zipfile.ZIP_DEFLATED) -> Path:
    """Return a copy of an archive with another content of one member; its manifest stays, with its seal."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", kind, compresslevel=1) as copy:
        for member in source.namelist():
            if member != name:
                copy.writestr(member, source.read(member))
        with copy.open(name, "w", force_zip64=True) as stream:
            for chunk in chunks:
                stream.write(chunk)
    return target


def without_sizes(path: Path, key: bytes, target: Path) -> Path:
    """Return the archive as a program made it that recorded no sizes."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        for member in source.namelist():
            if member != "manifest.json":
                copy.writestr(member, source.read(member))
        manifest = msgspec.json.decode(source.read("manifest.json"), type=Manifest)
        tables = {name: TableDigest(digest.rows, digest.sha256) for name, digest in manifest.tables.items()}
        manifest = msgspec.structs.replace(manifest, tables=tables)
        manifest = msgspec.structs.replace(manifest, seal=_seal(manifest, key))
        copy.writestr("manifest.json", msgspec.json.encode(manifest))
    assert b'"size"' not in msgspec.json.encode(manifest)
    return target


def lines(size: int, width: int) -> Iterator[bytes]:
    """Yield rows that compress by a thousand."""
    line = b'["' + b"0" * (width - 5) + b'"]\n'
    at_once = max(MB // width, 1)
    for _ in range(size // width // at_once):
        yield line * at_once


EVENTS = "handshake_events.jsonl"
BOMBS = {
    "more rows": (EVENTS, 32 * MB, 100),
    "long rows": (EVENTS, 32 * MB, MB),
    "an empty table": ("patches.jsonl", 32 * MB, 1000),
    "one endless row": (EVENTS, 32 * MB, 32 * MB),
}


@pytest.mark.parametrize("is_old", [False, True], ids=["with sizes", "without sizes"])
@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.slow
def test_a_bomb_below_a_genuine_manifest_is_refused_at_once(
    archive: tuple[Path, bytes], tmp_path: Path, kind: str, is_old: bool
) -> None:
    path, key = archive
    member, size, width = BOMBS[kind]
    if is_old:
        path = without_sizes(path, key, tmp_path / "old.zip")
        check_archive(path, key=key)
    bomb = replaced(path, member, lines(size, width), tmp_path / "bomb.zip")
    assert bomb.stat().st_size < MB
    # By its size, before a byte is decompressed.
    with pytest.raises(ArchiveRefused, match="bytes are not what the manifest says"):
        check_archive(bomb, key=key)


def test_a_member_that_claims_less_than_it_holds_ends_where_it_claims(
    archive: tuple[Path, bytes], tmp_path: Path
) -> None:
    path, key = archive
    bomb = replaced(path, EVENTS, lines(32 * MB, MB), tmp_path / "bomb.zip")
    with zipfile.ZipFile(path) as genuine:
        claimed = genuine.getinfo(EVENTS).file_size
    content = bytearray(bomb.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = content.rfind(signature, 0, content.rfind(EVENTS.encode()) + 1)
        content[at + offset : at + offset + 4] = claimed.to_bytes(4, "little")
    bomb.write_bytes(content)
    with pytest.raises(ArchiveRefused):
        check_archive(bomb, key=key)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_other_compressions_are_refused(archive: tuple[Path, bytes], tmp_path: Path, kind: int) -> None:
    path, key = archive
    with zipfile.ZipFile(path) as genuine:
        same = genuine.read(EVENTS)
    bomb = replaced(path, EVENTS, iter([same]), tmp_path / "bomb.zip", kind)
    with pytest.raises(ArchiveRefused, match="in a way that no backup is"):
        check_archive(bomb, key=key)


def test_rows_are_counted_while_they_are_read(archive: tuple[Path, bytes], tmp_path: Path) -> None:
    path, key = archive
    old = without_sizes(path, key, tmp_path / "old.zip")
    # Too small for its size to be suspicious.
    bomb = replaced(old, EVENTS, lines(8 * MB, 64), tmp_path / "bomb.zip")
    with pytest.raises(ArchiveRefused, match="more rows"):
        check_archive(bomb, key=key)


def test_a_genuine_backup_of_before_sizes_were_recorded_is_good(archive: tuple[Path, bytes], tmp_path: Path) -> None:
    path, key = archive
    assert check_archive(without_sizes(path, key, tmp_path / "old.zip"), key=key).tables
    shutil.copy(path, tmp_path / "copy.zip")
    manifest = check_archive(tmp_path / "copy.zip", key=key)
    assert manifest.tables["handshake_events"].size > 0
