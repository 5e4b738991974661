"""The kernel alone: how long a master takes from its start to each step of being up, and what it holds in memory.

A master without nodes, on the sandbox, with a ledger that exists; the best of several starts, since the first writes
bytecode and another program may hold the processor. ``--imports`` prints what each part costs to import.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from typing import Any

import psutil

from benchmarks.reporting import MB, Outcome, parser, show
from master.demonstration.stage import Stage
from master.errors import FleetError

PARTS = ("asyncio", "msgspec", "psutil", "sqlalchemy", "aiohttp", "discord.ext.commands", "master.main", "cogs")
_MEASURE = """
import importlib, sys, time
def pss():
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
for part in sys.argv[1:]:
    before, began = pss(), time.process_time()
    if part == "cogs":
        from master.bot.cog_loader import cog_names
        names = [f"master.cogs.{name}" for name in cog_names()]
    else:
        names = [part]
    for name in names:
        importlib.import_module(name)
    print(part, round((time.process_time() - began) * 1000), round(pss() - before, 1))
"""


async def _start(stage: Stage) -> dict[str, float]:
    """Start a master, and measure until it is connected."""
    began, clock = time.monotonic(), asyncio.get_running_loop().time
    starting = asyncio.create_task(stage.start_master())
    row: dict[str, float] = {}
    identified = asyncio.create_task(stage.sandbox.gateway.wait_connected(stage.master_bot.account, timeout_s=60))
    identified.add_done_callback(lambda _task: row.setdefault("gateway_s", round(clock() - began, 2)))
    while "answers_s" not in row:
        try:
            await stage.status()
            row["answers_s"] = round(time.monotonic() - began, 2)
        except FleetError:
            await asyncio.sleep(0.01)
    await asyncio.gather(starting, identified)
    row["ready_s"] = round(time.monotonic() - began, 2)
    master = psutil.Process((await stage.status()).master.pid)
    row["cpu_s"] = round(sum(master.cpu_times()[:2]), 2)
    await asyncio.sleep(3)
    memory = master.memory_full_info()
    row["pss_mb"], row["rss_mb"] = round(memory.pss / MB, 1), round(memory.rss / MB, 1)
    return row


async def _end(stage: Stage) -> float:
    """End the master; returns the seconds that it took."""
    if stage.master is None:
        raise RuntimeError("no master was started")
    began = time.monotonic()
    stage.master.process.terminate()
    await stage.master.process.wait()
    return round(time.monotonic() - began, 2)


async def measure(starts: int) -> Outcome:
    """Measure several starts."""
    outcome = Outcome(f"a master without nodes, the best of {starts} starts")
    rows: list[dict[str, float]] = []
    async with Stage(pulse_s=9.0) as stage:
        for _ in range(starts + 1):
            row = await _start(stage)
            row["ends_s"] = await _end(stage)
            rows.append(row)
    best = min(rows[1:], key=lambda row: row["gateway_s"])
    outcome.rows["the first start"], outcome.rows["master"] = rows[0], best
    outcome.at_most("gateway_s", best["gateway_s"], 2.0)
    outcome.at_most("rss_mb", best["rss_mb"], 80.0)
    return outcome


def imports() -> dict[str, dict[str, Any]]:
    """Return the processor time and the memory that importing each part costs, one after another."""
    command = [sys.executable, "-P", "-c", _MEASURE, *PARTS]
    for _ in range(2):  # the first writes bytecode
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    rows = (line.split() for line in done.stdout.splitlines())
    return {part: {"cpu_ms": int(cpu_ms), "pss_mb": float(pss_mb)} for part, cpu_ms, pss_mb in rows}


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--starts", type=int, default=5)
    arguments.add_argument("--imports", action="store_true", help="what each part costs to import")
    options = arguments.parse_args()
    # Bytecode that is not kept is made anew at each start: that is not what is measured.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")
    if options.imports:
        outcome = Outcome("imports, one after another")
        outcome.rows |= imports()
    else:
        outcome = asyncio.run(measure(options.starts))
    show(outcome, as_json=options.json)


if __name__ == "__main__":
    main()
