"""The box without Discord: what the supervisor counts, whom it holds back, and how it finds out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from master.bus import EventBus
from master.events import (
    BoxOffline,
    BoxOnline,
    Event,
    GatewayConnected,
    GatewayLost,
    NodeCutOff,
    NodeDegraded,
    NodeExited,
    NodeHeld,
    NodeOffline,
    NodeQuarantined,
    NodeReady,
    NodeRecovered,
    NodeReplaced,
    NodeSpawned,
    TaskFailed,
)
from master.supervision import connectivity as module
from master.supervision import runner as runner_module
from master.supervision import supervisor as supervisor_module
from master.supervision.clock import SystemClock
from master.supervision.connectivity import Connectivity
from master.supervision.restart_policy import RestartPolicy
from master.supervision.specification import Pulse
from tests.supervision.conftest import EXITS, QUICK, SLEEPS, MakeRig, Rig

WAIT_S = 10.0


class Discord:
    """Discord as a probe sees it."""

    def __init__(self) -> None:
        self.trouble = ""
        self.looks = 0

    async def look(self) -> str:
        self.looks += 1
        return self.trouble


class Box:
    """A rig's box, its Discord, and what was told of both."""

    def __init__(self, bus: EventBus, connectivity: Connectivity, discord: Discord) -> None:
        self.bus, self.connectivity, self.discord = bus, connectivity, discord
        self.told: list[Event] = []
        self._changed = asyncio.Event()
        for kind in (BoxOffline, BoxOnline):
            bus.on(kind, self._note)

    def _note(self, event: Event) -> None:
        self.told.append(event)
        self._changed.set()

    async def wait(self, kind: type[Event]) -> Event:
        async with asyncio.timeout(WAIT_S):
            while True:
                for event in self.told:
                    if isinstance(event, kind):
                        return event
                self._changed.clear()
                await self._changed.wait()

    def lose_gateway(self) -> None:
        self.bus.publish(GatewayLost(at=SystemClock().now()))

    def connect_gateway(self) -> None:
        self.bus.publish(GatewayConnected(at=SystemClock().now()))

    def go_offline(self) -> None:
        self.discord.trouble = "refused"
        self.lose_gateway()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIRM_AFTER_S", "FIRST_PAUSE_S", "LAST_PAUSE_S", "MIN_GAP_S"):
        monkeypatch.setattr(module, name, 0.02)
    monkeypatch.setattr(runner_module, "RELEASE_WITHIN_S", 0.1)


@pytest.fixture
async def box(quick: None) -> AsyncIterator[Box]:
    bus, discord = EventBus(), Discord()
    box = Box(bus, Connectivity(bus, SystemClock(), discord.look), discord)
    watching = asyncio.create_task(box.connectivity.run())
    yield box
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


@pytest.fixture
def rig_in(make_rig: MakeRig, box: Box) -> Callable[..., Rig]:
    def make(**changes: object) -> Rig:
        return make_rig(bus=box.bus, connectivity=box.connectivity, **changes)

    return make


async def test_an_outage_is_told_once_with_its_end_and_its_length(box: Box) -> None:
    box.go_offline()
    box.lose_gateway()
    await box.wait(BoxOffline)
    assert box.connectivity.outage is not None
    assert box.connectivity.outage.why == "refused"
    box.discord.trouble = ""
    end = await box.wait(BoxOnline)
    assert isinstance(end, BoxOnline)
    assert end.duration_s >= 0
    assert [type(event) for event in box.told] == [BoxOffline, BoxOnline]
    assert not box.connectivity.is_offline


async def test_a_single_bad_look_is_no_outage(box: Box) -> None:
    looked = asyncio.Event()

    async def once_bad() -> str:
        box.discord.looks += 1
        if box.discord.looks == 2:
            looked.set()
        return "hung up" if box.discord.looks == 1 else ""

    box.connectivity._probe = once_bad
    watching = asyncio.create_task(box.connectivity.run())
    box.lose_gateway()
    await asyncio.wait_for(looked.wait(), WAIT_S)
    watching.cancel()
    assert box.told == []


