"""A quiet fleet: CPU of master and zygote over a minute of 25 nodes that pulse and are sampled; beside idle peers.

Ours does more in that minute than the peers: each node says every nine seconds, signed, that it lives, its use of CPU
and memory is read every second, and the master is on Discord.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path

import psutil

from benchmarks.bots import make_programs
from benchmarks.fleets import bring_up, zygote_of
from benchmarks.peers import PEERS, PeerMissing
from benchmarks.reporting import Outcome, parser, show
from benchmarks.startup import cpu_of
from master.demonstration.stage import Stage

SETTLE_S = 60.0
"""What a start leaves to do (the first readings of memory, PM2's own start-up) is not idling."""


async def measure(count: int, seconds: float) -> Outcome:
    """Let everybody idle in the same minute."""
    outcome = Outcome(f"{count} idle bots over {seconds:g} s")
    processes: dict[str, list[psutil.Process]] = {}
    with ExitStack() as stack:
        for name, run in PEERS.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-idle-")))
            programs, record = make_programs(folder, count)
            try:
                peer = stack.enter_context(run(folder, programs))
                peer.start()
                await asyncio.to_thread(record.wait, count)
                processes[name] = [peer.daemon]
            except (PeerMissing, TimeoutError) as error:
                outcome.rows[name] = {"missing": str(error)}
        async with Stage(pulse_s=9.0) as stage:
            await stage.start_master()
            await bring_up(stage, count)
            master = psutil.Process((await stage.status()).master.pid)
            processes["fleetmaster, master"] = [master]
            processes["fleetmaster, zygote"] = [zygote_of(master)]
            await asyncio.sleep(SETTLE_S)
            used = {name: cpu_of(those) for name, those in processes.items()}
            await asyncio.sleep(seconds)
            for name, those in processes.items():
                outcome.rows[name] = {
                    "cpu_s": round(cpu_of(those) - used[name], 3),
                    "rss_mb": round(sum(process.memory_info().rss for process in those) / 1e6, 1),
                }
            pulses = [node.last_pulse_s_ago for node in (await stage.status()).nodes]
            if any(age is None or age > 20 for age in pulses):
                raise RuntimeError("a node did not pulse")
    own = outcome.rows["fleetmaster, master"]["cpu_s"] + outcome.rows["fleetmaster, zygote"]["cpu_s"]
    for name in PEERS:
        outcome.ratio(f"{name}, CPU", own, outcome.rows[name].get("cpu_s"))
    outcome.at_most("cpu_of_pm2", outcome.ratios.get("PM2, CPU"), 1.0)
    outcome.at_most("master_rss_mb", outcome.rows["fleetmaster, master"]["rss_mb"], 80.0)
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
