"""Keys of authors, the versions that were accepted of them, and what a fleet has one of."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from sqlalchemy import Engine, create_engine

from master.ledger.rows import facts, patch_keys, patch_versions
from master.ledger.rows.records import PatchKey
from master.ledger.schema.tables import metadata

NOW = datetime(2026, 11, 22, tzinfo=UTC)
KEY = PatchKey(id="SHA256:a", name="ada", kind="ssh-ed25519", public="ssh-ed25519 A", added_at=NOW, added_by="cli:root")


@pytest.fixture
def engine() -> Engine:
    made = create_engine("sqlite://")
    metadata.create_all(made)
    return made


def test_a_version_only_rises_for_each_key_and_channel(engine: Engine) -> None:
    with engine.connect() as c:
        assert patch_versions.highest(c, "k", "main") == 0
        assert patch_versions.advance(c, "k", "main", 99, at=NOW)
        assert not patch_versions.advance(c, "k", "main", 99, at=NOW)
        assert not patch_versions.advance(c, "k", "main", 98, at=NOW)
        assert patch_versions.advance(c, "k", "main", 100, at=NOW)
        assert patch_versions.advance(c, "k", "beta", 1, at=NOW)
        assert patch_versions.advance(c, "new", "main", 1, at=NOW)
        assert patch_versions.list_all(c) == {("k", "beta"): 1, ("k", "main"): 100, ("new", "main"): 1}


def test_a_key_is_revoked_once_and_stays_on_record(engine: Engine) -> None:
    with engine.connect() as c:
        patch_keys.insert(c, KEY)
        assert patch_keys.list_all(c) == [KEY]
        assert patch_keys.revoke(c, KEY.id, at=NOW, by="cli:ada", why="lost")
        assert not patch_keys.revoke(c, KEY.id, at=NOW, by="cli:eve", why="again")
        assert not patch_keys.revoke(c, "SHA256:other", at=NOW, by="cli:eve", why="")
        revoked = msgspec.structs.replace(KEY, revoked_at=NOW, revoked_by="cli:ada", why="lost")
        assert patch_keys.list_all(c) == [revoked]


def test_a_fact_is_set_once(engine: Engine) -> None:
    with engine.connect() as c:
        assert facts.get(c, "fleet_id") is None
        assert facts.get_or_add(c, "fleet_id", "fleet-a") == "fleet-a"
        assert facts.get_or_add(c, "fleet_id", "fleet-b") == "fleet-a"
        assert facts.get(c, "fleet_id") == "fleet-a"
