"""A soak test: a random SIGKILL or SIGSTOP every second; measures availability.

Ours is a real master with connected nodes: a node is down from the signal until it is ready again, login included. The
peers' bots get the same signals, and only have to be ready for login; the peers do not notice a stopped process.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bots import Record, make_programs
from benchmarks.fleets import start_fleet
from benchmarks.peers import PEERS, PeerMissing
from benchmarks.reporting import MB, Outcome, parser, show
from master.demonstration.stage import Stage
from master.services.core.views import FleetEvent

BOUND = 0.999
EVERY_S = 1.0


def planned_signals(count: int, seconds: float) -> list[tuple[int, signal.Signals]]:
    """Return the sequence of victims and signals, the same for all contenders."""
    rng = random.Random(1)  # noqa: S311 - a test sequence
    kinds = (signal.SIGKILL, signal.SIGSTOP)
    return [(rng.randrange(count), rng.choice(kinds)) for _ in range(int(seconds / EVERY_S))]


async def ours(count: int, seconds: float) -> dict[str, Any]:
    """Measure a real master."""
    async with Stage(pulse_s=2.0, merge_memory=True) as stage:
        await stage.start_master()
        names = await start_fleet(stage, count)
        async with stage.listen() as tap:
            before = (await stage.status()).master
            sent: list[tuple[float, str, signal.Signals]] = []
            began = time.time()
            for number, (victim, kind) in enumerate(planned_signals(count, seconds)):
                node = await stage.node(names[victim])
                if node.pid is not None and node.state == "ready":
                    sent.append((time.time(), node.name, kind))
                    os.kill(node.pid, kind)
                await asyncio.sleep(max(began + (number + 1) * EVERY_S - time.time(), 0))
            ended = time.time()
            await _wait_until_ready(stage)
            status = await stage.status()
            down = {kind: _down(tap.events, sent, kind, ended) for kind in (signal.SIGKILL, signal.SIGSTOP)}
        all_down = [*down[signal.SIGKILL], *down[signal.SIGSTOP]]
        return {
            "blows": len(sent),
            "availability": round(1 - sum(all_down) / (count * (ended - began)), 6),
            "kill_to_ready_ms": _median_ms(down[signal.SIGKILL]),
            "stop_to_continued_ms": _median_ms(down[signal.SIGSTOP]),
            "up_at_the_end": sum(node.state == "ready" for node in status.nodes),
            "rss_growth_mb": round((status.master.rss_bytes - before.rss_bytes) / MB, 1),
            "supervisor_cpu_s": round(status.master.cpu_seconds - before.cpu_seconds, 2),
        }


def _median_ms(down: list[float]) -> float | None:
    return round(statistics.median(down) * 1000, 1) if down else None


async def _wait_until_ready(stage: Stage) -> None:
    """Wait until every node is ready again."""
    async with asyncio.timeout(30):
        # The sum of all nodes has no event of its own.
        while any(node.state != "ready" for node in (await stage.status()).nodes):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def _down(
    events: list[FleetEvent], sent: list[tuple[float, str, signal.Signals]], kind: signal.Signals, ended: float
) -> list[float]:
    """Return the downtime after each signal of a kind."""
    over = {"ready", "recovered"} if kind is signal.SIGKILL else {"continued", "ready", "recovered"}
    found = []
    for at, name, what in sent:
        if what is kind:
            # Event times are in milliseconds, so an event may seem to precede its signal.
            own = (event for event in events if event.node == name and event.at >= at - 0.001)
            after = (event.at for event in own if event.kind in over)
            found.append(max(min(next(after, ended), ended) - at, 0.0))
    return found


def theirs(run: Callable[..., Any], count: int, seconds: float) -> dict[str, Any]:
    """Measure a peer."""
    with tempfile.TemporaryDirectory(prefix="fleet-soak-") as folder:
        programs, record = make_programs(Path(folder), count)
        with run(Path(folder), programs) as peer:
            peer.start()
            record.wait(count)
            used = sum(peer.daemon.cpu_times()[:2])
            rss = peer.daemon.memory_info().rss
            sent: list[tuple[float, str, int, signal.Signals]] = []
            began = time.monotonic()
            for number, (victim, kind) in enumerate(planned_signals(count, seconds)):
                pid = _pid_of(record, programs[victim].name)
                if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_STOPPED:
                    sent.append((time.monotonic(), programs[victim].name, pid, kind))
                    os.kill(pid, kind)
                time.sleep(max(began + (number + 1) * EVERY_S - time.monotonic(), 0))
            ended = time.monotonic()
            lines = record.lines()
            down = []
            for at, name, _, _ in sent:
                after = (ready for other, _, ready in lines if other == name and ready > at)
                down.append(min(next(after, ended), ended) - at)
            kills = [time_s for time_s, (*_, kind) in zip(down, sent, strict=True) if kind is signal.SIGKILL]
            return {
                "blows": len(sent),
                "availability": round(1 - sum(down) / (count * (ended - began)), 6),
                "kill_to_ready_ms": _median_ms(kills),
                "rss_growth_mb": round((peer.daemon.memory_info().rss - rss) / MB, 1),
                "supervisor_cpu_s": round(sum(peer.daemon.cpu_times()[:2]) - used, 2),
            }


def _pid_of(record: Record, name: str) -> int:
    return [pid for other, pid, _ in record.lines() if other == name][-1]


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=25)
    arguments.add_argument("--seconds", type=float, default=300.0)
    arguments.add_argument("--peer-seconds", type=float, default=60.0, help="the peers fall behind at once")
    options = arguments.parse_args()
    outcome = Outcome(f"{options.nodes} bots, a SIGKILL or SIGSTOP every {EVERY_S:g} s")
    outcome.rows["fleetmaster"] = asyncio.run(ours(options.nodes, options.seconds))
    for name, run in PEERS.items():
        try:
            outcome.rows[name] = theirs(run, options.nodes, options.peer_seconds)
        except (PeerMissing, TimeoutError) as error:
            outcome.rows[name] = {"missing": str(error)}
    outcome.at_least("availability", outcome.rows["fleetmaster"]["availability"], BOUND)
    show(outcome, as_json=options.json)


if __name__ == "__main__":
    main()
