"""A hundred duplicates of the template, from the command to ready on the sandbox, and where the time goes.

An operator's script: that many ``fleet dup`` at a time through the control socket, each waiting for its answer, whole
saga included: Discord asked about the token, the ledger, the folder synced to disk, the audit row. The peer is what
one would write without a fleet: copy the folder, put the token into its .env, start it, all at once. What the sandbox
spends, on the same cores, is in both times.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks.fleets import copy_and_start, ending, zygote_of
from benchmarks.reporting import Outcome, parser, show
from benchmarks.startup import cpu_of
from master.control.client import ControlBroken
from master.control.protocol import DuplicateParams
from master.demonstration.stage import Stage
from master.services.core.views import FleetEvent

BOUND_S = 10.0
PATIENCE_S = 180.0
PHASES = {
    "checking the name and the token": "check",
    "reserving the node in the ledger": "reserve",
    "cloning the folder": "clone",
    "committing": "commit",
    "starting": "start",
}
"""The saga's steps, by what their columns are called; the last ends when the node is ready."""


def duplicate(stage: Stage, name: str) -> list[tuple[str, float]]:
    """Ask for one duplicate, and wait for the answer; returns when each phase began."""
    params = DuplicateParams(name=name, token=stage.bots[name].token)
    phases = [("queue", time.time())]
    for line in stage.client.stream("dup", params, timeout_s=PATIENCE_S):
        if line.kind == "result":
            return phases
        event = msgspec.convert(line.data, FleetEvent)
        phases.append((PHASES[event.detail], event.at))
    raise ControlBroken("the master hung up")


async def ours(count: int, at_once: int) -> dict[str, Any]:
    """Measure a master, up and on Discord, without nodes."""
    async with Stage(pulse_s=9.0) as stage:
        await stage.start_master()
        names = [f"node-{number}" for number in range(count)]
        for name in names:
            stage.create_bot(name)
        master = psutil.Process((await stage.status()).master.pid)
        used = cpu_of([psutil.Process()]), cpu_of([master])
        places = asyncio.Semaphore(at_once)
        async with stage.listen() as tap:
            began = time.time()

            async def one(name: str) -> list[tuple[str, float]]:
                async with places:
                    phases = await asyncio.to_thread(duplicate, stage, name)
                ready = await tap.wait_for("ready", name, timeout_s=PATIENCE_S)
                return [*phases, ("ready", ready.at)]

            timelines = await asyncio.gather(*(one(name) for name in names))
        ended = [timeline[-1][1] - began for timeline in timelines]
        bots = [psutil.Process(node.pid) for node in (await stage.status()).nodes if node.pid is not None]
        return {
            "ready": len(bots),
            "wall_s": round(max(ended), 2),
            "each_s": round(statistics.median(timeline[-1][1] - timeline[0][1] for timeline in timelines), 3),
            **_shares(timelines),
            "master_cpu_s": round(cpu_of([master]) - used[1], 2),
            "nodes_cpu_s": round(cpu_of([*bots, zygote_of(master)]), 2),
            "sandbox_cpu_s": round(cpu_of([psutil.Process()]) - used[0], 2),
        }


def _shares(timelines: list[list[tuple[str, float]]]) -> dict[str, float]:
    """Return each phase's share of all the time that duplicates were under way."""
    spent: dict[str, float] = {}
    for timeline in timelines:
        for (phase, since), (_, until) in pairwise(timeline):
            spent[phase] = spent.get(phase, 0.0) + until - since
    return {f"{phase}_share": round(seconds / sum(spent.values()), 3) for phase, seconds in spent.items()}


async def theirs(count: int) -> dict[str, Any]:
    """Measure a script that copies folders and starts plain processes."""
    async with Stage() as stage:
        names = [f"node-{number}" for number in range(count)]
        for name in names:
            stage.create_bot(name)
        used = cpu_of([psutil.Process()])
        started: list[psutil.Popen] = []
        with tempfile.TemporaryDirectory(prefix="fleet-duplication-") as folder, ending(started):
            began = time.monotonic()
            for name in names:
                started.append(await asyncio.to_thread(copy_and_start, stage, Path(folder, name), name))
            async with asyncio.timeout(PATIENCE_S):
                for name in names:
                    await stage.sandbox.gateway.wait_connected(stage.bots[name].account, timeout_s=PATIENCE_S)
            return {
                "ready": count,
                "wall_s": round(time.monotonic() - began, 2),
                "nodes_cpu_s": round(cpu_of(started), 2),
                "sandbox_cpu_s": round(cpu_of([psutil.Process()]) - used, 2),
            }


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=100)
    arguments.add_argument("--at-once", type=int, default=8, help="commands under way at the same time")
    arguments.add_argument("--no-peer", action="store_true", help="measure ours alone")
    options = arguments.parse_args()
    outcome = Outcome(f"{options.nodes} duplicates, {options.at_once} commands at a time")
    outcome.rows["fleetmaster"] = row = asyncio.run(ours(options.nodes, options.at_once))
    if not options.no_peer:
        try:
            outcome.rows["cp -r, plain exec"] = asyncio.run(theirs(options.nodes))
        except TimeoutError:
            outcome.rows["cp -r, plain exec"] = {"missing": f"not all connected within {PATIENCE_S:g} s"}
        outcome.ratio("cp -r, plain exec", row["wall_s"], outcome.rows["cp -r, plain exec"].get("wall_s"))
    outcome.at_least("ready", row["ready"], options.nodes)
    outcome.at_most("duplicates_s", row["wall_s"], BOUND_S)
    show(outcome, as_json=options.json)


if __name__ == "__main__":
    main()
