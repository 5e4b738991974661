"""Sockets and ledger that are removed under a running master: made again, or named until they are."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from handshake.acceptor import Acceptor
from master.events import AlertLevel, AlertRaised, LedgerRewritten
from master.services.upkeep import state_watch
from master.services.upkeep.state_watch import StateWatch
from master.terminal import summary_line
from tests.services.conftest import House


@dataclass
class Watched:
    watch: StateWatch
    control: Acceptor
    nodes: Acceptor


@pytest.fixture
async def watched(house: House) -> AsyncIterator[Watched]:
    state = house.services.settings.state_dir
    control, nodes = (Acceptor(state / name, socket.socket.close, backlog=8) for name in ("control.sock", "nodes.sock"))
    for acceptor in (control, nodes):
        acceptor.start()
    watch = house.services.state_watch
    watch.guard(control, nodes=nodes)
    yield Watched(watch, control, nodes)
    for acceptor in (control, nodes):
        acceptor.close()


async def test_a_removed_socket_is_made_again_and_said_once_each(
    house: House, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    with house.services.bus.subscribe(AlertRaised) as alerts:
        for acceptor in (watched.control, watched.nodes):
            acceptor.path.unlink()
        for _ in range(3):
            await watched.watch.look()
        told = [await alerts.get() for _ in range(len(alerts))]
    assert [alert.title for alert in told] == [
        "control.sock was removed, and made again",
        "nodes.sock was removed, and made again",
    ]
    assert {alert.level for alert in told} == {AlertLevel.WARNING}
    assert watched.control.is_in_place()
    assert watched.nodes.is_in_place()
    assert watched.watch.troubles() == ()
    assert "a socket was removed, and made again" in caplog.text


async def test_it_looks_by_itself(house: House, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_watch, "LOOK_EVERY_S", 0.01)
    with house.services.bus.subscribe(AlertRaised) as alerts:
        looking = asyncio.create_task(watched.watch.run())
        watched.nodes.path.unlink()
        await asyncio.wait_for(alerts.get(), 10)
    assert watched.nodes.is_in_place()
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


async def test_a_socket_that_cannot_be_made_again_is_named_until_it_can(house: House, watched: Watched) -> None:
    path = watched.nodes.path
    path.unlink()
    path.mkdir()
    with house.services.bus.subscribe(AlertRaised) as alerts:
        for _ in range(3):
            await watched.watch.look()
        assert len(alerts) == 1
        gone = await alerts.get()
        assert (gone.title, gone.level) == ("nodes.sock is gone", AlertLevel.ERROR)
        assert "cannot prove themselves" in gone.text
        status = await house.services.overview.status()
        assert status.master.troubles == ("nodes.sock is gone, and cannot be made again: Is a directory",)
        assert "nodes.sock is gone" in summary_line(status).plain
        path.rmdir()
        await watched.watch.look()
        back = await alerts.get()
    assert (back.title, back.level) == ("nodes.sock is back", AlertLevel.SUCCESS)
    assert watched.watch.troubles() == ()


async def test_a_deleted_ledger_is_written_again_and_said(house: House, watched: Watched) -> None:
    path = house.services.settings.state_dir / "ledger.db"
    for name in (path, path.with_name("ledger.db-wal"), path.with_name("ledger.db-shm")):
        Path(name).unlink(missing_ok=True)
    with house.services.bus.subscribe(AlertRaised, LedgerRewritten) as told:
        await watched.watch.look()
        events = [await asyncio.wait_for(told.get(), 10) for _ in range(2)]
    alert = next(event for event in events if isinstance(event, AlertRaised))
    assert alert.title == "The ledger's file was deleted, and written again"
    assert str(path) in alert.text
    assert path.exists()
