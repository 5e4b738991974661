"""Does one node's output hold up another node's restart? A storm of log lines, beside the same fleet without it.

A program writes lines to its standard error at a given rate, one in a hundred an error, now and then a traceback,
while another node after the other is killed (SIGKILL): how long until its new process runs, by the master's own events.
The same is measured while nobody storms, and while the same program writes into a file that nobody reads: what the
storm takes of the cores by itself is in both. Before that, what the whole intake takes while nobody writes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
from typing import Any

import psutil

from benchmarks.reporting import Outcome, parser, show
from benchmarks.startup import cpu_of
from master.demonstration.stage import EventTap, Stage
from master.operations.parameters import RegisterParams
from master.services.core.views import Registered

PROGRAM = """\
import time
rate, path = {rate}, {path!r}
target = open(path or 2, "wb", buffering=0)
TRACE = (
    b"Traceback (most recent call last):\\n"
    b'  File "/bots/storming/cogs/music.py", line 71, in play\\n'
    b"    await self.queue.put(track)\\n"
    b"RuntimeError: no track %d\\n"
)
number, begun = 0, time.monotonic()
while True:
    due = int((time.monotonic() - begun) * rate)
    while number < due:
        for number in range(number + 1, min(number + 50, due) + 1):
            if number % 5000 == 0:
                target.write(TRACE % number)
            elif number % 100 == 0:
                target.write(b"2026-11-22 17:00:00.123 ERROR bot.music: track %d cannot be played\\n" % number)
            else:
                target.write(b"2026-11-22 17:00:00.123 INFO bot.commands: /play by 8%017d took %d ms\\n" % (number, 7))
    time.sleep(0.005)
"""
BOUND = 1.5
"""Of a restart's 95th percentile under the storm, to that of a quiet fleet under the same load of its cores."""


async def restarts(stage: Stage, tap: EventTap, names: list[str], count: int) -> list[float]:
    """Kill nodes in turn; returns the seconds from each exit to the new process."""
    found = list[float]()
    for number in range(count):
        name, since = names[number % len(names)], len(tap.events)
        os.kill((await stage.node(name)).pid or 0, signal.SIGKILL)
        exited = await tap.wait_for("exited", name, since=since)
        spawned = await tap.wait_for("spawned", name, since=since)
        await tap.wait_for("ready", name, since=since)
        found.append(spawned.at - exited.at)
    return found


async def register_storm(stage: Stage, name: str, rate: int, path: str) -> None:
    """Register a program that storms."""
    folder = stage.home / "bots" / name
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread((folder / "bot.py").write_text, PROGRAM.format(rate=rate, path=path))
    wanted = RegisterParams(name=name, no_token=True, folder=str(folder), readiness="process")
    await asyncio.to_thread(stage.client.call, "register", wanted, answer=Registered, timeout_s=60.0)


async def measure(stage: Stage, tap: EventTap, master: psutil.Process, names: list[str], count: int) -> dict[str, Any]:
    """Measure restarts, and what the master takes meanwhile."""
    loop = asyncio.get_running_loop()
    used, began = cpu_of([master]), loop.time()
    times = sorted(await restarts(stage, tap, names, count))
    share = (cpu_of([master]) - used) / (loop.time() - began)
    return {
        "restarts": count,
        "p50_ms": round(statistics.median(times) * 1000, 2),
        "p95_ms": round(times[int(len(times) * 0.95)] * 1000, 2),
        "max_ms": round(times[-1] * 1000, 2),
        "master_cpu": f"{share:.1%}",
    }


async def idle(master: psutil.Process, seconds: float) -> dict[str, Any]:
    """Measure what the master takes while its nodes only pulse."""
    used = cpu_of([master])
    await asyncio.sleep(seconds)
    return {"master_cpu": f"{(cpu_of([master]) - used) / seconds:.2%}"}


async def standing(master: psutil.Process, seconds: float) -> str:
    """Measure the master's share of a core while a program storms and nobody restarts."""
    used = cpu_of([master])
    await asyncio.sleep(seconds)
    return f"{(cpu_of([master]) - used) / seconds:.1%}"


async def main_async(nodes: int, count: int, rate: int, seconds: float) -> Outcome:
    """Measure all of it, with one master."""
    outcome = Outcome(f"{count} restarts in a fleet of {nodes}, and one node that writes {rate} lines a second")
    async with Stage(pulse_s=9.0) as stage:
        await stage.start_master()
        names = [f"node-{number}" for number in range(nodes)]
        for name in names:
            await stage.register(name)
        master = psutil.Process((await stage.status()).master.pid)
        async with stage.listen() as tap:
            for name in names:
                await tap.wait_for("ready", name) if (await stage.node(name)).state != "ready" else None
            outcome.rows["nobody writes"] = await idle(master, seconds)
            victims = names[: max(2, nodes // 3)]
            await restarts(stage, tap, victims, 4)
            outcome.rows["quiet"] = quiet = await measure(stage, tap, master, victims, count)
            unread = str(stage.home / "bots" / "unread" / "unread.log")
            for row, name, path in (("storm, not read", "unread", unread), ("storm", "storming", "")):
                await register_storm(stage, name, rate, path)
                await tap.wait_for("ready", name)
                share = await standing(master, seconds)
                outcome.rows[row] = {**await measure(stage, tap, master, victims, count), "between_restarts": share}
                await stage.act("kill", [name])
    own, beside = outcome.rows["storm"]["p95_ms"], outcome.rows["storm, not read"]["p95_ms"]
    outcome.ratio("quiet", own, quiet["p95_ms"])
    outcome.at_most("restart_p95_to_unread_storm", outcome.ratio("storm, not read", own, beside), BOUND)
    return outcome


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=25)
    arguments.add_argument("--restarts", type=int, default=100)
    arguments.add_argument("--rate", type=int, default=10_000, help="lines a second")
    arguments.add_argument("--seconds", type=float, default=20.0, help="for the figures without restarts")
    options = arguments.parse_args()
    show(asyncio.run(main_async(options.nodes, options.restarts, options.rate, options.seconds)), as_json=options.json)


if __name__ == "__main__":
    main()
