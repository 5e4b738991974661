"""Lines of nodes as events: read only while somebody listens, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from master.bus import EventBus, Subscription
from master.events import StderrLine
from master.supervision.stderr_lines import MAX_BYTES, StderrLines
from tests.supervision.conftest import Rig

SPEAKS = """
import sys, pathlib, time
said = 0
while True:
    for line in pathlib.Path("say").read_text().splitlines()[said:]:
        said += 1
        sys.stderr.write(line + "\\n")
        sys.stderr.flush()
    time.sleep(0.01)
"""


@asynccontextmanager
async def listening(rig: Rig, bus: EventBus) -> AsyncIterator[Subscription[StderrLine]]:
    lines = StderrLines(bus, rig.clock, rig.logs, rig.supervisor)
    reading = asyncio.create_task(lines.run())
    try:
        with bus.subscribe(StderrLine) as heard:
            await lines.begun.wait()
            yield heard
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_what_a_node_writes_is_heard_from_now_on(rig: Rig) -> None:
    node = rig.add("atlas", SPEAKS)
    said = rig.folder / "atlas" / "say"
    said.write_text("before\n")
    await rig.supervisor.start(node)
    _, log = rig.logs.paths(node)
    while not log.exists() or "before" not in log.read_text():  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.01)
    async with listening(rig, EventBus()) as heard:
        said.write_text("before\nfirst\nsecond [/]\n")
        lines = [await asyncio.wait_for(heard.get(), 10) for _ in range(2)]
    assert [(line.node_id, line.line) for line in lines] == [("atlas", "first"), ("atlas", "second [/]")]


async def test_a_flood_is_cut_to_its_end_and_what_was_skipped_is_counted(rig: Rig) -> None:
    rig.add("atlas", SPEAKS)
    _, log = rig.logs.paths("atlas")
    log.parent.mkdir(exist_ok=True)
    log.write_text("")
    async with listening(rig, EventBus()) as heard:
        log.write_text("x" * 99 + "\n" + ("y" * 99 + "\n") * (5 * MAX_BYTES // 100) + "the end\n")
        first = await asyncio.wait_for(heard.get(), 10)
        assert first.skipped_bytes >= 4 * MAX_BYTES
        found = [first]
        while found[-1].line != "the end":
            found.append(await asyncio.wait_for(heard.get(), 10))
        assert sum(len(line.line) + 1 for line in found) <= MAX_BYTES
        # Rotation cuts the file to nothing; what comes then is read from its start.
        log.write_text("anew\n")
        assert (await asyncio.wait_for(heard.get(), 10)).line == "anew"


async def test_without_a_listener_nothing_is_read(rig: Rig) -> None:
    bus = EventBus()
    lines = StderrLines(bus, rig.clock, rig.logs, rig.supervisor)
    reading = asyncio.create_task(lines.run())
    await asyncio.sleep(0)
    assert not lines.begun.is_set()
    with bus.subscribe(StderrLine):
        await asyncio.wait_for(lines.begun.wait(), 10)
    await asyncio.wait_for(lines.ended.wait(), 10)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
