"""The nodes in memory: what the ledger says, kept beside the supervisor so that nothing waits on the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from master.bus import EventBus
from master.events import DirectoryChanged
from master.ledger.rows.records import Node
from master.services.core.errors import NoSuchNode
from master.supervision.clock import Clock


class NodeDirectory:
    """Active nodes by id, by name (without case) and by their bot's Discord user id.

    Parameters
    ----------
    bus
        Every change is an event.
    """

    def __init__(self, bus: EventBus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._by_id: dict[str, Node] = {}
        self._by_name: dict[str, str] = {}
        self._by_user: dict[int, str] = {}

    def __iter__(self) -> Iterator[Node]:
        return iter(sorted(self._by_id.values(), key=lambda node: (node.priority, node.name.casefold())))

    def __len__(self) -> int:
        return len(self._by_id)

    def put(self, node: Node) -> None:
        """Add a node, or replace what is known of it."""
        self._forget(node.id)
        self._by_id[node.id] = node
        self._by_name[node.name.casefold()] = node.id
        self._by_user[node.bot_user_id] = node.id
        self._announce(node.id)

    def update(self, node_id: str, change: Callable[[Node], Node]) -> None:
        """Change what is known of a node, if it is known."""
        node = self._by_id.get(node_id)
        if node is not None:
            self.put(change(node))

    def discard(self, node_id: str) -> None:
        """Forget a node, if it is known."""
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
        """Return a node's name; its id when it is not known."""
        node = self._by_id.get(node_id)
        return node_id if node is None else node.name

    def by_user(self, bot_user_id: int) -> Node | None:
        """Return the node whose bot this Discord user is, or None."""
        return self._by_id.get(self._by_user.get(bot_user_id, ""))

    def find(self, name: str) -> Node:
        """Return the node called ``name``, without regard to case, or with that id.

        Raises
        ------
        NoSuchNode
            With the nearest names in its hint.
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
        """Return nodes whose name holds ``fragment``, those that begin with it first."""
        wanted = fragment.casefold()
        found = [node for node in self if wanted in node.name.casefold()]
        found.sort(key=lambda node: not node.name.casefold().startswith(wanted))
        return found[:limit]
