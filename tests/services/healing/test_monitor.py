"""The error monitor: what shows in several places is counted once, and a storm takes nobody else's room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from master.services.healing.library import SolutionLibrary
from master.services.healing.monitor import MAX_QUEUED, SEEN_TWICE_S, ErrorMonitor, Finding
from master.services.healing.sighting import SeenIn, Sighting
from tests.services.healing.intake import SOLUTION, Grouped

TRACEBACK = """\
Traceback (most recent call last):
  File "/bots/atlas/bot.py", line 3, in <module>
ValueError: known trouble"""


class HandClock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def now(self) -> datetime:
        return datetime.fromtimestamp(1_800_000_000 + self.now_s, UTC)


class Monitored:
    """A monitor, and what it hands on."""

    def __init__(self, folder: Path) -> None:
        (folder / "known.toml").write_text(SOLUTION.format(seen_in='["stderr", "exit", "report"]'))
        library = SolutionLibrary(folder, folder / "none")
        library.load()
        self.clock, self.groups, self.findings = HandClock(), Grouped(), list[Finding]()
        self.monitor = ErrorMonitor(library, self.groups, self.clock)
        self.monitor.follow(self.findings.append)

    def take(self, seen_in: SeenIn, text: str = TRACEBACK, *, node_id: str = "atlas", count: int = 1) -> None:
        text = f"exit code 1\n{text}" if seen_in is SeenIn.EXIT else text
        self.monitor.take(Sighting(node_id=node_id, at=self.clock.now(), seen_in=seen_in, text=text, count=count))

    async def work(self) -> None:
        """Have the monitor work off what it was given."""
        async with self._running():
            async with asyncio.timeout(20):
                while self.monitor.is_busy:  # noqa: ASYNC110 - it works in the same thread, a step at a time
                    await asyncio.sleep(0)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.monitor.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    @property
    def counted(self) -> list[tuple[str, int]]:
        return [(one.seen_in.value, one.count) for one in self.groups.sightings]


@pytest.fixture
def monitored(tmp_path: Path) -> Monitored:
    return Monitored(tmp_path)


async def test_it_happened_as_often_as_it_showed_where_it_showed_most(monitored: Monitored) -> None:
    monitored.take(SeenIn.STDERR)
    for _ in range(3):
        monitored.take(SeenIn.EXIT)
    monitored.take(SeenIn.STDERR, count=2)
    await monitored.work()
    # One on standard error, two ends of which that was the first, one end more; and nothing new on standard error.
    assert monitored.counted == [("stderr", 1), ("exit", 2), ("exit", 1)]
    assert [(finding.sighting.seen_in.value, finding.is_known) for finding in monitored.findings] == [
        ("stderr", False),
        ("exit", True),
        ("exit", False),
        ("exit", False),
    ]
    assert {finding.sighting.fingerprint for finding in monitored.findings} == {"group1", "group2", "group3"}


async def test_cogs_that_failed_or_were_switched_off_are_no_error_besides_their_own(monitored: Monitored) -> None:
    for text in ("degraded: 1 cog failed: db", "degraded: 2 cogs failed: db, music (disabled)", "backoff: exit code 1"):
        monitored.take(SeenIn.STATE, text)
    monitored.take(SeenIn.STATE, "degraded: no pulse for 27 s")
    await monitored.work()
    assert [sighting.text for sighting in monitored.groups.sightings] == ["degraded: no pulse for 27 s"]


async def test_after_a_while_it_is_another_one(monitored: Monitored) -> None:
    monitored.take(SeenIn.STDERR)
    await monitored.work()
    monitored.clock.now_s += SEEN_TWICE_S + 1
    monitored.take(SeenIn.EXIT)
    await monitored.work()
    assert monitored.counted == [("stderr", 1), ("exit", 1)]


async def test_another_node_has_its_own(monitored: Monitored) -> None:
    monitored.take(SeenIn.STDERR)
    monitored.take(SeenIn.EXIT, node_id="borealis")
    await monitored.work()
    assert monitored.counted == [("stderr", 1), ("exit", 1)]


async def test_a_storm_takes_nobody_elses_room_and_no_exit_is_dropped(monitored: Monitored) -> None:
    for number in range(1_000):
        monitored.take(SeenIn.STDERR, f"KeyError: 'user{number}'", node_id="storming")
    for number in range(200):
        monitored.take(SeenIn.EXIT, f"OSError: {number}", node_id="storming")
    monitored.take(SeenIn.STDERR)
    await monitored.work()
    kinds = [one.seen_in for one in monitored.groups.sightings if one.node_id == "storming"]
    assert (kinds.count(SeenIn.STDERR), kinds.count(SeenIn.EXIT)) == (MAX_QUEUED, 200)
    assert monitored.monitor.dropped == {"storming": 1_000 - MAX_QUEUED}
    assert [finding.sighting.node_id for finding in monitored.findings] == ["atlas"]


async def test_a_follower_that_fails_takes_nothing_from_the_others(
    monitored: Monitored, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_finding: Finding) -> None:
        raise ZeroDivisionError

    also = list[Finding]()
    monitored.monitor.follow(fail)
    monitored.monitor.follow(also.append)
    monitored.take(SeenIn.REPORT, "task refresh: ValueError: x\nValueError: known trouble")
    await monitored.work()
    assert len(also) == len(monitored.findings) == 1
    assert "a follower of the error monitor failed" in caplog.text
