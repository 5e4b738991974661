"""A crash is told by one: by the solution that knows it, or by the crash watch, in whatever order they come to it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

import master.services.healing.crash_watch as watching
import master.services.repair.repair as repairing
from master.configuration.settings import Settings
from master.events import AlertRaised, NodeSpawned
from master.services.healing.sighting import SeenIn, Sighting
from tests.services.repair.conftest import Ward, write_solution

CRASHING = """\
import signal
import sys

def end(*_):
    sys.exit("no {what} on me")

signal.signal(signal.SIGUSR1, end)
print('up', flush=True)
while True:
    signal.pause()
"""
GATHER_S = 0.05


@pytest.fixture
async def watched(ward: Ward, ward_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ward]:
    """A ward with a crash watch that comes to each crash long before who decides about it."""
    monkeypatch.setattr(watching, "GATHER_S", GATHER_S)
    monkeypatch.setattr(watching, "SETTLE_S", GATHER_S)
    monkeypatch.setattr(repairing, "GATHER_S", 20 * GATHER_S)
    write_solution(ward_settings, "strings", pattern="no strings on me", risk="manual", action="notify")
    await ward.reload()
    task = asyncio.create_task(ward.house.services.crash_watch.run())
    yield ward
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def crash(ward: Ward, name: str, what: str) -> str:
    """Have a program end with these words; returns its node's id."""
    node_id = await ward.add(name, CRASHING.format(what=what))
    pid = ward.house.services.supervisor.view(node_id).pid
    assert pid is not None
    os.kill(pid, signal.SIGUSR1)
    await ward.wait(lambda event: isinstance(event, NodeSpawned) and event.node_id == node_id, count=2)
    return node_id


async def test_the_crash_watch_waits_for_who_decides_and_tells_what_is_left(watched: Ward) -> None:
    await crash(watched, "known", "strings")
    # Whoever knows nothing of it has decided soon: this one ends later, and would be told first.
    await crash(watched, "unknown", "wings")
    await watched.wait(lambda event: isinstance(event, AlertRaised) and event.title.startswith("unknown "))
    titles = [alert.title for alert in watched.alerts()]
    assert "known: Its cache is stale" in titles
    assert [title for title in titles if title.startswith("known ")] == []


@pytest.mark.parametrize("decided_first", [False, True])
async def test_a_crash_whose_error_was_in_the_output_before_is_told_with_it(
    ward: Ward, ward_settings: Settings, decided_first: bool
) -> None:
    write_solution(ward_settings, "typo", pattern="typo", risk="manual", action="notify")
    await ward.reload()
    node_id, services = await ward.add(), ward.house.services
    at = services.clock.now()

    def see(seen_in: SeenIn, text: str) -> None:
        services.error_monitor.take(Sighting(node_id=node_id, at=at, seen_in=seen_in, text=text))

    see(SeenIn.STDERR, "a typo")
    if decided_first:
        await ward.wait(lambda event: isinstance(event, AlertRaised))
    see(SeenIn.EXIT, "exit code 1\na typo")
    await ward.wait(lambda event: isinstance(event, AlertRaised))
    while services.error_monitor.is_busy:  # noqa: ASYNC110 - it works in the same thread, a step at a time
        await asyncio.sleep(0)
    assert services.repair.tells(node_id, at) == "advice"
    assert len(ward.alerts()) == 1


async def test_of_several_crashes_that_are_decided_together_each_is_told(
    ward: Ward, ward_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_solution(ward_settings, "typo", pattern="typo", risk="manual", action="notify")
    await ward.reload()
    node_id, services = await ward.add(), ward.house.services
    times = []
    for _ in range(3):
        times.append(services.clock.now())
        ward.show(node_id, "exit code 1\ntypo", SeenIn.EXIT, at=times[-1])
    await ward.decided(node_id)
    assert [services.repair.tells(node_id, at) for at in times] == ["advice"] * 3
