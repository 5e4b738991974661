"""A licence's change reaches the nodes that use it, or that asked about its holder, at once."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

from sqlalchemy import Connection

from master.ledger.database import Ledger
from master.ledger.rows import licence_uses, licences
from master.ledger.rows.records import Licence, LicenceState, Node
from master.services.core.directory import NodeDirectory
from master.services.core.ledger_cache import LedgerCache
from master.services.fleet.fleet import Fleet
from master.services.trust.licence_rules import LicenceAction
from master.services.trust.orders import NodeOrders, OrderFailed
from master.services.trust.verification import Verification

log = logging.getLogger(__name__)

MOST_ASKED = 20_000
"""Pairs of a node and a person that it asked about."""
TRIES = 5
PAUSE_S = 2.0
"""Between tries: a node carries out one order at a time."""
_ENDING = (LicenceState.SUSPENDED, LicenceState.REVOKED)


class AskedBy:
    """Which nodes asked about which person: those that may go by an answer that no longer holds."""

    def __init__(self) -> None:
        self._people: dict[str, OrderedDict[int, None]] = {}
        """By node: about whom it asked, the last one last."""
        self._count = 0

    def note(self, user_id: int, node_id: str) -> None:
        """Note that a node asked."""
        people = self._people.setdefault(node_id, OrderedDict())
        self._count += user_id not in people
        people[user_id] = None
        people.move_to_end(user_id)
        if self._count > MOST_ASKED:
            # Of the node that asks about most: one that asks about everybody costs no other its news.
            max(self._people.values(), key=len).popitem(last=False)
            self._count -= 1

    def about(self, user_id: int) -> frozenset[str]:
        """Return the ids of the nodes that asked."""
        return frozenset(node_id for node_id, people in self._people.items() if user_id in people)


class LicenceReach:
    """Cut off nodes whose licence is suspended or revoked, and tell nodes to ask again."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        ledger_cache: LedgerCache,
        directory: NodeDirectory,
        verification: Verification,
        fleet: Fleet,
        orders: NodeOrders,
        asked_by: AskedBy,
    ) -> None:
        self._ledger, self._ledger_cache = ledger, ledger_cache
        self._directory, self._verification = directory, verification
        self._fleet, self._orders = fleet, orders
        self._asked_by = asked_by
        self._wanted: dict[str, set[str]] = {}
        """Orders to each node that are not done: about which person; empty: about the node's own licence."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, licence: Licence, action: LicenceAction) -> None:
        """Make a change known; returns when no node goes on with what it may not."""
        nodes, people = await self._ledger.read(lambda connection: _users(connection, licence))
        for node in self._directory:
            if node.id in nodes:
                await self._reach(node, licence)
        for user_id in people:
            self.tell_of(user_id)

    def tell_of(self, user_id: int) -> None:
        """Tell the nodes that asked about a person to ask again, soon."""
        for node_id in self._asked_by.about(user_id):
            self._order(node_id, str(user_id))

    async def _reach(self, node: Node, licence: Licence) -> None:
        self._ledger_cache.forget_licence(node.id, licence.code_hash)
        is_revoked = await self._ledger.read(lambda connection: licences.is_revoked(connection, node.id))
        if is_revoked:
            self._ledger_cache.revoke(node.id)
        else:
            self._ledger_cache.reinstate(node.id)
        if licence.state not in _ENDING:
            self._order(node.id, "")
            return
        # As `fleet revoke` does: not believed from the same moment on, and stopped.
        self._verification.void(node.id)
        await self._fleet.stop(node)

    def _order(self, node_id: str, about: str) -> None:
        if self._fleet.state_of(node_id) in ("stopped", "missing"):
            return
        if node_id in self._wanted:
            self._wanted[node_id].add(about)
            return
        self._wanted[node_id] = {about}
        task = asyncio.get_running_loop().create_task(self._send(node_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, node_id: str) -> None:
        """Send a node the orders that wait for it, one after the other."""
        try:
            tries = 0
            while self._wanted[node_id] and tries < TRIES:
                node = next((node for node in self._directory if node.id == node_id), None)
                if node is None:
                    return
                about = next(iter(self._wanted[node_id]))
                try:
                    await self._orders.send(node, "check_licence", about)
                except OrderFailed as error:
                    tries += 1
                    log.info("a node was not told of a licence", extra={"node": node.name, "why": error.message})
                    await asyncio.sleep(PAUSE_S)
                else:
                    tries = 0
                    self._wanted[node_id].discard(about)
        finally:
            del self._wanted[node_id]


def _users(connection: Connection, licence: Licence) -> tuple[frozenset[str], frozenset[int]]:
    """Return the nodes and the people that use a licence."""
    uses = licence_uses.list_of(connection, licence.id)
    nodes = {use.subject for use in uses if use.kind == "node"} | {licence.node_id or ""}
    return frozenset(nodes), frozenset(int(use.subject) for use in uses if use.kind == "person")
