"""Starting a fleet: CPU-seconds, wall time, memory; ours beside plain exec, supervisord and PM2.

First up to the point before login, with 25 and 100 bots; then 25 nodes of the template, connected to the sandbox.
Counted are the bots, the supervisor once it is up, and all of the zygote including its warm-up. Memory of a bot is PSS,
with the zygote's divided among its nodes. Where this user may control KSM, memory is measured again after merging, with
the CPU time of the kernel's thread.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bots import make_programs, our_supervisor
from benchmarks.fleets import as_programs, start_fleet, zygote_of
from benchmarks.peers import PEERS, Peer, PeerMissing, Program
from benchmarks.reporting import MB, Outcome, parser, show
from master.demonstration.stage import Stage
from master.supervision.merging import KSM
from master.supervision.zygote_spawner import ZygoteSpawner

CONNECT_TIMEOUT_S, MERGE_TIMEOUT_S = 180.0, 900.0


def cpu_of(processes: list[psutil.Process]) -> float:
    """Return the CPU-seconds that processes have used."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def pss_of(processes: list[psutil.Process]) -> float:
    """Return the proportional memory of processes in MB."""
    return float(sum(process.memory_full_info().pss for process in processes) / MB)


def _row(count: int, cpu_s: float, wall_s: float, pss_mb: float, supervisor_mb: float | None) -> dict[str, Any]:
    return {
        "nodes": count,
        "cpu_s": round(cpu_s, 2),
        "wall_s": round(wall_s, 2),
        "pss_each_mb": round(pss_mb / count, 1),
        "supervisor_rss_mb": None if supervisor_mb is None else round(supervisor_mb, 1),
    }


async def ours(folder: Path, count: int) -> dict[str, Any]:
    """Measure forked nodes; the supervisor is this process, so its memory is not comparable."""
    programs, record = make_programs(folder, count)
    spawner = ZygoteSpawner({"PATH": os.environ["PATH"]})
    began, used = time.monotonic(), _own_cpu()
    await spawner.warm()
    async with our_supervisor(folder, programs, spawner) as supervisor:
        await asyncio.gather(*(supervisor.start(program.name) for program in programs))
        while len(record.lines()) < count:  # noqa: ASYNC110 - the bots write to a file
            await asyncio.sleep(0.02)
        bots = [psutil.Process(pid) for _, pid, _ in record.lines()]
        wall_s = max(at for *_, at in record.lines()) - began
        zygote = bots[0].parent()
        processes = [*bots, zygote] if zygote is not None else bots
        return _row(count, cpu_of(processes) + _own_cpu() - used, wall_s, pss_of(processes), None)


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def plain_exec(_folder: Path, programs: list[Program]) -> Iterator[Peer | None]:
    """Start the bots without a supervisor."""
    started = [
        subprocess.Popen([sys.executable, "bot.py"], cwd=program.folder, stderr=subprocess.DEVNULL)
        for program in programs
    ]
    try:
        yield None
    finally:
        for process in started:
            process.kill()
            process.wait()


def theirs(run: Any, folder: Path, count: int) -> dict[str, Any]:
    """Measure a peer up to the point before login."""
    programs, record = make_programs(folder, count)
    began = time.monotonic()
    with run(folder, programs) as peer:
        used = 0.0
        if peer is not None:
            began, used = time.monotonic(), cpu_of([peer.daemon])
            peer.start()
        lines = record.wait(count)
        bots = [psutil.Process(pid) for _, pid, _ in lines]
        daemons = [peer.daemon] if peer is not None else []
        supervisor_mb = daemons[0].memory_info().rss / MB if daemons else None
        wall_s = max(at for *_, at in lines) - began
        return _row(count, cpu_of(bots) + cpu_of(daemons) - used, wall_s, pss_of(bots), supervisor_mb)


CONTENDERS: dict[str, Any] = {"plain exec": plain_exec, **PEERS}


def before_login(outcome: Outcome, counts: list[int]) -> None:
    """Measure every contender to the point before login."""
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="fleet-startup-") as folder:
            outcome.rows[f"fleetmaster, {count}"] = asyncio.run(ours(Path(folder), count))
        for name, run in CONTENDERS.items():
            with tempfile.TemporaryDirectory(prefix="fleet-startup-") as folder:
                try:
                    outcome.rows[f"{name}, {count}"] = theirs(run, Path(folder), count)
                except (PeerMissing, TimeoutError) as error:
                    outcome.rows[f"{name}, {count}"] = {"missing": str(error)}


async def connected(outcome: Outcome, count: int) -> None:
    """Measure the template's nodes on the sandbox: under a real master, then the same folders under each peer."""
    async with Stage(pulse_s=9.0, merge_memory=True) as stage:
        await stage.start_master()
        names = await start_fleet(stage, count)
        await stage.act("stop", names)
        master = psutil.Process((await stage.status()).master.pid)
        used, identified = cpu_of([master]), sum(stage.sandbox.gateway.identifies.values())
        began = time.monotonic()
        await stage.act("start", names)
        await _identified(stage, identified + count)
        wall_s = time.monotonic() - began
        await asyncio.sleep(1.0)  # until READY; the same for all contenders
        bots = [psutil.Process(node.pid) for node in (await stage.status()).nodes if node.pid is not None]
        # The zygote's whole warm-up counts for this start.
        cpu_s = cpu_of([*bots, master]) - used + cpu_of([zygote_of(master)])
        outcome.rows[f"fleetmaster, {count} connected"] = _row(
            count, cpu_s, wall_s, pss_of([*bots, zygote_of(master)]), master.memory_info().rss / MB
        )
        outcome.rows[f"fleetmaster, {count} merged"] = await _merged(stage, master, bots)
        await stage.act("stop", names)
        for name, run in CONTENDERS.items():
            try:
                row = await _connected_peer(stage, run, as_programs(stage, names))
            except (PeerMissing, TimeoutError) as error:
                row = {"missing": str(error)}
            outcome.rows[f"{name}, {count} connected"] = row


