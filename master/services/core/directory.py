"""The nodes in memory: a copy of the ledger's rows, so that no reader waits for the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from master.bus import EventBus
from master.events import DirectoryChanged
from master.ledger.rows.records import Node
from master.services.core.errors import NoSuchNode
from master.supervision.clock import Clock


class NodeDirectory:
    """Index of the active nodes by id, by name (case-insensitive) and by the bot's Discord user id.

    Parameters
    ----------
    bus
        Receives an event for each change.
    """

    def __init__(self, bus: EventBus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._by_id: dict[str, Node] = {}
        self._by_name: dict[str, str] = {}
        self._by_user: dict[int, str] = {}
        self._former_names: dict[str, str] = {}
        """Of nodes that were removed while this master ran: what is still said of them names them."""

    def __iter__(self) -> Iterator[Node]:
        return iter(sorted(self._by_id.values(), key=lambda node: (node.priority, node.name.casefold())))

    def __len__(self) -> int:
        return len(self._by_id)

    def put(self, node: Node) -> None:
        """Add or replace a node."""
        self._forget(node.id)
        self._by_id[node.id] = node
        self._by_name[node.name.casefold()] = node.id
        if node.bot_user_id:
            self._by_user[node.bot_user_id] = node.id
        self._announce(node.id)

    def update(self, node_id: str, change: Callable[[Node], Node]) -> None:
        """Replace a node by ``change(node)``; does nothing for an unknown node."""
        node = self._by_id.get(node_id)
        if node is not None:
            self.put(change(node))

    def discard(self, node_id: str) -> None:
        """Remove a node, if present."""
        self._former_names[node_id] = self.name_of(node_id)
        self._forget(node_id)
        self._announce(node_id)

    def _announce(self, node_id: str) -> None:
        self._bus.publish(DirectoryChanged(at=self._clock.now(), node_id=node_id))

    def _forget(self, node_id: str) -> None:
        node = self._by_id.pop(node_id, None)
        if node is not None:
            self._by_name.pop(node.name.casefold(), None)
            self._by_user.pop(node.bot_user_id, None)

    def get(self, node_id: str) -> Node | None:
        """Return the node with this id, or None."""
        return self._by_id.get(node_id)

    def name_of(self, node_id: str) -> str:
        """Return a node's name, also of one that was removed; its id if it is unknown."""
        node = self._by_id.get(node_id)
        return self._former_names.get(node_id, node_id) if node is None else node.name

    def by_user(self, bot_user_id: int) -> Node | None:
        """Return the node of this bot user, or None."""
        return self._by_id.get(self._by_user.get(bot_user_id, ""))

    def find(self, name: str) -> Node:
        """Return the node with this name (case-insensitive) or id.

        Raises
        ------
        NoSuchNode
            The hint suggests similar names.
        """
        node = self._by_id.get(self._by_name.get(name.casefold(), name))
        if node is None:
            near = ", ".join(other.name for other in self.matching(name[:2], limit=3))
            raise NoSuchNode(
                f"there is no node called {name[:60]!r}",
                hint=f"did you mean {near}?" if near else "`fleet status` lists the nodes",
            )
        return node

    def matching(self, fragment: str, *, limit: int = 25) -> list[Node]:
        """Return nodes whose name contains ``fragment``; those that start with it come first."""
        wanted = fragment.casefold()
        found = [node for node in self if wanted in node.name.casefold()]
        found.sort(key=lambda node: not node.name.casefold().startswith(wanted))
        return found[:limit]
