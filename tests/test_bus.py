"""The event bus: who hears what, what a full queue gives up, and that no listener can harm another."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from master.bus import EventBus, Subscription
from master.events import (
    AlertLevel,
    AlertRaised,
    Event,
    MessageRefused,
    NodeDegraded,
    NodeEnded,
    NodeEvent,
    NodeExited,
    NodeReady,
    StderrLine,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def ready(node_id: str = "01A") -> NodeReady:
    return NodeReady(at=NOW, node_id=node_id)


def refused(node_id: str, reason: str, detail: str = "") -> MessageRefused:
    return MessageRefused(at=NOW, node_id=node_id, reason=reason, transport="local", detail=detail)


def test_a_handler_hears_a_kind_and_its_subclasses_in_order() -> None:
    bus, heard = EventBus(), []
    bus.on(NodeEvent, lambda event: heard.append(("any", event.kind)))
    bus.on(NodeEnded, lambda event: heard.append(("ended", event.kind)))
    bus.publish(ready())
    bus.publish(NodeExited(at=NOW, node_id="01A", exit_code=1))
    bus.publish(refused("01A", "replayed"))
    assert heard == [("any", "ready"), ("any", "exited"), ("ended", "exited")]


def test_a_listener_with_a_mistake_harms_neither_its_publisher_nor_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus, heard = EventBus(), []

    def mistaken(_event: NodeReady) -> None:
        raise ZeroDivisionError("as it must")

    bus.on(NodeReady, mistaken)
    bus.on(NodeReady, lambda event: heard.append(event.node_id))
    for node_id in ("01A", "01B"):
        bus.publish(ready(node_id))
    assert heard == ["01A", "01B"]
    ((name, count),) = bus.failures.items()
    assert name.endswith("mistaken")
    assert count == 2
    assert "a subscriber failed" in caplog.text


async def test_a_subscription_is_read_at_its_own_pace_and_ends_with_its_context() -> None:
    bus = EventBus()
    with bus.subscribe(NodeReady, NodeDegraded) as events:
        bus.publish(ready())
        bus.publish(refused("01A", "replayed"))
        reading = asyncio.ensure_future(anext(events))
        assert await reading == ready()
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        assert not waiting.done()
        bus.publish(ready("01B"))
        assert (await waiting).node_id == "01B"
    bus.publish(ready("01C"))
    assert len(events) == 0


async def test_a_full_queue_gives_up_the_oldest_that_is_not_essential() -> None:
    events: Subscription[Event] = Subscription((Event,), 3)
    for event in (ready("1"), refused("01A", "replayed"), ready("2"), ready("3"), ready("4")):
        events.put(event)
    assert [await events.get() for _ in range(len(events))] == [refused("01A", "replayed"), ready("3"), ready("4")]
    assert (events.lost, events.folded) == (2, 0)


async def test_trouble_is_never_lost_and_a_flood_of_it_stays_bounded() -> None:
    events: Subscription[Event] = Subscription((Event,), 10)
    for number in range(10_000):
        events.put(refused(f"01{number % 4}", "bad_signature", str(number)))
    events.put(refused("010", "replayed"))
    events.put(ready())
    found = [await events.get() for _ in range(len(events))]
    assert len(found) <= 11
    # The newest of each kind is there, whatever came in between; what is no trouble gave way.
    kinds = {(event.node_id, event.reason) for event in found if isinstance(event, MessageRefused)}
    assert kinds == {("010", "bad_signature"), ("011", "bad_signature"), ("012", "bad_signature")} | {
        ("013", "bad_signature"),
        ("010", "replayed"),
    }
    assert max(int(event.detail or 0) for event in found if isinstance(event, MessageRefused)) == 9_999
    assert events.folded == 10_001 - len(found)
    assert events.lost == 1


async def test_alerts_that_a_node_can_multiply_fold_by_node() -> None:
    events: Subscription[AlertRaised] = Subscription((AlertRaised,), 5)
    for number in range(100):
        alert = AlertRaised(
            at=NOW, level=AlertLevel.ERROR, key=f"error:01A:{number:016x}", title=str(number), node="atlas"
        )
        events.put(alert)
    other = AlertRaised(at=NOW, level=AlertLevel.ERROR, key="ledger:away", title="away")
    events.put(other)
    found = [await events.get() for _ in range(len(events))]
    assert len(found) <= 6
    assert found[-1] == other
    assert found[-2].title == "99"


async def test_a_source_learns_when_somebody_listens_and_when_nobody_does() -> None:
    bus, wanted = EventBus(), list[bool]()
    bus.on_demand(StderrLine, wanted.append)
    assert not bus.wants(StderrLine)
    with bus.subscribe(StderrLine), bus.subscribe(StderrLine):
        assert bus.wants(StderrLine)
    with bus.subscribe(NodeReady):
        assert not bus.wants(StderrLine)
    assert wanted == [True, False]


def test_a_source_that_fails_to_begin_leaves_no_subscription_behind() -> None:
    bus = EventBus()

    def begin(wanted: bool) -> None:
        if wanted:
            raise ZeroDivisionError("as it must")

    bus.on_demand(StderrLine, begin)
    with pytest.raises(ZeroDivisionError), bus.subscribe(StderrLine):
        pass
    assert not bus.wants(StderrLine)


async def test_a_cleared_queue_is_empty_and_takes_events_again() -> None:
    events: Subscription[Event] = Subscription((Event,), 3)
    for event in (ready("1"), refused("01A", "replayed"), ready("2")):
        events.put(event)
    events.clear()
    assert len(events) == 0
    events.put(ready("3"))
    assert await events.get() == ready("3")
