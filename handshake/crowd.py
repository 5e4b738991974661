"""Who is connected to a socket, and who has to leave when it is full: strangers first, and whoever takes most room."""

from __future__ import annotations

from collections import Counter
from typing import Generic, TypeVar

C = TypeVar("C")


class Crowd(Generic[C]):
    """A bounded set of connections.

    A connection is a stranger until it has proved that it is there for something: a request, or a genuine message.
    Strangers can therefore not keep anybody out, and neither can one process that connects again and again.

    Parameters
    ----------
    capacity
        Largest number of connections.
    one_each
        Whether a process needs one connection alone; then the second of one makes room too.
    """

    def __init__(self, capacity: int, *, one_each: bool) -> None:
        self.capacity = capacity
        self._one_each = one_each
        self._strangers: dict[C, int] = {}
        self._proven: dict[C, int] = {}
        """Connections and the ids of their processes, oldest first."""

    def __len__(self) -> int:
        return len(self._strangers) + len(self._proven)

    def __contains__(self, connection: C) -> bool:
        return connection in self._strangers or connection in self._proven

    def enter(self, connection: C, pid: int) -> C | None:
        """Add a connection; returns the one that has to leave for it, which may be itself."""
        self._strangers[connection] = pid
        return None if len(self) <= self.capacity else self._who_leaves(connection)

    def prove(self, connection: C) -> None:
        """Note that a connection is there for something."""
        pid = self._strangers.pop(connection, None)
        if pid is not None:
            self._proven[connection] = pid

    def leave(self, connection: C) -> None:
        """Remove a connection."""
        self._strangers.pop(connection, None)
        self._proven.pop(connection, None)

    def _who_leaves(self, newcomer: C) -> C:
        others = {connection: pid for connection, pid in self._strangers.items() if connection != newcomer}
        if others:
            return _oldest_of_the_busiest(others)
        if self._one_each and len(set(self._proven.values())) < len(self._proven):
            return _oldest_of_the_busiest(self._proven)
        return newcomer


def _oldest_of_the_busiest(connections: dict[C, int]) -> C:
    ((busiest, _),) = Counter(connections.values()).most_common(1)
    return next(connection for connection, pid in connections.items() if pid == busiest)
