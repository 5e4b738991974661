"""A quiet fleet: CPU of master and zygote while 25 nodes pulse and are sampled; beside idle peers.

Two minutes each, from ten seconds after all its bots are up: PM2 is still busy in its first minute. Ours does more than
the peers all the time: each node sends a signed pulse every nine seconds, its CPU and memory are sampled, and the
master is connected to Discord.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bots import make_programs
from benchmarks.fleets import start_fleet, zygote_of
from benchmarks.peers import PEERS, PeerMissing
from benchmarks.reporting import MB, Outcome, parser, show
from master.demonstration.stage import Stage

SETTLE_S = 10.0
"""Delay after the start, whose remaining work is not idling."""
MINUTES = ("first", "second")


def used_s(processes: list[psutil.Process]) -> float:
    """Return the CPU-seconds of processes from the scheduler's nanosecond counters; ticks are too coarse."""
    tasks = (task for process in processes for task in Path(f"/proc/{process.pid}/task").iterdir())
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


async def _idle(processes: list[psutil.Process], seconds: float) -> dict[str, Any]:
    """Measure processes whose bots are up."""
    await asyncio.sleep(SETTLE_S)
    row: dict[str, Any] = {}
    for minute in MINUTES:
        before = used_s(processes)
        await asyncio.sleep(seconds)
        row[f"cpu_s_{minute}"] = round(used_s(processes) - before, 3)
    row["rss_mb"] = round(sum(process.memory_info().rss for process in processes) / MB, 1)
    return row


async def measure(count: int, seconds: float) -> Outcome:
    """Measure all contenders at the same time, each from when its own bots are up."""
    outcome = Outcome(f"{count} idle bots, twice {seconds:g} s")
    idling: dict[str, asyncio.Task[dict[str, Any]]] = {}
    with ExitStack() as stack:
        for name, run in PEERS.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-idle-")))
            programs, record = make_programs(folder, count)
            try:
                peer = stack.enter_context(run(folder, programs))
                peer.start()
                await asyncio.to_thread(record.wait, count)
                idling[name] = asyncio.create_task(_idle([peer.daemon], seconds))
            except (PeerMissing, TimeoutError) as error:
                outcome.rows[name] = {"missing": str(error)}
        async with Stage(pulse_s=9.0) as stage:
            await stage.start_master()
            await start_fleet(stage, count)
            master = psutil.Process((await stage.status()).master.pid)
            idling["fleetmaster, master"] = asyncio.create_task(_idle([master], seconds))
            idling["fleetmaster, zygote"] = asyncio.create_task(_idle([zygote_of(master)], seconds))
            for name, task in idling.items():
                outcome.rows[name] = await task
            pulses = [node.last_pulse_s_ago for node in (await stage.status()).nodes]
            if any(age is None or age > 20 for age in pulses):
                raise RuntimeError("a node did not pulse")
    own = [outcome.rows[f"fleetmaster, {part}"] for part in ("master", "zygote")]
    for minute in MINUTES:
        key = f"cpu_s_{minute}"
        for name in PEERS:
            outcome.ratio(f"{name}, CPU, {minute}", sum(row[key] for row in own), outcome.rows[name].get(key))
        outcome.at_most(f"cpu_of_pm2_{minute}", outcome.ratios.get(f"PM2, CPU, {minute}"), 1.0)
    outcome.at_most("master_rss_mb", own[0]["rss_mb"], 80.0)
    return outcome


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=25)
    arguments.add_argument("--seconds", type=float, default=60.0)
    options = arguments.parse_args()
    show(asyncio.run(measure(options.nodes, options.seconds)), as_json=options.json)


if __name__ == "__main__":
    main()
