"""Schema migrations.

Alembic costs 11 MB of memory once imported, so the master only compares revisions, and runs Alembic in a child process
when they differ: ``python -m master.ledger.schema.migrations`` with the URL on its standard input.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from master.configuration.settings import DatabaseSettings
from master.ledger.errors import LedgerError, LedgerTooNew, LedgerTooOld

if TYPE_CHECKING:
    from alembic.config import Config

HEAD_REVISION = "0010"
"""The newest revision in sql/versions; a test holds the two together."""
MIGRATION_TIMEOUT_S = 300.0

SCRIPTS_DIR = Path(__file__).resolve().parents[3] / "sql"


def current_revision(engine: Engine) -> str | None:
    """Return the schema's revision; None for an empty database."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return revision_of(connection)


def revision_of(connection: Connection) -> str | None:
    """Return the revision of a schema that is there; None if no migration was finished yet."""
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def upgrade_schema(revision: str | None, url: URL) -> None:
    """Migrate if the schema is older than this program.

    Parameters
    ----------
    revision
        The schema's; None for an empty database.

    Raises
    ------
    LedgerTooNew
        The schema is newer than this program.
    LedgerError
        The migration failed; the schema is unchanged.
    """
    if revision == HEAD_REVISION:
        return
    if revision is not None and revision > HEAD_REVISION:
        raise LedgerTooNew(
            f"the ledger is at revision {revision}, this program knows {HEAD_REVISION}",
            hint="run the newer version of fleetmaster, or restore a backup from before the upgrade",
        )
    copy_path = copy_before_migration(url, revision or "")
    try:
        migrated = subprocess.run(
            [sys.executable, "-m", "master.ledger.schema.migrations"],
            input=url.render_as_string(hide_password=False),
            capture_output=True,
            text=True,
            timeout=MIGRATION_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LedgerError(
            f"migrating the ledger took longer than {MIGRATION_TIMEOUT_S:g} s",
            hint=f"a copy of it is {copy_path}" if copy_path else "run sql/schema.sqlserver.sql as its owner",
        ) from None
    if migrated.returncode != 0:
        last_line = (migrated.stderr.strip().splitlines() or ["no message"])[-1]
        hint = "the ledger is unchanged" + (f"; a copy of it is {copy_path}" if copy_path else "")
        raise LedgerError(f"migrating the ledger failed: {last_line[:300]}", hint=hint)


def require_newest_schema(settings: DatabaseSettings) -> None:
    """Check that opening the ledger would not upgrade its schema; one that is not there yet is none to upgrade.

    Raises
    ------
    LedgerTooOld
        It would.
    """
    from master.ledger.engine import connect_as_it_is

    revision = None
    # What else is wrong with the ledger is told, with a hint, when it is opened.
    with contextlib.suppress(LedgerError), connect_as_it_is(settings) as connection:
        if connection is not None:
            revision = revision_of(connection)
    if revision is not None and revision < HEAD_REVISION:
        raise LedgerTooOld(
            f"the ledger is at revision {revision}, this program reads {HEAD_REVISION}",
            hint="`fleet ledger migrate` or `fleet up` brings it up to date",
        )


def migrate_to(settings: DatabaseSettings, revision: str | None) -> str:
    """Upgrade or downgrade to a revision; returns the path of the copy made of a SQLite ledger. Blocks.

    Parameters
    ----------
    revision
        None for the newest.

    Raises
    ------
    LedgerError
        There is no such revision, or the migration failed.
    """
    from alembic import command
    from alembic.util import CommandError

    from master.ledger.engine import make_engine, parse_url

    url = parse_url(settings)
    config = alembic_config(url)
    wanted = revision or HEAD_REVISION
    check_revision(wanted)
    engine = make_engine(url, settings)
    present = current_revision(engine) or ""
    engine.dispose()
    if present == wanted:
        return ""
    copy_path = copy_before_migration(url, present)
    try:
        (command.upgrade if wanted > present else command.downgrade)(config, wanted)
    except (SQLAlchemyError, CommandError) as error:
        reason = str(error).splitlines()[0][:200]
        raise LedgerError(
            f"migrating the ledger failed: {reason}", hint=f"its copy is {copy_path}" if copy_path else ""
        ) from error
    return copy_path


def check_revision(revision: str) -> None:
    """Check that this program knows a revision.

    Raises
    ------
    LedgerError
        It does not.
    """
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(alembic_config(make_url("sqlite://")))
    known = [found.revision for found in script.walk_revisions()]
    if revision not in known:
        raise LedgerError(
            f"there is no revision {revision[:40]!r}", hint=f"known revisions: {', '.join(sorted(known))}"
        )


def copy_before_migration(url: URL, revision: str) -> str:
    """Copy a SQLite ledger before its schema changes; returns the path, empty on a server (its DBA backs up)."""
    if url.get_backend_name() != "sqlite" or not url.database or not revision:
        return ""
    copy_path = f"{url.database}.revision-{revision}"
    try:
        with (
            contextlib.closing(sqlite3.connect(url.database)) as present,
            contextlib.closing(sqlite3.connect(copy_path)) as copy,
        ):
            os.chmod(copy_path, 0o600)
            present.backup(copy)
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(
            f"the ledger could not be copied before its migration: {error}", hint="free some space beside it"
        ) from error
    return copy_path


def alembic_config(url: URL) -> Config:
    """Return Alembic's configuration for the migrations in sql/."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS_DIR))
    config.attributes["url"] = url
    return config


def migrate(url: URL, revision: str = "head") -> None:
    """Run the migrations up to ``revision`` in this process."""
    from alembic import command

    command.upgrade(alembic_config(url), revision)


if __name__ == "__main__":
    migrate(make_url(sys.stdin.read().strip()))
