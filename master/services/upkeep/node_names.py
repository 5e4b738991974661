"""Names of the nodes, for checking the config without a running master."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from master.configuration.checks import unknown_node_names
from master.configuration.reading import ConfigProblem
from master.configuration.settings import Settings
from master.ledger.engine import make_engine, parse_url
from master.ledger.errors import LedgerError
from master.ledger.rows import nodes
from master.services.core.ledger_cache import load_cached_ledger


async def unknown_names_in(settings: Settings) -> list[ConfigProblem]:
    """Return the names in the config that no node has; empty if neither the ledger nor its cache can be read."""
    if not settings.nodes:
        return []
    known = await _known_names(settings)
    return [] if known is None else unknown_node_names(settings, known)


async def _known_names(settings: Settings) -> Collection[str] | None:
    # The cache first: it is as current as the ledger, and does not wait for a server.
    cached = await load_cached_ledger(settings.ledger_cache_path)
    if cached is not None:
        return [node.name for node in cached.nodes]
    return await asyncio.to_thread(_names_in_ledger, settings)


def _names_in_ledger(settings: Settings) -> list[str] | None:
    try:
        url = parse_url(settings.database)
        if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
            return None
        engine = make_engine(url, settings.database, read_only=True)
    except LedgerError:
        # The doctor reports that separately.
        return None
    try:
        with engine.connect() as connection:
            return [node.name for node in nodes.list_active(connection)]
    except SQLAlchemyError:
        return None
    finally:
        engine.dispose()
