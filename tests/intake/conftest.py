"""A listening intake, with two nodes that have addresses of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from handshake.redaction import Secret
from master.bus import EventBus
from master.events import AlertRaised
from master.intake.sentry import SentryIntake
from master.ledger.rows.records import Node
from master.security.derivation import MasterSecret
from master.services.core.alerts import Alerts
from master.services.core.directory import NodeDirectory
from master.services.healing.sentry_addresses import SentryAddresses
from master.services.healing.sighting import Sighting
from master.supervision.clock import SystemClock


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Intake:
    """An intake, and what it took."""

    server: SentryIntake
    addresses: SentryAddresses
    directory: NodeDirectory
    alerts: list[AlertRaised] = field(default_factory=list)
    taken: asyncio.Queue[Sighting] = field(default_factory=asyncio.Queue)

    @property
    def port(self) -> int:
        return self.addresses.port

    def dsn(self, name: str = "atlas") -> str:
        return self.addresses.address_of(self.directory.find(name))

    async def next(self) -> Sighting:
        return await asyncio.wait_for(self.taken.get(), 30)


@asynccontextmanager
async def run_intake(port: int) -> AsyncIterator[Intake]:
    """Run an intake; it need not listen yet."""
    bus, clock = EventBus(), SystemClock()
    directory = NodeDirectory(bus, clock)
    for number, name in enumerate(("atlas", "borea")):
        now = clock.now()
        directory.put(
            Node(id=f"{name}-id", name=name, folder=name, bot_user_id=number + 1, created_at=now, updated_at=now)
        )
    addresses = SentryAddresses(MasterSecret(Secret(bytes(range(40)))), directory, port)
    alerts: list[AlertRaised] = []
    bus.on(AlertRaised, alerts.append)
    taken: asyncio.Queue[Sighting] = asyncio.Queue()
    server = SentryIntake(addresses=addresses, take=taken.put_nowait, alerts=Alerts(bus, directory, clock), clock=clock)
    running = asyncio.create_task(server.run())
    try:
        yield Intake(server, addresses, directory, alerts, taken)
        assert not running.done(), "it has ended by itself"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def intake() -> AsyncIterator[Intake]:
    async with run_intake(free_port()) as made:
        await made.server.listening.wait()
        yield made
