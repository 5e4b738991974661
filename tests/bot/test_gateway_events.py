"""The master's connection tells the services when it is lost, and when it is back."""

from __future__ import annotations

import asyncio

from master.events import Event, GatewayConnected, GatewayLost
from tests.cogs.test_log_channel import WAIT_S, Office, building, office

__all__ = ["building", "office"]


async def test_a_lost_connection_is_told_and_so_is_its_return(office: Office) -> None:
    told, changed = list[type[Event]](), asyncio.Event()

    def note(event: Event) -> None:
        told.append(type(event))
        changed.set()

    for kind in (GatewayLost, GatewayConnected):
        office.services.bus.on(kind, note)

    async def until(*wanted: type[Event]) -> None:
        async with asyncio.timeout(WAIT_S):
            while told != list(wanted):
                changed.clear()
                await changed.wait()

    await office.connect()
    await until(GatewayConnected)
    assert office.services.connectivity.gateway_lost is None
    await office.sandbox.faults.drop_connections(office.bot.account)
    await until(GatewayConnected, GatewayLost, GatewayConnected)
    assert office.services.connectivity.gateway_lost is None
