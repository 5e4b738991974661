"""Migrations with rows in the tables, back and forth."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from master.ledger.rows import nodes
from master.ledger.schema.migrations import alembic_config, migrate
from tests.ledger.test_database import a_node

OLD_NODE = """\
INSERT INTO nodes (id, name, name_key, folder, entry, bot_user_id, desired_state, lifecycle, readiness, key_epoch,
    template_version, tags, priority, flag_reason, pid, created_at, updated_at)
VALUES (?, ?, ?, ?, 'bot.py', ?, 'running', 'active', 'handshake', 1, '', '', 100, '', 42,
    '2026-11-21 00:00:00.000000', '2026-11-21 00:00:00.000000')
"""


def test_nodes_from_before_hosts_are_the_masters_own_and_go_back_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    url = make_url(f"sqlite:///{path}")
    migrate(url, "0003")
    with sqlite3.connect(path) as ledger:
        for number, name in enumerate(("Atlas", "Borealis")):
            ledger.execute(OLD_NODE, (f"01{number}", name, name.casefold(), name, number + 1))
    migrate(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        found = nodes.list_active(connection)
        assert [(node.name, node.host, node.pid) for node in found] == [("Atlas", "", 42), ("Borealis", "", 42)]
        nodes.insert(connection, a_node("01C", "Cassini", 9))
    engine.dispose()
    command.downgrade(alembic_config(url), "0003")
    with sqlite3.connect(path) as ledger:
        columns = [row[1] for row in ledger.execute("PRAGMA table_info(nodes)")]
        assert "host" not in columns
        assert ledger.execute("SELECT name FROM nodes ORDER BY name").fetchall() == [
            ("Atlas",),
            ("Borealis",),
            ("Cassini",),
        ]
        # Neither the constraints nor what refers to a node were lost on the way.
        with pytest.raises(sqlite3.IntegrityError):
            ledger.execute(OLD_NODE, ("01X", "ATLAS", "atlas", "other", 77))
    migrate(url)
    with sqlite3.connect(path) as ledger:
        assert ledger.execute("SELECT DISTINCT host FROM nodes").fetchall() == [("",)]
