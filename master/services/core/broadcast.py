"""One publisher, any number of listeners, none of whom can hold up the others or fill the memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Subscription(Generic[T]):
    """One listener's bounded queue; when it is full the oldest item goes and is counted in ``lost``."""

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque(maxlen=capacity)
        self._arrived = asyncio.Event()
        self.lost = 0

    def put(self, item: T) -> None:
        """Add an item without waiting."""
        if len(self._items) == self._items.maxlen:
            self.lost += 1
        self._items.append(item)
        self._arrived.set()

    async def get(self) -> T:
        """Wait for the next item."""
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        return self._items.popleft()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        return await self.get()


class Broadcast(Generic[T]):
    """Hand every published item to every subscription.

    Parameters
    ----------
    capacity
        Items a listener may be behind before it loses the oldest.
    """

    def __init__(self, capacity: int = 1_000) -> None:
        self._capacity = capacity
        self._subscriptions: set[Subscription[T]] = set()

    def publish(self, item: T) -> None:
        """Return ``item`` to everyone who listens; never waits."""
        for subscription in self._subscriptions:
            subscription.put(item)

    @contextmanager
    def subscribe(self) -> Iterator[Subscription[T]]:
        """Listen for as long as the context lasts."""
        subscription: Subscription[T] = Subscription(self._capacity)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
