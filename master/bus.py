"""The event bus: decouples publishers from listeners; an exception in one listener does not affect others.

There are two ways to listen. A handler is called synchronously by the publisher, and must not block. A subscription
is a bounded queue that another task reads. Not thread-safe: publish on the event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from master.events import Event

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)
Handler = Callable[[Event], None]
CAPACITY = 1_000


class Subscription(Generic[E]):
    """A bounded event queue of one listener.

    When it is full, the oldest event that is not essential is dropped and counted in ``lost``. Essential events are
    never dropped. When only those are left, an event replaces the older one with the same ``fold_key``, which is
    counted in ``folded``.

    Parameters
    ----------
    types
        Event types to queue, subclasses included.
    capacity
        Largest number of queued events.
    """

    def __init__(self, types: tuple[type[E], ...], capacity: int) -> None:
        self.types = types
        self._capacity = capacity
        self._numbers = itertools.count()
        self._events: OrderedDict[int, E] = OrderedDict()
        self._droppable: deque[int] = deque()
        """Numbers of queued events that are not essential, oldest first."""
        self._newest: dict[tuple[str, ...], int] = {}
        """Number of the newest queued essential event of each key."""
        self._arrived = asyncio.Event()
        self.lost = 0
        self.folded = 0

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: E) -> None:
        """Add an event; never blocks."""
        if len(self._events) >= self._capacity and not self._make_room(event):
            return
        number = next(self._numbers)
        self._events[number] = event
        if event.essential:
            self._newest[event.fold_key] = number
        else:
            self._droppable.append(number)
        self._arrived.set()

    def _make_room(self, event: E) -> bool:
        """Drop or fold an event; False if the new event itself is dropped."""
        if self._droppable:
            del self._events[self._droppable.popleft()]
            self.lost += 1
            return True
        if not event.essential:
            self.lost += 1
            return False
        number = self._newest.get(event.fold_key)
        if number is not None:
            del self._events[number]
            self.folded += 1
        # Otherwise its key is new: the queue grows beyond its capacity, but there are only few keys.
        return True

    def clear(self) -> None:
        """Drop the queued events, for a listener that reads what they are about by itself."""
        self._events.clear()
        self._droppable.clear()
        self._newest.clear()

    async def get(self) -> E:
        """Wait for the next event."""
        while not self._events:
            self._arrived.clear()
            await self._arrived.wait()
        number, event = self._events.popitem(last=False)
        if not event.essential:
            self._droppable.popleft()
        elif self._newest.get(event.fold_key) == number:
            del self._newest[event.fold_key]
        return event

    def __aiter__(self) -> AsyncIterator[E]:
        return self

    async def __anext__(self) -> E:
        return await self.get()


class EventBus:
    """Delivers published events to handlers and subscriptions."""

    def __init__(self) -> None:
        self._handlers: list[tuple[type[Event], Handler]] = []
        self._subscriptions: list[Subscription[Any]] = []
        self._routes: dict[type[Event], tuple[Callable[[Event], None], ...]] = {}
        self._demand: list[tuple[type[Event], Callable[[bool], None]]] = []
        self.failures: dict[str, int] = {}
        """Number of exceptions by handler name; each is logged."""

    def on(self, kind: type[E], handler: Callable[[E], None]) -> None:
        """Call ``handler`` with each event of ``kind``, subclasses included, in the order of subscription.

        It is called synchronously by the publisher, so it must not block. An exception is logged and counted.
        """
        self._handlers.append((kind, handler))  # type: ignore[arg-type]
        self._changed()

    @contextmanager
    def subscribe(self, *types: type[E], capacity: int = CAPACITY) -> Iterator[Subscription[E]]:
        """Queue the events of ``types``, subclasses included, until the context exits."""
        subscription = Subscription(types, capacity)
        self._subscriptions.append(subscription)
        try:
            # Within the try: a source that fails to begin must not leave a subscription that nobody reads.
            self._changed()
            yield subscription
        finally:
            self._subscriptions.remove(subscription)
            self._changed()

    def wants(self, kind: type[Event]) -> bool:
        """Tell whether there is a listener for ``kind``; for publishers whose events are expensive."""
        return bool(self._route(kind))

    def on_demand(self, kind: type[Event], changed: Callable[[bool], None]) -> None:
        """Call ``changed`` with True when ``kind`` gets its first listener, and with False when it loses the last."""
        self._demand.append((kind, changed))
        if self.wants(kind):
            changed(True)

    def publish(self, event: Event) -> None:
        """Deliver ``event`` to all listeners; never blocks, and logs exceptions of listeners."""
        for take in self._routes.get(type(event)) or self._route(type(event)):
            try:
                take(event)
            except Exception:
                name = getattr(take, "__qualname__", repr(take))
                self.failures[name] = self.failures.get(name, 0) + 1
                log.exception("a subscriber failed", extra={"subscriber": name, "event": type(event).__name__})

    def _route(self, kind: type[Event]) -> tuple[Callable[[Event], None], ...]:
        known = self._routes.get(kind)
        if known is None:
            handlers = [handler for wanted, handler in self._handlers if issubclass(kind, wanted)]
            queues = [queue.put for queue in self._subscriptions if issubclass(kind, queue.types)]
            known = self._routes[kind] = (*handlers, *queues)
        return known

    def _changed(self) -> None:
        before = {kind for kind, _ in self._demand if self._routes.get(kind)}
        self._routes = {}
        for kind, changed in self._demand:
            if (wanted := self.wants(kind)) != (kind in before):
                changed(wanted)
