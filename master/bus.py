"""The event bus: publishers do not know who listens, and no listener can harm another or its publisher.

Two ways to listen: a handler is called at once, in the publisher's own step, and must not wait; a subscription is a
bounded queue that somebody reads in a task of his own. Not thread-safe: publish on the event loop.
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
    """One listener's queue, bounded by what its policy drops.

    When it is full the oldest event that is not essential gives way, and is counted in ``lost``. Essential events are
    never dropped: when nothing else is left to give way, those with equal keys are kept once, and counted in
    ``folded``.

    Parameters
    ----------
    types
        The events that it takes, subclasses included.
    capacity
        Events that may wait.
    """

    def __init__(self, types: tuple[type[E], ...], capacity: int) -> None:
        self.types = types
        self._capacity = capacity
        self._numbers = itertools.count()
        self._events: OrderedDict[int, E] = OrderedDict()
        self._droppable: deque[int] = deque()
        """Numbers of waiting events that are not essential, oldest first."""
        self._newest: dict[tuple[str, ...], int] = {}
        """Number of the newest waiting essential event, by its key."""
        self._arrived = asyncio.Event()
        self.lost = 0
        self.folded = 0

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: E) -> None:
        """Add an event without waiting."""
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
        """Drop or fold something; False when it is the new event that is dropped."""
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
        # Else it is another kind of trouble than all that wait: there are few kinds, and none may be lost.
        return True

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
    """Carries events from whoever publishes them to whoever wants them."""

    def __init__(self) -> None:
        self._handlers: list[tuple[type[Event], Handler]] = []
        self._subscriptions: list[Subscription[Any]] = []
        self._routes: dict[type[Event], tuple[Callable[[Event], None], ...]] = {}
        self._demand: list[tuple[type[Event], Callable[[bool], None]]] = []
        self.failures: dict[str, int] = {}
        """Exceptions of handlers, by the handler's name: each is logged, and ends nothing."""

    def on(self, kind: type[E], handler: Callable[[E], None]) -> None:
        """Call ``handler`` with each event of ``kind``, subclasses included, in the order of subscription.

        It is called in the publisher's step: it must not wait. An exception is logged and counted.
        """
        self._handlers.append((kind, handler))  # type: ignore[arg-type]
        self._changed()

    @contextmanager
    def subscribe(self, *types: type[E], capacity: int = CAPACITY) -> Iterator[Subscription[E]]:
        """Queue the events of ``types``, subclasses included, for as long as the context lasts."""
        subscription = Subscription(types, capacity)
        self._subscriptions.append(subscription)
        self._changed()
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)
            self._changed()

    def wants(self, kind: type[Event]) -> bool:
        """Tell whether anybody listens to events of ``kind``: for sources that cost something."""
        return bool(self._route(kind))

    def on_demand(self, kind: type[Event], changed: Callable[[bool], None]) -> None:
        """Call ``changed`` with True when somebody begins to listen to ``kind``, and with False when nobody does."""
        self._demand.append((kind, changed))
        if self.wants(kind):
            changed(True)

    def publish(self, event: Event) -> None:
        """Give ``event`` to everyone who listens; never waits, and never raises for a listener's mistake."""
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
