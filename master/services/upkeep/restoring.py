"""Restore of a ledger from an archive, while no master runs."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from handshake.redaction import Secret
from master.configuration.settings import DatabaseSettings, Settings
from master.ledger.archive import Manifest, check_archive, load_archive, write_archive
from master.ledger.engine import explain, make_engine, parse_url, prepare_file
from master.ledger.errors import LedgerError, LedgerReadOnly
from master.ledger.rows.inspection import count_rows
from master.ledger.schema.migrations import current_revision, upgrade_schema
from master.ledger.schema.tables import metadata
from master.services.core.keys import master_secret_of
from master.services.core.views import RestoreView

log = logging.getLogger(__name__)

_COMPANIONS = ("", "-wal", "-shm")


def restore(settings: Settings, path: Path, *, at: datetime) -> RestoreView:
    """Replace the ledger by an archive's; the old one is kept: beside it, or on a server as an archive. Blocks.

    The archive is checked completely first. The current ledger is replaced only once the new one is complete.

    Raises
    ------
    ArchiveRefused
        The archive cannot be used.
    LedgerError
        The new ledger could not be created; the current one is unchanged.
    """
    key = master_secret_of(settings.identity).derive("archive")
    manifest = check_archive(path, key=key)
    url = parse_url(settings.database)
    if url.get_backend_name() != "sqlite" or not url.database:
        keep_path = settings.backups_dir / f"before-restore-{at:%Y%m%d-%H%M%S}.zip"
        kept = _refill(url, settings.database, path, manifest, keep=partial(_keep, path=keep_path, key=key, at=at))
        _delete_cache(settings)
        return _view(manifest, kept=kept)
    present = Path(url.database)
    successor = present.with_name(f"{present.name}.restoring")
    _remove(successor)
    try:
        fresh = url.set(database=str(successor))
        _fill(fresh, DatabaseSettings(url=Secret(str(fresh))), path, manifest)
    except BaseException:
        _remove(successor)
        raise
    kept = _swap(present, successor, at)
    _delete_cache(settings)
    return _view(manifest, kept=kept)


def import_into(settings: Settings, path: Path) -> RestoreView:
    """Import an archive into the current ledger, which has to be empty. Blocks.

    Raises
    ------
    ArchiveRefused, LedgerError
        Nothing was written.
    """
    manifest = check_archive(path, key=master_secret_of(settings.identity).derive("archive"))
    _fill(parse_url(settings.database), settings.database, path, manifest)
    return _view(manifest, kept="")


def _fill(url: URL, database: DatabaseSettings, path: Path, manifest: Manifest) -> None:
    prepare_file(url)
    engine: Engine = make_engine(url, database)
    try:
        upgrade_schema(current_revision(engine), make_url(url))
        with engine.begin() as connection:
            load_archive(connection, path, manifest)
    except SQLAlchemyError as error:
        raise explain(error) from error
    finally:
        engine.dispose()


def _refill(
    url: URL, database: DatabaseSettings, path: Path, manifest: Manifest, *, keep: Callable[[Connection], str]
) -> str:
    """Empty a server's tables and fill them, in one transaction; returns where the old rows are kept."""
    engine: Engine = make_engine(url, database)
    try:
        upgrade_schema(current_revision(engine), url)
        with engine.begin() as connection:
            kept = keep(connection)
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
            load_archive(connection, path, manifest)
    except SQLAlchemyError as error:
        explained = explain(error)
        if isinstance(explained, LedgerReadOnly):
            raise LedgerReadOnly(
                "this login may not empty the ledger's tables; nothing was changed",
                hint="for the restore put a login into DATABASE that owns the database, then the master's again",
            ) from error
        raise explained from error
    finally:
        engine.dispose()
    return kept


def _keep(connection: Connection, *, path: Path, key: bytes, at: datetime) -> str:
    """Write a server's rows into an archive before they are replaced; empty if there are none."""
    if not any(count_rows(connection, 1).values()):
        return ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_archive(connection, path, key=key, at=at)
    except OSError as error:
        raise LedgerError(
            f"the present ledger could not be kept in {path}: {error.strerror or error}",
            hint="free some space; nothing was changed",
        ) from error
    return str(path)


def _swap(present: Path, successor: Path, at: datetime) -> str:
    """Replace the current ledger atomically; returns where the old one is kept."""
    kept = present.with_name(f"{present.name}.before-{at:%Y%m%d-%H%M%S}")
    try:
        if present.exists():
            _checkpoint(present)
            # A hard link first, so that the ledger always exists: a master without one would start a new fleet.
            os.link(present, kept)
        successor.replace(present)
    except OSError as error:
        raise LedgerError(
            f"the restored ledger could not be put in place: {error.strerror}",
            hint=f"the new ledger is {successor}; the current one is unchanged",
        ) from error
    return str(kept) if kept.exists() else ""


def _delete_cache(settings: Settings) -> None:
    """Delete the cache of the old ledger: its nodes, and the head of its audit log."""
    settings.ledger_cache_path.unlink(missing_ok=True)


def _checkpoint(path: Path) -> None:
    """Checkpoint the write-ahead log that a crashed master left: with another file it would corrupt that one."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as ledger:
            ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.DatabaseError:
        # A damaged ledger is a common reason for a restore; it is kept as it is.
        log.warning("the current ledger is damaged", extra={"path": str(path)})
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _remove(path: Path) -> None:
    for suffix in _COMPANIONS:
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _view(manifest: Manifest, *, kept: str) -> RestoreView:
    return RestoreView(
        created_at=manifest.created_at.timestamp(),
        rows=sum(table.rows for table in manifest.tables.values()),
        tables={name: table.rows for name, table in manifest.tables.items()},
        kept=kept,
    )
