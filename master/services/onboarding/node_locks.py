"""One change of a node at a time: what reads a node, changes it and writes it back must not overlap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from master.ledger.rows.records import Node
from master.services.core.directory import NodeDirectory
from master.services.core.errors import NoSuchNode


class NodeLocks:
    """A lock for each node that is being changed."""

    def __init__(self, directory: NodeDirectory) -> None:
        self._directory = directory
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def holding(self, node: Node) -> AsyncIterator[Node]:
        """Hold a node's lock, and yield the node as it is by then.

        Raises
        ------
        NoSuchNode
            It was removed meanwhile.
        """
        lock = self._locks.setdefault(node.id, asyncio.Lock())
        async with lock:
            current = self._directory.get(node.id)
            if current is None:
                # Not looked up by its name: another node may have that by now.
                raise NoSuchNode(f"{node.name} was removed a moment ago", hint="`fleet status` lists the nodes")
            yield current
