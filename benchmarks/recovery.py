"""SIGKILL of a bot: time until the new process, and until it is ready (before login).

Ours with forked and with plain processes, beside supervisord and PM2. All run the same program: it imports discord.py,
creates a Bot, and records the time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bots import Record, make_programs, our_supervisor
from benchmarks.peers import PEERS, Peer, PeerMissing
from benchmarks.reporting import Outcome, parser, show
from master.supervision.process import NodeProcess
from master.supervision.spawner import PlainSpawner, Spawner, SpawnRequest
from master.supervision.zygote_spawner import ZygoteSpawner

BETWEEN_S = 1.2
"""Longer than supervisord and PM2 need to count a start as successful."""

Moments = list[tuple[float, float, float]]
"""Times of kill, new process and readiness; monotonic seconds."""


def kill_repeatedly(record: Record, kills: int, new_process: Callable[[int, float], float]) -> Moments:
    """Kill the bot and wait for its successor.

    Parameters
    ----------
    new_process
        Called with the killed pid and the time of the kill; waits for the successor, and returns its start time.
    """
    found = []
    record.wait(1)
    for number in range(kills):
        time.sleep(BETWEEN_S)
        _, pid, _ = record.lines()[-1]
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        begun = new_process(pid, at)
        found.append((at, begun, record.wait(number + 2)[-1][2]))
    return found


class TimedSpawner:
    """A spawner that records when each process was started."""

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner
        self.moments: list[float] = []

    async def spawn(self, request: SpawnRequest) -> NodeProcess:
        """Start a node."""
        process = await self._spawner.spawn(request)
        self.moments.append(time.monotonic())
        return process

    async def close(self) -> None:
        """Close the inner spawner."""
        await self._spawner.close()


def ours(make: Callable[[], Spawner]) -> Callable[[Path, int], Moments]:
    """Measure our supervisor with a spawner; the new process counts once the spawner returns it."""

    async def measure(folder: Path, kills: int) -> Moments:
        programs, record = make_programs(folder, 1)
        spawner = make()
        if isinstance(spawner, ZygoteSpawner):
            await spawner.warm()
        timed = TimedSpawner(spawner)

        def new_process(_pid: int, at: float) -> float:
            # No earlier polling: this thread and the supervisor's share one interpreter.
            time.sleep(0.1)
            while timed.moments[-1] <= at:
                time.sleep(0.01)
            return timed.moments[-1]

        async with our_supervisor(folder, programs, timed) as supervisor:
            await supervisor.start(programs[0].name)
            return await asyncio.to_thread(kill_repeatedly, record, kills, new_process)

    return lambda folder, kills: asyncio.run(measure(folder, kills))


def theirs(run: Callable[..., Any]) -> Callable[[Path, int], Moments]:
    """Measure a peer; the new process counts once the kernel lists it as the daemon's child."""

    def measure(folder: Path, kills: int) -> Moments:
        programs, record = make_programs(folder, 1)
        peer: Peer
        with run(folder, programs) as peer:
            daemon = peer.daemon

            def new_process(pid: int, _at: float) -> float:
                while not any(child != pid for child in _children(daemon)):
                    time.sleep(0.0002)
                return time.monotonic()

            peer.start()
            return kill_repeatedly(record, kills, new_process)

    return measure


def _children(daemon: psutil.Process) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{daemon.pid}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # The thread has ended.
    return found


CONTENDERS = {
    "fleetmaster, zygote": ours(lambda: ZygoteSpawner({"PATH": os.environ["PATH"]})),
    "fleetmaster, plain": ours(PlainSpawner),
    **{name: theirs(run) for name, run in PEERS.items()},
}


def measure(kills: int) -> Outcome:
    """Measure every contender, one after the other."""
    outcome = Outcome("SIGKILL to new process and to ready, ms")
    for name, contender in CONTENDERS.items():
        with tempfile.TemporaryDirectory(prefix="fleet-recovery-") as folder:
            try:
                moments = contender(Path(folder), kills)
            except (PeerMissing, TimeoutError) as error:
                outcome.rows[name] = {"missing": str(error)}
                continue
        spawns = sorted((begun - at) * 1000 for at, begun, _ in moments)
        readies = sorted((ready - at) * 1000 for at, _, ready in moments)
        p95 = int(len(moments) * 0.95) - 1
        outcome.rows[name] = {
            "process_median": round(statistics.median(spawns), 1),
            "process_p95": round(spawns[p95], 1),
            "ready_median": round(statistics.median(readies), 1),
            "ready_p95": round(readies[p95], 1),
        }
    own = outcome.rows["fleetmaster, zygote"]
    for name in PEERS:
        outcome.ratio(f"{name}, process", own["process_median"], outcome.rows[name].get("process_median"))
        outcome.ratio(f"{name}, ready", own["ready_median"], outcome.rows[name].get("ready_median"))
    outcome.at_most("kill_to_process_ms", own["process_median"], 5.0)
    outcome.at_most("process_of_pm2", outcome.ratios.get("PM2, process"), 1.0)
    outcome.at_most("ready_of_pm2", outcome.ratios.get("PM2, ready"), 0.1)
    return outcome


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--kills", type=int, default=50)
    options = arguments.parse_args()
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
        os.environ.pop(name, None)  # either distorts a start
    show(measure(options.kills), as_json=options.json)


if __name__ == "__main__":
    main()