async def test_a_probe_that_fails_while_the_master_is_connected_is_not_trusted(box: Box) -> None:
    box.go_offline()
    await box.wait(BoxOffline)
    # Such as behind a proxy that the probe cannot use: nodes must not be held for ever.
    box.connect_gateway()
    await box.wait(BoxOnline)
    box.told.clear()
    looks = box.discord.looks
    box.bus.publish(NodeExited(at=SystemClock().now(), node_id="x", exit_code=1))
    async with asyncio.timeout(WAIT_S):
        while box.discord.looks < looks + 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert box.told == []


async def test_nobody_looks_while_all_is_well(box: Box) -> None:
    box.bus.publish(NodeExited(at=SystemClock().now(), node_id="x", signal=9))
    box.connect_gateway()
    for _ in range(10):
        await asyncio.sleep(0)
    assert box.discord.looks == 0


async def test_who_exits_in_an_outage_is_held_not_counted_and_started_at_its_end(
    box: Box, rig_in: Callable[..., Rig]
) -> None:
    rig = rig_in()
    await asyncio.sleep(0)
    box.go_offline()
    await box.wait(BoxOffline)
    names = [rig.add(f"bot{number}", EXITS) for number in range(6)]
    for name in names:
        await rig.supervisor.start(name)
    for name in names:
        await rig.wait_event(name, NodeHeld)
    view = rig.supervisor.view("bot0")
    assert (view.state, view.pid) == ("offline", None)
    assert view.offline_for_s is not None
    assert "starts when it is back" in view.detail
    since = len(rig.events)
    for name in names:
        rig.supervisor.register(rig.supervisor._runner(name).spec)
        (rig.folder / name / "bot.py").write_text(SLEEPS)
    box.discord.trouble = ""
    for name in names:
        await rig.wait_event(name, NodeSpawned, since=since)
    assert not any(isinstance(event, NodeQuarantined) for event in rig.events)


async def test_a_quarantine_from_before_the_outage_was_noticed_is_taken_back(
    box: Box, rig_in: Callable[..., Rig]
) -> None:
    rig = rig_in(quarantine_exits=2)
    await asyncio.sleep(0)
    box.connectivity._probe = None
    rig.add("bot", EXITS)
    await rig.supervisor.start("bot")
    await rig.wait_event("bot", NodeQuarantined)
    box.connectivity._suspect()
    box.connectivity._begin("refused")
    await rig.wait_event("bot", NodeHeld)
    since = len(rig.events)
    (rig.folder / "bot" / "bot.py").write_text(SLEEPS)
    box.connectivity._end()
    await rig.wait_event("bot", NodeSpawned, since=since)


async def test_nobody_is_replaced_for_being_silent_or_slow_in_an_outage(box: Box, rig_in: Callable[..., Rig]) -> None:
    rig = rig_in(ready_timeout_s=0.5, missed_pulses=1)
    await asyncio.sleep(0)
    for name in ("silent", "slow"):
        rig.add(name, SLEEPS)
    rig.auto_verify.add("silent")
    box.go_offline()
    await box.wait(BoxOffline)
    await rig.supervisor.start("silent")
    await rig.supervisor.start("slow")
    rig.pulse("silent", interval_s=0.05)
    assert rig.supervisor.view("slow").detail == "waits for Discord"
    # Longer than either deadline: each look takes at least 0.02 s.
    looks = box.discord.looks
    while box.discord.looks < looks + 35:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert not any(isinstance(event, NodeReplaced | NodeDegraded) for event in rig.events)
    box.discord.trouble = ""
    await box.wait(BoxOnline)
    assert not any(isinstance(event, NodeReplaced | NodeDegraded) for event in rig.events)
    await rig.wait_event("slow", NodeReplaced)
    await rig.wait_event("silent", NodeDegraded)


