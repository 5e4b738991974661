"""Random kills of nodes, the zygote and the master, between random stops and starts: nothing lost, nothing twice.

``FLEET_FUZZ=300`` makes 300 kills. The seed of a failure is in its message.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter

import psutil
import pytest

from master.demonstration.stage import Stage
from master.supervision.probe import map_processes
from tests.hostile.effort import rounds

NAMES = ("atlas", "borealis", "cassini", "delphi")
ROUNDS = rounds(12)
SETTLED_S = 60.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 30 * ROUNDS)]


class Havoc:
    """Kills and operator's actions at random, and what must be true after each.

    Parameters
    ----------
    stage
        A stage whose master runs all of ``NAMES``.
    rng
        Source of the choices.
    """

    def __init__(self, stage: Stage, rng: random.Random) -> None:
        self._stage = stage
        self._rng = rng
        self._stopped: set[str] = set()
        self.counts: Counter[str] = Counter()

    async def strike(self) -> None:
        """Do one thing at random."""
        acts = (
            self._kill_node,
            self._kill_node,
            self._kill_several,
            self._kill_zygote,
            self._kill_master,
            self._stop_or_start,
            self._stop_or_start_and_kill_master,
        )
        act = self._rng.choice(acts)
        self.counts[act.__name__.strip("_")] += 1
        await act()

    async def _kill_node(self) -> None:
        await self._kill(self._rng.choice(NAMES))

    async def _kill_several(self) -> None:
        for name in self._rng.sample(NAMES, 3):
            await self._kill(name)

    async def _kill(self, name: str) -> None:
        pid = (await self._stage.node(name)).pid
        if pid is not None:
            _signal(pid, signal.SIGKILL)

    async def _kill_zygote(self) -> None:
        assert self._stage.master is not None
        children = psutil.Process(self._stage.master.process.pid).children()
        for child in children:
            with contextlib.suppress(psutil.Error):  # A node that has just ended.
                if "zygote" in child.name() or "zygote" in " ".join(child.cmdline()):
                    _signal(child.pid, signal.SIGKILL)
                    self.counts["zygotes"] += 1

    async def _kill_master(self) -> None:
        master = self._stage.master
        assert master is not None
        _signal(master.process.pid, signal.SIGKILL)
        await master.process.wait()
        await self._stage.start_master()

    async def _stop_or_start(self) -> None:
        name = self._rng.choice(NAMES)
        verb = "start" if name in self._stopped else "stop"
        (result,) = await self._stage.act(verb, [name])
        assert result.ok, result
        self._stopped ^= {name}

    async def _stop_or_start_and_kill_master(self) -> None:
        await self._stop_or_start()
        await self._kill_master()

    async def settle(self) -> None:
        """Wait until each wanted node is ready and each stopped one stopped, with one process each or none."""
        deadline = asyncio.get_running_loop().time() + SETTLED_S
        while lacking := await self._lacking():
            assert asyncio.get_running_loop().time() < deadline, lacking
            await asyncio.sleep(0.05)

    async def _lacking(self) -> str:
        nodes = (await self._stage.status()).nodes
        wanted = {name: "stopped" if name in self._stopped else "ready" for name in NAMES}
        found = {node.name: node.state for node in nodes}
        if found != wanted:
            return f"states {found}, wanted {wanted}"
        running = {node.pid for node in nodes if node.pid is not None}
        processes = await asyncio.to_thread(map_processes, self._stage.home / "bots", set())
        # A bot's helpers would count too: these nodes have none.
        if {process.pid for process in processes} != running:
            return f"processes {[(process.pid, process.folder.name) for process in processes]}, nodes' {running}"
        return ""


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # It had just ended of itself.


async def test_random_kills_lose_nothing_and_double_nothing() -> None:
    seed = int(os.environ.get("FLEET_FUZZ_SEED", "") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed}")
    async with Stage(pulse_s=0.5) as stage:
        await stage.start_master()
        async with stage.listen() as tap:
            for name in NAMES:
                await stage.register(name)
            for name in NAMES:
                await tap.wait_for("ready", name)
        havoc = Havoc(stage, random.Random(seed))  # noqa: S311 - a choice that can be repeated
        for _ in range(ROUNDS):
            await havoc.strike()
            await havoc.settle()
        print(f"{ROUNDS} rounds: {dict(havoc.counts)}; no orphan, no second process, no lost state")
