"""Bringing a ledger's schema up to date.

Alembic costs 11 MB of memory for good once imported, so the master only compares version numbers, and runs Alembic in
a child process when they differ: ``python -m master.ledger.migrations`` with the URL on its standard input.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import URL, make_url

from master.ledger.errors import LedgerError, LedgerTooNew

if TYPE_CHECKING:
    from alembic.config import Config

HEAD_REVISION = "0001"
"""The newest revision in sql/versions; a test holds the two together."""
MIGRATION_TIMEOUT_S = 300.0

SCRIPTS_DIR = Path(__file__).resolve().parents[2] / "sql"


def current_revision(engine: Engine) -> str | None:
    """Give the schema's revision; None for an empty database."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def bring_up_to_date(engine: Engine, url: URL) -> None:
    """Migrate if the schema is behind.

    Raises
    ------
    LedgerTooNew
        The schema is newer than this program.
    LedgerError
        The migration failed; the schema is as it was.
    """
    revision = current_revision(engine)
    if revision == HEAD_REVISION:
        return
    if revision is not None and revision > HEAD_REVISION:
        raise LedgerTooNew(
            f"the ledger is at revision {revision}, this program knows {HEAD_REVISION}",
            hint="run the newer version of fleetmaster, or restore a backup from before the upgrade",
        )
    migrated = subprocess.run(
        [sys.executable, "-m", "master.ledger.migrations"],
        input=url.render_as_string(hide_password=False),
        capture_output=True,
        text=True,
        timeout=MIGRATION_TIMEOUT_S,
        check=False,
    )
    if migrated.returncode != 0:
        last_line = (migrated.stderr.strip().splitlines() or ["no message"])[-1]
        raise LedgerError(f"migrating the ledger failed: {last_line[:300]}", hint="the ledger is as it was")


def alembic_config(url: URL) -> Config:
    """Give Alembic's configuration for the migrations in sql/."""
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