async def test_a_node_that_says_it_is_offline_is_shown_so_until_it_says_otherwise(rig: Rig) -> None:
    rig.add("bot", SLEEPS)
    rig.auto_verify.add("bot")
    await rig.supervisor.start("bot")
    await rig.wait_event("bot", NodeReady)

    def pulse(offline_s: float | None) -> None:
        pulse = Pulse(uptime_s=1, latency_ms=None, guilds=0, state="ready", interval_s=60, offline_s=offline_s)
        rig.supervisor.node_pulsed("bot", pulse)

    pulse(0.5)  # a reconnect, as Discord asks for now and then
    assert rig.supervisor.view("bot").state == "ready"
    pulse(7.0)
    await rig.wait_event("bot", NodeOffline)
    view = rig.supervisor.view("bot")
    assert view.state == "offline"
    assert view.offline_for_s is not None
    assert 6.9 < view.offline_for_s < 20
    pulse(8.0)
    pulse(None)
    await rig.wait_event("bot", NodeRecovered)
    view = rig.supervisor.view("bot")
    assert (view.state, view.offline_for_s, view.detail) == ("ready", None, "")
    assert sum(isinstance(event, NodeOffline) for event in rig.events) == 1


async def test_a_node_that_alone_stays_offline_is_told_of_once(box: Box, rig_in: Callable[..., Rig]) -> None:
    rig = rig_in()
    await asyncio.sleep(0)
    rig.add("bot", SLEEPS)
    rig.auto_verify.add("bot")
    await rig.supervisor.start("bot")
    await rig.wait_event("bot", NodeReady)

    def pulse(offline_s: float | None) -> None:
        pulse = Pulse(uptime_s=1, latency_ms=None, guilds=0, state="ready", interval_s=60, offline_s=offline_s)
        rig.supervisor.node_pulsed("bot", pulse)

    def told() -> int:
        return sum(isinstance(event, NodeCutOff) for event in rig.events)

    for offline_s in (50.0, 59.0, 61.0, 70.0):
        pulse(offline_s)
    assert told() == 1
    pulse(None)
    box.go_offline()
    await box.wait(BoxOffline)
    for offline_s in (61.0, 70.0):
        pulse(offline_s)
    box.discord.trouble = ""
    await box.wait(BoxOnline)
    # It needs a moment to connect again.
    pulse(80.0)
    assert told() == 1


async def test_a_node_that_was_never_connected_is_not_ready_by_waiting(rig: Rig) -> None:
    rig.add("bot", SLEEPS)
    await rig.supervisor.start("bot")
    rig.supervisor.node_verified("bot", version="1", interval_s=60.0, offline_s=30.0)
    await rig.wait_event("bot", NodeOffline)
    rig.pulse("bot")
    await rig.wait_event("bot", NodeReady)


async def test_a_sweep_that_fails_is_told_and_ends_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    told, swept = list[TaskFailed](), asyncio.Event()
    rig.supervisor._bus.on(TaskFailed, told.append)

    async def rotate() -> None:
        if not told:
            raise ZeroDivisionError("as it must")
        swept.set()

    monkeypatch.setattr(rig.supervisor, "_rotate_logs", rotate)
    monkeypatch.setattr(supervisor_module, "SWEEP_WATCHED_S", 0.05)
    rig.supervisor.watch_closely()
    if rig.task is not None:
        rig.task.cancel()
        await asyncio.gather(rig.task, return_exceptions=True)
    rig.task = asyncio.create_task(rig.supervisor.run())
    await asyncio.wait_for(swept.wait(), WAIT_S)
    assert [(event.task, event.error) for event in told] == [("sweep", "ZeroDivisionError: as it must")]


def test_forgiving_leaves_older_exits_counted() -> None:
    import random

    policy = RestartPolicy(QUICK, random.Random(1))  # noqa: S311
    decisions = [policy.after_exit(at, ready_for_s=None) for at in (100.0, 101.0, 110.0, 111.0, 112.0)]
    assert decisions[-1].quarantined
    assert policy.forgive(109.0)
    assert not policy.forgive(109.0)
    decision = policy.after_exit(113.0, ready_for_s=None)
    assert (decision.quarantined, decision.reason) == (False, "restart 3 in a row")
