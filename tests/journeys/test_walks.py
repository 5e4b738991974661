"""The walks of docs/architecture.md: a master in this process, whose calls and events are held to what is written."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from master.configuration.loading import load_settings
from master.demonstration.author import Author
from master.demonstration.stage import EventTap, Stage
from master.main import run_master
from master.operations import kernel, nodes, patches
from master.operations.parameters import NamesParams, NoParams, PatchReceiveParams, ShutdownParams
from master.services.fleet import pulse_snapshots

ROOT = Path(__file__).resolve().parents[2]
HOP = re.compile(r"^\d+\. `(?P<path>[^`]+)` `(?P<name>[^`]+)`(?P<elsewhere> \(in the node\))?: ", re.MULTILINE)
MAX_HOPS = 10
WAIT_S = 30.0

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True)
class Hop:
    """One line of a walk."""

    path: str
    name: str
    in_master: bool


@dataclass(frozen=True)
class Walk:
    """One section of the page."""

    hops: tuple[Hop, ...]
    events: tuple[str, ...]


def walk(title: str) -> Walk:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    section = text.partition(f"### {title}\n")[2].partition("\n##")[0]
    hops = tuple(Hop(found["path"], found["name"], found["elsewhere"] is None) for found in HOP.finditer(section))
    events = re.search(r"^Events: (.*)$", section, re.MULTILINE)
    return Walk(hops, tuple(re.findall(r"`(\w+)`", events[1])) if events else ())


WALKS = (
    "From /dupbot to ready",
    "From a pulse to the ledger",
    "From a death to the restart",
    "From a patch to good",
    "From a setting to where it acts",
)


@pytest.mark.parametrize("title", WALKS)
def test_a_walk_is_short_and_each_of_its_hops_exists(title: str) -> None:
    hops = walk(title).hops
    assert 1 < len(hops) <= MAX_HOPS
    for hop in hops:
        tree: Any = ast.parse((ROOT / hop.path).read_text("utf-8"))
        for name in hop.name.split("."):
            kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
            tree = next(node for node in tree.body if isinstance(node, kinds) and node.name == name)


class Footprints:
    """Which functions of the walks were entered, in order, whatever thread they ran in."""

    def __init__(self) -> None:
        self.wanted = {(str(ROOT / hop.path), hop.name): hop for title in WALKS for hop in walk(title).hops}
        self.seen: list[Hop] = []

    def note(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            code = frame.f_code
            hop = self.wanted.get((code.co_filename, code.co_qualname))
            if hop is not None:
                self.seen.append(hop)

    def follow(self, hops: Sequence[Hop], since: int) -> list[Hop]:
        """Return the hops that were not entered in their order."""
        left = [hop for hop in hops if hop.in_master]
        for hop in self.seen[since:]:
            if left and left[0] == hop:
                del left[0]
        return left


@dataclass
class House:
    """A stage whose master runs in this process."""

    stage: Stage
    tap: EventTap
    footprints: Footprints

    def here(self) -> tuple[int, int]:
        return len(self.footprints.seen), len(self.tap.events)

    async def walked(self, title: str, since: tuple[int, int], *, node: str = "") -> None:
        """Wait until every hop was entered in its order; then hold the events to theirs."""
        found = walk(title)
        await until(lambda: not self.footprints.follow(found.hops, since[0]), lambda: self._left(found, since, node))
        await until(lambda: not self._events_left(found.events, since[1], node), lambda: self._left(found, since, node))

    def _left(self, found: Walk, since: tuple[int, int], node: str) -> str:
        hops = self.footprints.follow(found.hops, since[0])
        return f"not walked: {hops}, not heard: {self._events_left(found.events, since[1], node)}"

    def _events_left(self, kinds: Sequence[str], since: int, node: str) -> list[str]:
        missing = list(kinds)
        for event in self.tap.events[since:]:
            if missing and event.kind == missing[0] and event.node in (node, ""):
                del missing[0]
        return missing


async def until(holds: Callable[[], bool], why: Callable[[], str] = str) -> None:
    """Wait for what tells nobody when it has come."""
    try:
        async with asyncio.timeout(WAIT_S):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(why()) from None


@pytest.fixture
async def house(empty_ledger: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    # Five minutes are too long to wait for; nothing else about the walk depends on it.
    monkeypatch.setattr(pulse_snapshots, "EVERY_S", 1.0)
    footprints = Footprints()
    threading.setprofile(footprints.note)
    sys.setprofile(footprints.note)
    try:
        async with (
            Stage(pulse_s=0.5, ledger=empty_ledger) as stage,
            running_master(stage),
            stage.listen() as tap,
        ):
            yield House(stage, tap, footprints)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@asynccontextmanager
async def running_master(stage: Stage) -> AsyncIterator[None]:
    running = asyncio.create_task(run_master(load_settings(stage.home, os.environ)))
    control = stage.home / "state" / "control.sock"
    await until(lambda: control.exists() or running.done())
    while (await stage.status()).master.discord != "ready":  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    try:
        yield
    finally:
        await asyncio.to_thread(stage.client.run, kernel.shutdown, ShutdownParams())
        await asyncio.wait_for(running, WAIT_S)


async def test_the_walks_are_as_they_are_written(house: House) -> None:
    stage, tap = house.stage, house.tap

    start = house.here()
    bot = stage.create_bot("atlas")
    form = await stage.operator.runs_command(stage.office, stage.master_bot, "dupbot")
    await stage.operator.submits_modal(form, {"Name": "atlas", "Bot token": bot.token, "Tags": ""})
    await tap.wait_for("verified", "atlas")
    await house.walked("From /dupbot to ready", start, node="atlas")

    await house.walked("From a pulse to the ledger", house.here())

    start = house.here()
    pid = (await stage.node("atlas")).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await tap.wait_for("verified", "atlas", since=start[1])
    await house.walked("From a death to the restart", start, node="atlas")

    author = Author(stage.home)
    await asyncio.to_thread(author.is_trusted_by, stage.client)
    start = house.here()
    folder = stage.home / "bots" / "atlas"
    text = (folder / "cogs" / "health.py").read_text() + "\n# patched\n"
    bundle = author.write(folder, {"cogs/health.py": text}, name="health", version=1, reload=("health",))
    deploying = PatchReceiveParams(path=str(bundle), deploy=True, canary=0, soak_s=0.0)
    await asyncio.to_thread(stage.client.run, patches.receive, deploying)
    await house.walked("From a patch to good", start, node="atlas")

    start = house.here()
    config = stage.home / "config.py"
    config.write_text(config.read_text() + "SUPERVISION['GRACE_S'] = 7.0\n")
    view = await asyncio.to_thread(stage.client.run, kernel.reload, NoParams())
    assert view.applied == ("SUPERVISION['GRACE_S']",)
    await asyncio.to_thread(stage.client.run, nodes.stop, NamesParams(names=("atlas",)))
    await house.walked("From a setting to where it acts", start, node="atlas")
