"""A soak on the sandbox: a random SIGKILL every second; how much of the time the nodes were ready, and what was left.

Real master, real nodes, the demo's stage. There is no peer in this one yet: its column says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import statistics
import time
from typing import Any

from master.demonstration.stage import Stage
from master.services.views import FleetEvent

BOUND = 0.999


async def soak(nodes: int, seconds: float) -> dict[str, Any]:
    """Run the soak; gives availability, recovery times in ms, and the master's growth."""
    chance = random.Random(1)  # noqa: S311 - which node dies next
    async with Stage() as stage:
        await stage.start_master()
        async with stage.listen() as tap:
            names = [f"node-{number}" for number in range(nodes)]
            await asyncio.gather(*(stage.register(name) for name in names))
            for name in names:
                await tap.wait_for("ready", name)
            before = (await stage.status()).master
            began, since, kills = time.time(), len(tap.events), 0
            while time.time() - began < seconds:
                node = await stage.node(chance.choice(names))
                if node.pid is not None:
                    os.kill(node.pid, signal.SIGKILL)
                    kills += 1
                await asyncio.sleep(max(began + kills - time.time(), 0))
            ended = time.time()
            await _settle(stage)
            status = await stage.status()
            down = _down(tap.events[since:], ended)
            return {
                "nodes": nodes,
                "seconds": round(ended - began, 1),
                "kills": kills,
                "availability": 1 - sum(down) / (nodes * (ended - began)),
                "kill_to_ready_ms": round(statistics.median(down) * 1000, 1),
                "ready_at_the_end": sum(node.state == "ready" for node in status.nodes),
                "master_rss_growth_mb": round((status.master.rss_bytes - before.rss_bytes) / 2**20, 1),
                "master_cpu_s": round(status.master.cpu_seconds - before.cpu_seconds, 2),
            }


async def _settle(stage: Stage) -> None:
    """Wait until every node is ready again."""
    async with asyncio.timeout(30):
        # The sum of all nodes has no event of its own.
        while any(node.state != "ready" for node in (await stage.status()).nodes):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def _down(events: list[FleetEvent], ended: float) -> list[float]:
    """Give how long nodes were not ready, one figure for each exit."""
    since: dict[str, float] = {}
    found = []
    for event in events:
        if event.kind == "exited":
            since.setdefault(event.node, event.at)
        elif event.kind == "ready" and event.node in since:
            found.append(min(event.at, ended) - since.pop(event.node))
    return found + [ended - at for at in since.values()]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    row = asyncio.run(soak(options.nodes, options.seconds))
    reach = {"availability": {"value": row["availability"], "bound": BOUND, "holds": row["availability"] >= BOUND}}
    if options.json:
        machine = {"python": platform.python_version(), "cores": os.cpu_count(), "kernel": platform.release()}
        peer = {"peer": "not measured"}
        print(json.dumps({"machine": machine, "rows": [row, peer], "ratios": {}, "reach": reach}))
        return
    for name, value in row.items():
        print(f"{name:<22}{value:>12.4f}" if isinstance(value, float) else f"{name:<22}{value:>12}")
    print("peer                  not measured")


if __name__ == "__main__":
    main()
