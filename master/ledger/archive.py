"""Archives: the whole ledger in one file, for backups and for moving a fleet to another database.

A ZIP with one JSON Lines file for each table (https://jsonlines.org), and a manifest with counts, hashes and a seal.
Tokens stay encrypted, as they are in the ledger.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import msgspec
from sqlalchemy import Column, Connection, LargeBinary, Table, func, select

from master.durable import leave_to_owner
from master.ledger.errors import ArchiveRefused
from master.ledger.schema.migrations import HEAD_REVISION
from master.ledger.schema.tables import SINCE, UtcDateTime, metadata

FORMAT = "fleetmaster-ledger/1"
MAX_LINE_BYTES = 4 * 2**20
MAX_MANIFEST_BYTES = 2**20
MAX_RATIO = 100
"""Largest compression of a table whose size the manifest does not tell (older archives); rows with their random ids
compress by 3 to 12. Deflate goes up to 1,030: https://www.zlib.net/zlib_tech.html"""
_SMALL_BYTES = 16 * 2**20
"""Below this, a ratio is not looked at."""
BATCH_ROWS = 500
OLDEST_REVISION = "0003"
"""Of archives that can be restored: since then only tables, and columns with a default, were added (``SINCE``)."""
_MANIFEST = "manifest.json"
# What zipfile raises for a damaged file: in its directory, in a member's header, in the deflated data.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    KeyError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)


class TableDigest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Row count, hash and size of one table."""

    rows: int
    sha256: str
    size: int = 0
    """Bytes, not compressed; 0 in archives of before it was recorded."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An archive's description of its contents."""

    format: str
    revision: str
    created_at: datetime
    dialect: str
    secret_check: str
    """Distinguishes a wrong MASTER_SECRET from a damaged file; reveals nothing else about the secret."""
    tables: dict[str, TableDigest]
    seal: str = ""


def write_archive(connection: Connection, target: Path, *, key: bytes, at: datetime) -> Manifest:
    """Write everything that one transaction sees. The file is created atomically, readable by its owner only.

    Parameters
    ----------
    key
        Derived from MASTER_SECRET for this purpose.

    Raises
    ------
    OSError
        It cannot be written.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as stream:
            leave_to_owner(descriptor, target)
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
                tables = {}
                for table in metadata.sorted_tables:
                    with archive.open(f"{table.name}.jsonl", "w", force_zip64=True) as member:
                        rows = _rows(connection, table, HEAD_REVISION)
                        tables[table.name] = _digest(_write_lines(rows, member))
                manifest = Manifest(
                    format=FORMAT,
                    revision=HEAD_REVISION,
                    created_at=at,
                    dialect=connection.dialect.name,
                    secret_check=_secret_check(key),
                    tables=tables,
                )
                manifest = msgspec.structs.replace(manifest, seal=_seal(manifest, key))
                archive.writestr(_MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return manifest


def _tables(revision: str) -> list[Table]:
    """Return the tables that there were at a revision, in the order of their references."""
    return [table for table in metadata.sorted_tables if table.info.get(SINCE, OLDEST_REVISION) <= revision]


def _columns(table: Table, revision: str) -> list[Column[Any]]:
    """Return the columns that a table had at a revision, in the order of their values in an archive."""
    return [column for column in table.columns if column.info.get(SINCE, OLDEST_REVISION) <= revision]


def _rows(connection: Connection, table: Table, revision: str) -> Iterator[bytes]:
    """Return a table's rows as lines, in the order of their keys, with the columns of a revision."""
    query = (
        select(*_columns(table, revision)).order_by(*table.primary_key.columns).execution_options(yield_per=BATCH_ROWS)
    )
    for row in connection.execute(query):
        yield msgspec.json.encode(tuple(row)) + b"\n"


def _write_lines(lines: Iterable[bytes], target: IO[bytes]) -> Iterator[bytes]:
    for line in lines:
        target.write(line)
        yield line


def _digest(lines: Iterable[bytes]) -> TableDigest:
    digest, count, size = hashlib.sha256(), 0, 0
    for line in lines:
        digest.update(line)
        count += 1
        size += len(line)
    return TableDigest(count, digest.hexdigest(), size)


def _is_as_expected(found: TableDigest, expected: TableDigest) -> bool:
    return (found.rows, found.sha256) == (expected.rows, expected.sha256) and expected.size in (0, found.size)


