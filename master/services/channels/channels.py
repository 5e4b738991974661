"""All services of the server's channels, built together; what others use of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from master.ledger.errors import LedgerError
from master.ledger.rows import server_channels as rows
from master.services.channels.culprits import Culprits
from master.services.channels.following import NodesFollow
from master.services.channels.keeper import ChannelKeeper
from master.services.channels.repairing import Repairing
from master.services.channels.survey import Declared, Surveyor
from master.services.channels.telling import Telling
from master.services.channels.tools import ChannelTools
from master.services.core.directory import NodeDirectory
from master.services.core.discord_port import Role
from master.services.trust.orders import NodeOrders


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """The services of channels."""

    tools: ChannelTools
    keeper: ChannelKeeper
    following: NodesFollow

    async def load(self) -> None:
        """Take over which channels were made anew; without the ledger, what the file beside it says stays."""
        try:
            moves = await self.tools.ledger.read(rows.all_moves)
        except LedgerError:
            moves = None
        if moves is not None:
            self.tools.moves.load(moves)
        if self.tools.moves:
            self.tools.take_effect()


def build_channels(tools: ChannelTools, orders: NodeOrders, directory: NodeDirectory) -> Channels:
    """Build the services of channels; nothing is started yet."""

    def declare(roles: Mapping[int, Role]) -> Declared:
        return Declared()

    culprits = Culprits(tools.bus, tools.master_user_id)
    repairing, surveyor = Repairing(tools, culprits), Surveyor(tools, declare)
    keeper = ChannelKeeper(tools, surveyor, repairing, culprits, Telling(tools))
    return Channels(tools=tools, keeper=keeper, following=NodesFollow(tools, orders, directory))
