"""Alembic's environment: the database and the target tables."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool

from master.ledger.engine import with_driver
from master.ledger.schema.tables import metadata


def begin_explicitly(engine: Engine) -> None:
    """Have SQLite's transactions begin before the first statement: its driver begins none for DDL, which then stays."""

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


url = context.config.attributes["url"]

if context.is_offline_mode():
    # Online, the dialect reads this from the server: VARBINARY(n) and NVARCHAR(max), not IMAGE and NTEXT.
    options = {"deprecate_large_types": True} if url.get_backend_name() == "mssql" else {}
    context.configure(url=url, target_metadata=metadata, literal_binds=True, dialect_opts=options)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine(with_driver(url), poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        begin_explicitly(engine)
    with engine.connect() as connection:
        # Batch mode: SQLite cannot alter a constraint in place.
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