async def _merged(stage: Stage, master: psutil.Process, bots: list[psutil.Process]) -> dict[str, Any]:
    """Wait for a merging pass, and measure memory again; the CPU time is that of the kernel's thread."""
    if not os.access(KSM / "run", os.W_OK):
        return {"missing": "this user may not control KSM"}
    marker = stage.home / "state" / "merging"
    if (KSM / "run").read_text().strip() == "1" and not marker.exists():
        return {"missing": "KSM is already on for the whole box"}
    kernel = [process for process in psutil.process_iter() if process.name() == "ksmd"]
    used, began = cpu_of(kernel), time.monotonic()
    async with asyncio.timeout(MERGE_TIMEOUT_S):
        while not marker.exists():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.2)
        while marker.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    cpu_s, wall_s = cpu_of(kernel) - used, time.monotonic() - began
    await asyncio.sleep(20.0)  # pulses and heartbeats write to memory again
    return _row(len(bots), cpu_s, wall_s, pss_of([*bots, zygote_of(master)]), master.memory_info().rss / MB)


async def _identified(stage: Stage, count: int) -> None:
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        while sum(stage.sandbox.gateway.identifies.values()) < count:  # noqa: ASYNC110 - a count has no event
            await asyncio.sleep(0.02)


async def _connected_peer(stage: Stage, run: Any, programs: list[Program]) -> dict[str, Any]:
    count = len(programs)
    identified = sum(stage.sandbox.gateway.identifies.values())
    with tempfile.TemporaryDirectory(prefix="fleet-startup-") as folder:
        began = time.monotonic()
        manager = run(Path(folder), programs)
        peer = await asyncio.to_thread(manager.__enter__)
        try:
            used = 0.0
            if peer is not None:
                began, used = time.monotonic(), cpu_of([peer.daemon])
                await asyncio.to_thread(peer.start)
            await _identified(stage, identified + count)
            wall_s = time.monotonic() - began
            await asyncio.sleep(1.0)
            folders = {str(program.folder) for program in programs}
            parent = peer.daemon if peer is not None else psutil.Process()
            bots = [child for child in parent.children() if child.cwd() in folders]
            daemons = [peer.daemon] if peer is not None else []
            supervisor_mb = daemons[0].memory_info().rss / MB if daemons else None
            return _row(count, cpu_of([*bots, *daemons]) - used, wall_s, pss_of(bots), supervisor_mb)
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)


def judge(outcome: Outcome, count: int, more: int | None) -> None:
    """Compute the ratios and goals."""
    rows = outcome.rows
    own, own_connected = rows[f"fleetmaster, {count}"], rows[f"fleetmaster, {count} connected"]
    merged = rows[f"fleetmaster, {count} merged"].get("pss_each_mb")
    for peer in CONTENDERS:
        row, row_connected = rows[f"{peer}, {count}"], rows[f"{peer}, {count} connected"]
        share = outcome.ratio(f"{peer}, CPU", own["cpu_s"], row.get("cpu_s"))
        share_connected = outcome.ratio(f"{peer}, CPU connected", own_connected["cpu_s"], row_connected.get("cpu_s"))
        memory = outcome.ratio(f"{peer}, PSS connected", own_connected["pss_each_mb"], row_connected.get("pss_each_mb"))
        if merged is not None:
            memory = outcome.ratio(f"{peer}, PSS connected, merged", merged, row_connected.get("pss_each_mb"))
        if peer in PEERS:
            outcome.at_most(f"cpu_of_{peer}", share, 1 / 12)
            outcome.at_most(f"cpu_connected_of_{peer}", share_connected, 1 / 4)
            outcome.at_most(f"pss_connected_of_{peer}", memory, 1 / 4 if sys.version_info < (3, 12) else 1 / 6)
        if more is not None and "cpu_s" in row:
            further = (rows[f"fleetmaster, {more}"]["cpu_s"] - own["cpu_s"]) / (more - count)
            outcome.at_most(f"further_node_of_{peer}", round(further / (row["cpu_s"] / count), 4), 1 / 30)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=25)
    arguments.add_argument("--more", type=int, default=100, help="a second size; 0: none")
    options = arguments.parse_args()
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
        os.environ.pop(name, None)  # either distorts a start
    outcome = Outcome(f"starting {options.nodes} bots")
    before_login(outcome, [options.nodes, *([options.more] if options.more else [])])
    asyncio.run(connected(outcome, options.nodes))
    judge(outcome, options.nodes, options.more or None)
    show(outcome, as_json=options.json)


if __name__ == "__main__":
    main()
