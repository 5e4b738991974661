"""All services of the server's channels, built together; what others use of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from master.configuration.settings import Settings
from master.ledger.errors import LedgerError
from master.ledger.rows import server_channels as rows
from master.services.channels.culprits import Culprits
from master.services.channels.drift import Drift
from master.services.channels.following import NodesFollow
from master.services.channels.keeper import ChannelKeeper
from master.services.channels.panels import Panels
from master.services.channels.repairing import Repairing, state_of
from master.services.channels.showing import ChannelShowing
from master.services.channels.survey import Declared, Survey, Surveyor
from master.services.channels.telling import Telling
from master.services.channels.tools import ChannelTools
from master.services.channels.undoing import Undoing
from master.services.core.channel_moves import ASSIGNABLE, TREE
from master.services.core.directory import NodeDirectory
from master.services.core.discord_port import Role
from master.services.core.errors import ServiceError
from master.services.trust.orders import NodeOrders

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """The services of channels."""

    tools: ChannelTools
    keeper: ChannelKeeper
    following: NodesFollow
    showing: ChannelShowing
    culprits: Culprits

    def is_doing_of(self, drift: Drift, user_id: int, since: datetime) -> bool:
        """Tell whether Discord's audit log said that somebody brought a drift about."""
        return self.culprits.of(drift.channel_id, drift.kind, self.tools.clock.now(), since).user_id == user_id

    def is_left(self, drift: Drift, survey: Survey) -> bool:
        """Tell whether somebody wants a drift to stay."""
        return state_of(drift, survey) == "left"

    async def load(self) -> None:
        """Take over which channels were made anew; without the ledger, what the file beside it says stays."""
        try:
            moves = await self.tools.ledger.read(rows.all_moves)
            wanted = {row.key: row.channel_id for row in await self.tools.ledger.read(rows.all_wanted)}
        except LedgerError as error:
            log.warning("channels that were made anew are known from the file alone", extra={"why": error.message})
        else:
            self.tools.moves.load(moves)
            self.tools.moves.assign({name: wanted[TREE + name] for name in ASSIGNABLE if TREE + name in wanted})
        if self.tools.moves:
            self.tools.take_effect()


def build_channels(
    tools: ChannelTools, orders: NodeOrders, directory: NodeDirectory, written: Callable[[], Settings]
) -> Channels:
    """Build the services of channels; nothing is started yet.

    Parameters
    ----------
    written
        Returns the settings as config.py has them.
    """

    async def declare(roles: Mapping[int, Role]) -> Declared:
        path = tools.settings().channels_path
        try:
            if not await asyncio.to_thread(path.exists):
                return Declared()
            # Imported where it is used: most fleets have no such file.
            from master.services.channels.tree_file import declared_of, read_tree

            return declared_of(await asyncio.to_thread(read_tree, path), roles)
        except ServiceError as error:
            return Declared(troubles=(error.message,), refused=True)

    culprits = Culprits(tools.bus, tools.master_user_id)
    repairing, surveyor = Repairing(tools, culprits), Surveyor(tools, declare)
    keeper = ChannelKeeper(
        tools, surveyor, repairing, culprits, Telling(tools), Panels(tools, repairing), Undoing(tools, repairing)
    )
    return Channels(
        tools=tools,
        keeper=keeper,
        following=NodesFollow(tools, orders, directory),
        showing=ChannelShowing(tools, surveyor, culprits, written),
        culprits=culprits,
    )
