"""Cost of each further node: fleets of 25, 100, 250 and 500 on the sandbox, beside supervisord with 25."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.fleets import start_fleet, zygote_of
from benchmarks.peers import PEERS, PeerMissing
from benchmarks.reporting import MB, Outcome, parser, show
from benchmarks.startup import cpu_of, pss_of, theirs
from master.demonstration.stage import Stage


async def fleet(count: int) -> dict[str, Any]:
    """Measure a fleet of that size. It is stopped and started as a whole, so that registering does not count."""
    async with Stage(pulse_s=9.0) as stage:
        await stage.start_master()
        names = await start_fleet(stage, count)
        await stage.act("stop", names)
        status = await stage.status()
        master = psutil.Process(status.master.pid)
        used = cpu_of([master, zygote_of(master)])
        began = time.monotonic()
        async with stage.listen() as tap:
            starting = asyncio.create_task(stage.act("start", names))
            for name in names:
                await tap.wait_for("ready", name, timeout_s=600.0)
            wall_s = time.monotonic() - began
            await starting
        bots = [psutil.Process(node.pid) for node in (await stage.status()).nodes if node.pid is not None]
        zygote = zygote_of(master)
        cpu_s, pss_mb = cpu_of([*bots, master, zygote]) - used, pss_of([*bots, zygote])
        rss_mb = master.memory_info().rss / MB
        began = time.monotonic()
        await stage.act("stop", names)
        return {
            "nodes": count,
            "ready": len(bots),
            "wall_s": round(wall_s, 1),
            "cpu_s": round(cpu_s, 2),
            "pss_mb": round(pss_mb),
            "master_rss_mb": round(rss_mb, 1),
            "stop_s": round(time.monotonic() - began, 1),
        }


async def measure(sizes: list[int]) -> Outcome:
    """Measure each size."""
    outcome = Outcome("fleets on the sandbox")
    before: dict[str, Any] | None = None
    for count in sizes:
        row = await fleet(count)
        if before is not None:
            more = count - before["nodes"]
            row["cpu_s_further"] = round((row["cpu_s"] - before["cpu_s"]) / more, 4)
            row["pss_mb_further"] = round((row["pss_mb"] - before["pss_mb"]) / more, 2)
        outcome.rows[f"fleetmaster, {count}"] = before = row
    outcome.at_least("nodes_ready", float(before["ready"] if before is not None else 0), float(sizes[-1]))
    hundred = outcome.rows.get("fleetmaster, 100")
    if hundred is not None:
        outcome.at_most("stop_of_100_s", hundred["stop_s"], 10.0)
    return outcome


def add_peer(outcome: Outcome, count: int) -> None:
    """Measure a peer's small fleet, up to the point before login."""
    with tempfile.TemporaryDirectory(prefix="fleet-scale-") as folder:
        try:
            row = theirs(PEERS["supervisord"], Path(folder), count)
        except (PeerMissing, TimeoutError) as error:
            outcome.rows["supervisord"] = {"missing": str(error)}
            return
    outcome.rows[f"supervisord, {count}, before login"] = {
        "nodes": count,
        "ready": count,
        "wall_s": row["wall_s"],
        "cpu_s": row["cpu_s"],
        "pss_mb": round(row["pss_each_mb"] * count),
        "cpu_s_further": round(row["cpu_s"] / count, 4),
        "pss_mb_further": row["pss_each_mb"],
    }
    last = [row for name, row in outcome.rows.items() if name.startswith("fleetmaster") and "pss_mb_further" in row]
    if last:
        outcome.ratio("supervisord, PSS of a further node", last[-1]["pss_mb_further"], row["pss_each_mb"])


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--sizes", type=int, nargs="+", default=[25, 100, 250, 500])
    options = arguments.parse_args()
    outcome = asyncio.run(measure(options.sizes))
    add_peer(outcome, options.sizes[0])
    show(outcome, as_json=options.json)


if __name__ == "__main__":
    main()
