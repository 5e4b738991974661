"""SIGKILL of a bot until its successor is ready (before login): ours, plain processes, supervisord and PM2 in one run.

The same program runs everywhere: it imports discord.py, builds a Bot, and notes the moment. Peers are installed with
pip and npm into a cache folder (FLEET_BENCHMARK_CACHE, or below the temporary folder) the first time; one that cannot
be had has an empty column that says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from master.settings import SupervisionSettings
from master.supervision.clock import SystemClock
from master.supervision.logs import NodeLogs
from master.supervision.run_records import RunRecords
from master.supervision.spawner import PlainSpawner, Spawner, SpawnRequest
from master.supervision.supervisor import NodeSpec, Supervisor
from master.supervision.zygote_spawner import ZygoteSpawner

BOT = """\
import os, signal, time
import discord
from discord.ext import commands
bot = commands.Bot("!", intents=discord.Intents.default())
with open({record!r}, "a") as record:
    record.write(f"{{os.getpid()}} {{time.monotonic()}}\\n")
signal.pause()
"""
WAIT_S = 15.0


class Record:
    """What the bot's incarnations noted: pid and moment of being ready."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "record"
        (folder / "bot.py").write_text(BOT.format(record=str(self.path)))

    def lines(self) -> list[tuple[int, float]]:
        """Give all notes so far."""
        if not self.path.exists():
            return []
        found = [line.split() for line in self.path.read_text().splitlines()]
        return [(int(pid), float(at)) for pid, at in (pair for pair in found if len(pair) == 2)]

    def wait(self, count: int) -> list[tuple[int, float]]:
        """Wait for that many notes."""
        deadline = time.monotonic() + WAIT_S
        while len(self.lines()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {len(self.lines())} of {count} incarnations became ready")
            time.sleep(0.0005)
        return self.lines()


def kill_repeatedly(record: Record, kills: int) -> list[float]:
    """Kill the bot and wait for its successor; gives the times in milliseconds."""
    times = []
    record.wait(1)
    for number in range(kills):
        time.sleep(1.2)  # longer than what supervisord and PM2 call a start that held
        pid, _ = record.lines()[-1]
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        times.append((record.wait(number + 2)[-1][1] - at) * 1000)
    return times


async def ours(folder: Path, kills: int, spawner: Spawner) -> list[float]:
    """Measure our supervisor with a spawner."""
    record = Record(folder)
    logs = NodeLogs(folder / "logs", max_bytes=10**6, files=2)
    # Killed on purpose and often: the policy's patience is not what is measured.
    settings = SupervisionSettings(steady_after_s=0.0, quarantine_exits=10**6)
    supervisor = Supervisor(
        spawner=spawner,
        settings=settings,
        logs=logs,
        records=RunRecords(folder / "runs"),
        clock=SystemClock(),
        on_event=lambda _event: None,
    )
    running = asyncio.create_task(supervisor.run())
    stdout_path, stderr_path = logs.paths("bot")

    async def build() -> SpawnRequest:
        return SpawnRequest(
            node_id="bot",
            name="bot",
            folder=folder,
            command=(sys.executable, "bot.py"),
            environment={"PATH": os.environ["PATH"]},
            boot=b"{}",
            stdout_path=stdout_path,
            stderr_path=stderr_path,
        )

    spec = NodeSpec(node_id="bot", name="bot", folder=folder, readiness="handshake", priority=1, build=build)
    supervisor.register(spec)
    await supervisor.start("bot")
    measuring = asyncio.create_task(asyncio.to_thread(kill_repeatedly, record, kills))
    try:
        while not measuring.done():
            # The handshake's part, which this program does not speak: say that it is ready.
            supervisor.node_verified("bot", version="", interval_s=3600.0)
            await asyncio.wait({measuring}, timeout=0.05)
        return await measuring
    finally:
        await supervisor.stop_all()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await spawner.close()


def zygote(folder: Path, kills: int) -> list[float]:
    """Measure forked nodes."""

    async def measure() -> list[float]:
        spawner = ZygoteSpawner({"PATH": os.environ["PATH"]})
        await spawner.warm()
        return await ours(folder, kills, spawner)

    return asyncio.run(measure())


def plain(folder: Path, kills: int) -> list[float]:
    """Measure plain processes."""

    async def measure() -> list[float]:
        return await ours(folder, kills, PlainSpawner())

    return asyncio.run(measure())


def _cache() -> Path:
    named = os.environ.get("FLEET_BENCHMARK_CACHE")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / "fleet-benchmark-peers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _install(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=300)


def supervisord(folder: Path, kills: int) -> list[float]:
    """Measure supervisord."""
    home = _cache() / "supervisord"
    if not (home / "bin" / "supervisord").exists():
        _install([sys.executable, "-m", "venv", str(home)])
        _install([str(home / "bin" / "pip"), "install", "--quiet", "supervisor", "setuptools<81"])
    record = Record(folder)
    (folder / "supervisord.conf").write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={folder}/log\npidfile={folder}/pid\n"
        f"[program:bot]\ncommand={sys.executable} bot.py\ndirectory={folder}\nautorestart=true\n"
    )
    peer = subprocess.Popen(
        [str(home / "bin" / "supervisord"), "-c", "supervisord.conf"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return kill_repeatedly(record, kills)
    finally:
        peer.terminate()
        peer.wait(20)


def pm2(folder: Path, kills: int) -> list[float]:
    """Measure PM2."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not installed")
    home = _cache() / "pm2"
    tool = home / "node_modules" / ".bin" / "pm2"
    if not tool.exists():
        _install([npm, "install", "--silent", "--prefix", str(home), "pm2"])
    record = Record(folder)
    environment = {**os.environ, "PM2_HOME": str(folder / "pm2")}

    def run(*arguments: str) -> None:
        subprocess.run(
            [str(tool), *arguments], cwd=folder, env=environment, check=True, capture_output=True, timeout=60
        )

    try:
        run("start", "bot.py", "--interpreter", sys.executable)
        return kill_repeatedly(record, kills)
    finally:
        run("kill")


CONTENDERS: dict[str, Callable[[Path, int], list[float]]] = {
    "fleetmaster, zygote": zygote,
    "fleetmaster, plain": plain,
    "supervisord": supervisord,
    "PM2": pm2,
}


def measure(kills: int) -> dict[str, dict[str, Any]]:
    """Measure every contender, one after the other."""
    rows: dict[str, dict[str, Any]] = {}
    for name, contender in CONTENDERS.items():
        with tempfile.TemporaryDirectory(prefix="fleet-recovery-") as folder:
            try:
                times = contender(Path(folder), kills)
            except (OSError, subprocess.SubprocessError, TimeoutError) as error:
                rows[name] = {"missing": f"{type(error).__name__}: {error}"[:200]}
                continue
        times.sort()
        rows[name] = {
            "median_ms": round(statistics.median(times), 1),
            "p95_ms": round(times[int(len(times) * 0.95) - 1], 1),
            "kills": len(times),
        }
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
        os.environ.pop(name, None)  # either distorts a start
    rows = measure(options.kills)
    own = rows["fleetmaster, zygote"].get("median_ms")
    ratios = {
        name: round(own / row["median_ms"], 3)
        for name, row in rows.items()
        if own is not None and "median_ms" in row and not name.startswith("fleetmaster, z")
    }
    to_pm2 = ratios.get("PM2")
    reach = {"kill_to_ready_of_pm2": {"value": to_pm2, "bound": 0.1, "holds": to_pm2 is not None and to_pm2 <= 0.1}}
    if options.json:
        machine = {"python": platform.python_version(), "cores": os.cpu_count(), "kernel": platform.release()}
        print(json.dumps({"machine": machine, "rows": rows, "ratios": ratios, "reach": reach}))
        return
    print(f"{'SIGKILL to ready':<24}{'median ms':>12}{'p95 ms':>10}")
    for name, row in rows.items():
        if "missing" in row:
            print(f"{name:<24}  {row['missing']}")
        else:
            print(f"{name:<24}{row['median_ms']:>12}{row['p95_ms']:>10}")
    print("ours, as a share of: " + ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items()))


if __name__ == "__main__":
    main()
