"""A house whose nodes are real bots: on the sandbox, forked by a zygote, connected to the master's socket."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from handshake.redaction import Secret
from handshake.transports.local import LocalServer
from master.configuration.settings import Settings
from master.ledger.rows.records import Node
from master.services.fleet.launching import node_environment
from master.services.onboarding.saga import CloneRequest
from master.services.trust.source import Source
from master.supervision.states import NodeState
from master.supervision.zygote_spawner import ZygoteSpawner
from sandbox import Sandbox
from sandbox.permissions import EVERYONE_DEFAULT
from tests.services.conftest import OPERATOR, House, open_house

TEMPLATE = Path(__file__).parents[4] / "child_template"


@dataclass
class LivingHouse:
    """A house, and its server on the sandbox."""

    house: House
    settings: Settings

    async def clone(self, name: str = "atlas", *, until: NodeState = NodeState.READY) -> Node:
        """Return a node that runs."""
        bot = self.house.bot(name)
        self.guild.add_bot(bot, bits=EVERYONE_DEFAULT)
        await self.house.clone(OPERATOR, CloneRequest(name=name, token=Secret(bot.token), start=True))
        node = self.house.services.directory.find(name)
        await self.reach(node, until)
        return node

    async def reach(self, node: Node, state: NodeState) -> None:
        """Wait until a node is in a state."""
        await self.house.services.supervisor.wait_state(node.id, (state,), timeout_s=15)

    def __post_init__(self) -> None:
        owner = self.house.sandbox.create_human("ada")
        self.guild = self.house.sandbox.create_guild("HQ", owner=owner)

    def folder(self, node: Node) -> Path:
        return self.settings.identity.bots_base_path / node.folder


@pytest.fixture
def living_settings(house_settings: Settings) -> Settings:
    template = house_settings.identity.template_path
    shutil.rmtree(template)
    shutil.copytree(TEMPLATE, template, ignore=shutil.ignore_patterns("__pycache__"))
    return replace(house_settings, supervision=replace(house_settings.supervision, pulse_interval_s=0.3))


@pytest.fixture
async def living(living_settings: Settings, sandbox: Sandbox) -> AsyncIterator[LivingHouse]:
    spawner = ZygoteSpawner(node_environment(os.environ))
    async with open_house(living_settings, sandbox, spawner=spawner) as house:
        reception = house.services.reception
        server = LocalServer(
            living_settings.node_socket_path,
            lambda text, peer: reception.take(text, Source(transport="local", pid=peer.pid)),
        )
        house.services.tools.orders.nudge = server.nudge
        await server.start()
        try:
            yield LivingHouse(house, living_settings)
        finally:
            await house.services.supervisor.stop_all()
            await server.close()
            await spawner.close()