def check_archive(path: Path, *, key: bytes) -> Manifest:
    """Verify a whole archive, without changing anything.

    Raises
    ------
    ArchiveRefused
        It is not a ledger archive, has another secret or revision, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _read_manifest(archive, path, key)
            for name, expected in manifest.tables.items():
                if not _is_as_expected(_digest(_lines(archive, name, expected)), expected):
                    raise ArchiveRefused(f"{path.name}: table {name} is damaged", hint="take another backup")
    except _UNREADABLE as error:
        raise ArchiveRefused(f"{path}: not a readable archive ({error})", hint="take another backup") from error
    return manifest


def _read_manifest(archive: zipfile.ZipFile, path: Path, key: bytes) -> Manifest:
    with archive.open(_MANIFEST) as member:
        try:
            manifest = msgspec.json.decode(member.read(MAX_MANIFEST_BYTES), type=Manifest)
        except msgspec.MsgspecError as error:
            raise ArchiveRefused(f"{path.name}: its manifest cannot be read: {error}") from None
    if manifest.format != FORMAT:
        raise ArchiveRefused(
            f"{path.name} has the format {manifest.format[:40]!r}", hint=f"this program reads {FORMAT}"
        )
    if not hmac.compare_digest(manifest.secret_check, _secret_check(key)):
        raise ArchiveRefused(
            f"{path.name} was made with another MASTER_SECRET",
            hint="its tokens cannot be decrypted: put the secret it was made with into .env first",
        )
    if not hmac.compare_digest(manifest.seal, _seal(manifest, key)):
        raise ArchiveRefused(f"{path.name}: its manifest was altered", hint="take another backup")
    if not OLDEST_REVISION <= manifest.revision <= HEAD_REVISION:
        raise ArchiveRefused(
            f"{path.name} is of revision {manifest.revision}, this program reads {OLDEST_REVISION} to {HEAD_REVISION}",
            hint="restore it with the version of fleetmaster that made it, then upgrade",
        )
    if set(manifest.tables) != {table.name for table in _tables(manifest.revision)}:
        raise ArchiveRefused(f"{path.name} does not contain the tables of its revision")
    return manifest


def load_archive(connection: Connection, path: Path, manifest: Manifest) -> None:
    """Insert an archive's rows into empty tables, then compare counts and hashes with the manifest.

    Columns that were added since it was made get their defaults, and tables stay empty.

    Raises
    ------
    ArchiveRefused
        A table is not empty, or the rows differ from the manifest; the caller rolls back.
    """
    with zipfile.ZipFile(path) as archive:
        for table in metadata.sorted_tables:
            if connection.execute(select(func.count()).select_from(table)).scalar_one():
                raise ArchiveRefused(
                    f"the ledger is not empty: {table.name} has rows", hint="`fleet restore` replaces a ledger"
                )
        for table in _tables(manifest.revision):
            batch = []
            for line in _lines(archive, table.name, manifest.tables[table.name]):
                batch.append(_values(table, _columns(table, manifest.revision), line))
                if len(batch) == BATCH_ROWS:
                    connection.execute(table.insert(), batch)
                    batch = []
            if batch:
                connection.execute(table.insert(), batch)
    for table in _tables(manifest.revision):
        if not _is_as_expected(_digest(_rows(connection, table, manifest.revision)), manifest.tables[table.name]):
            raise ArchiveRefused(f"table {table.name} did not arrive as it was sent")


def _lines(archive: zipfile.ZipFile, name: str, expected: TableDigest) -> Iterator[bytes]:
    """Yield a table's rows, and never decompress more than the sealed manifest says that there is.

    Raises
    ------
    ArchiveRefused
    """
    about = archive.getinfo(f"{name}.jsonl")
    _check_size(about, name, expected)
    count = 0
    # A member ends at the size that its entry claims, whatever its data would decompress to.
    with archive.open(about) as member:
        while line := member.readline(MAX_LINE_BYTES):
            count += 1
            if count > expected.rows:
                raise ArchiveRefused(
                    f"table {name} is damaged: it has more rows than the manifest says", hint="take another backup"
                )
            if not line.endswith(b"\n"):
                raise ArchiveRefused(f"a row of {name} is too long or truncated")
            yield line


def _check_size(about: zipfile.ZipInfo, name: str, expected: TableDigest) -> None:
    """Refuse a bomb before a byte of it is decompressed."""
    if about.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArchiveRefused(f"{name} is compressed in a way that no backup is", hint="take another backup")
    too_large = about.file_size > max(expected.rows * MAX_LINE_BYTES, 0)
    if expected.size:
        too_large = about.file_size != expected.size
    elif about.file_size > _SMALL_BYTES:
        too_large |= about.file_size > MAX_RATIO * about.compress_size
    if too_large:
        raise ArchiveRefused(
            f"table {name} is damaged: {about.file_size} bytes are not what the manifest says",
            hint="take another backup",
        )


def _values(table: Table, columns: list[Column[Any]], line: bytes) -> dict[str, Any]:
    values = msgspec.json.decode(line, type=list[Any])
    if len(values) != len(columns):
        raise ArchiveRefused(f"a row of {table.name} has {len(values)} values, not {len(columns)}")
    return {column.key: _value(column.type, value) for column, value in zip(columns, values, strict=True)}


def _value(kind: object, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, UtcDateTime):
        return msgspec.convert(value, datetime)
    if isinstance(kind, LargeBinary):
        return msgspec.convert(value, bytes)
    return value


def _secret_check(key: bytes) -> str:
    return hmac.digest(key, b"secret-check", "sha256").hex()[:16]


def _seal(manifest: Manifest, key: bytes) -> str:
    unsealed = msgspec.structs.replace(manifest, seal="")
    return hmac.digest(key, msgspec.json.encode(unsealed, order="sorted"), "sha256").hex()
