"""The limit of concurrent starts."""

from __future__ import annotations

import asyncio

from master.supervision.gate import StartGate


async def enter(gate: StartGate, priority: int, order: list[int]) -> None:
    await gate.enter(priority)
    order.append(priority)


async def test_the_lowest_number_is_admitted_first() -> None:
    gate, order = StartGate(1), list[int]()
    release = await gate.enter(0)
    waiting = [asyncio.create_task(enter(gate, priority, order)) for priority in (30, 10, 20)]
    await asyncio.sleep(0)
    assert order == []
    release()
    release()  # idempotent
    await asyncio.wait_for(waiting[1], 5)
    assert order == [10]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_start_that_does_not_become_ready_releases_its_slot_after_the_timeout() -> None:
    gate = StartGate(1, timeout_s=0.05)
    await gate.enter(0)
    await asyncio.wait_for(gate.enter(1), 5)


async def test_a_cancelled_start_takes_no_slot() -> None:
    gate, order = StartGate(1), list[int]()
    release = await gate.enter(0)
    impatient = asyncio.create_task(enter(gate, 1, order))
    patient = asyncio.create_task(enter(gate, 2, order))
    await asyncio.sleep(0)
    impatient.cancel()
    release()
    await asyncio.wait_for(patient, 5)
    assert order == [2]


async def test_more_places_admit_who_waits_at_once() -> None:
    gate, order = StartGate(1), list[int]()
    await gate.enter(0)
    waiting = [asyncio.create_task(enter(gate, priority, order)) for priority in (1, 2, 3)]
    await asyncio.sleep(0)
    gate.resize(3)
    await asyncio.wait_for(asyncio.gather(*waiting[:2]), 5)
    assert order == [1, 2]
    waiting[2].cancel()


async def test_fewer_places_admit_nobody_before_enough_are_left() -> None:
    gate, order = StartGate(3), list[int]()
    leave = [await gate.enter(0) for _ in range(3)]
    waiting = asyncio.create_task(enter(gate, 1, order))
    await asyncio.sleep(0)
    gate.resize(1)
    leave[0]()
    leave[1]()
    await asyncio.sleep(0)
    assert order == []
    leave[2]()
    await asyncio.wait_for(waiting, 5)
    assert order == [1]
