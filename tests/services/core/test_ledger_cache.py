"""What supervision remembers of the ledger, and what it must not take for its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from handshake.redaction import Secret
from master.bus import EventBus
from master.events import LedgerAway, LedgerReturned
from master.security.derivation import MasterSecret, check_master_secret, new_master_secret
from master.services.core.directory import NodeDirectory
from master.services.core.ledger_cache import CoveredLicence, LedgerCache
from master.supervision.clock import SystemClock
from tests.ledger.test_database import NOW, a_node


def a_secret() -> MasterSecret:
    return MasterSecret(Secret(check_master_secret(new_master_secret())))


def cache_at(path: Path, secret: MasterSecret) -> tuple[LedgerCache, NodeDirectory]:
    bus = EventBus()
    directory = NodeDirectory(bus, SystemClock())
    return LedgerCache(path, directory, secret, bus), directory


async def test_what_was_remembered_comes_back_and_is_its_owners_alone(tmp_path: Path) -> None:
    secret, path = a_secret(), tmp_path / "memory.bin"
    cache, directory = cache_at(path, secret)
    directory.put(a_node())
    cache.keep_token("01A", b"sealed")
    cache.keep_token("01GONE", b"of a node that is no more")
    cache.keep_licence("01A", CoveredLicence(b"h" * 32, NOW))
    cache.keep_revoked(["01A", "01GONE"])
    await cache.save()
    assert path.stat().st_mode & 0o777 == 0o600
    again, found = cache_at(path, secret)
    assert await again.recall()
    assert list(found) == [a_node()]
    assert (again.token_of("01A"), again.token_of("01GONE")) == (b"sealed", None)
    assert again.licence_of("01A") == CoveredLicence(b"h" * 32, NOW)
    assert (again.is_revoked("01A"), again.is_revoked("01GONE")) == (True, False)


async def test_what_was_remembered_under_another_secret_is_of_no_use(tmp_path: Path) -> None:
    cache, directory = cache_at(tmp_path / "memory.bin", a_secret())
    directory.put(a_node())
    await cache.save()
    other, found = cache_at(tmp_path / "memory.bin", a_secret())
    assert not await other.recall()
    assert list(found) == []


async def test_the_licence_of_a_node_that_was_stopped_at_the_start_is_there_when_the_ledger_goes_away(
    tmp_path: Path,
) -> None:
    secret, path, covered = a_secret(), tmp_path / "memory.bin", CoveredLicence(b"h" * 32, NOW)
    first, directory = cache_at(path, secret)
    directory.put(a_node())
    first.keep_licence("01A", covered)
    await first.save()
    # The next master begins while the ledger answers: nobody presents that licence, and the file is written anew.
    bus = EventBus()
    directory = NodeDirectory(bus, SystemClock())
    second = LedgerCache(path, directory, secret, bus)
    await second.remember_licences()
    directory.put(a_node())
    await second.save()
    assert second.licence_of("01A") is None  # the ledger knows better, and is asked
    bus.publish(LedgerAway(at=NOW, why="away", hint=""))
    assert second.licence_of("01A") == covered
    bus.publish(LedgerReturned(at=NOW))
    assert second.licence_of("01A") is None
    third, _ = cache_at(path, secret)
    assert await third.recall()
    assert third.licence_of("01A") == covered
    # One that the ledger found to be revoked is believed no more.
    second.forget_licence("01A", b"another")
    second.forget_licence("01A", b"h" * 32)
    bus.publish(LedgerAway(at=NOW, why="away", hint=""))
    assert second.licence_of("01A") is None


@pytest.mark.parametrize("content", [None, b"", b"\xff junk"])
async def test_nothing_or_junk_is_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "memory.bin").write_bytes(content)
    cache, _ = cache_at(tmp_path / "memory.bin", a_secret())
    assert not await cache.recall()
    assert await cache.node_ids() == ()
