"""Bots that exit at once: the supervisor's CPU for them in a minute, and its memory over 2,000 restarts.

Ours backs off and quarantines, so its 2,000 restarts are requested by the operator, of healthy nodes through the
control socket: the whole path of stop, spawn, verification and ledger. The peers' are crashes, without retry limits.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bots import DYING_BOT, make_programs
from benchmarks.fleets import start_fleet
from benchmarks.peers import PEERS, PeerMissing, Program, pm2, supervisord
from benchmarks.reporting import MB, Outcome, parser, show
from benchmarks.startup import cpu_of
from master.demonstration.stage import Stage
from master.operations.parameters import RegisterParams
from master.services.core.views import Registered

BOTS = 10
WARM_RESTARTS = 200
"""Restarts before the first memory reading, to fill caches."""


async def ours(seconds: float, restarts: int) -> dict[str, Any]:
    """Measure a real master."""
    async with Stage(pulse_s=9.0) as stage:
        await stage.start_master()
        master = psutil.Process((await stage.status()).master.pid)
        bots = stage.home / "bots"
        for number in range(BOTS):
            folder = bots / f"dying-{number}"
            folder.mkdir(parents=True)
            (folder / "bot.py").write_text("raise SystemExit(1)\n")
            handle = stage.create_bot(f"dying-{number}")
            params = RegisterParams(name=handle.name, token=handle.token, folder=folder.name, readiness="process")
            await asyncio.to_thread(stage.client.call, "register", params, answer=Registered, timeout_s=60.0)
        used = cpu_of([master])
        await asyncio.sleep(seconds)
        spent = cpu_of([master]) - used
        crashed = sum(node.restarts for node in (await stage.status()).nodes)
        await stage.act("stop", [f"dying-{number}" for number in range(BOTS)])
        names = await start_fleet(stage, BOTS)
        before = 0
        for done in range(0, WARM_RESTARTS + restarts, BOTS):
            if done == WARM_RESTARTS:
                before = master.memory_info().rss
            await stage.act("restart", names)
        after = master.memory_info().rss
        return _row(spent, crashed, before, after, restarts)


def _row(cpu_s: float, crashes: int, before: int, after: int, restarts: int) -> dict[str, Any]:
    return {
        "cpu_s": round(cpu_s, 2),
        "crashes": crashes,
        "rss_before_mb": round(before / MB, 1),
        "rss_after_mb": round(after / MB, 1),
        "growth": round(after / before - 1, 4),
        "restarts": restarts,
    }


def theirs(name: str, seconds: float, restarts: int) -> dict[str, Any]:
    """Measure a peer: a minute with its defaults, then the restarts without its retry limit."""
    with tempfile.TemporaryDirectory(prefix="fleet-crashloop-") as folder:
        programs, record = make_programs(Path(folder), BOTS, DYING_BOT)
        with PEERS[name](Path(folder), programs) as peer:
            used = cpu_of([peer.daemon])
            peer.start()
            time.sleep(seconds)
            spent, crashed = cpu_of([peer.daemon]) - used, len(record.lines())
    with tempfile.TemporaryDirectory(prefix="fleet-crashloop-") as folder:
        programs, record = make_programs(Path(folder), BOTS, DYING_BOT)
        with _endless(name, Path(folder), programs) as peer:
            peer.start()
            record.wait(WARM_RESTARTS)
            before = peer.daemon.memory_info().rss
            # Waits in steps, each with its own time-out: the peers take minutes for all restarts.
            for count in range(WARM_RESTARTS, WARM_RESTARTS + restarts + 1, BOTS):
                record.wait(count)
            return _row(spent, crashed, before, peer.daemon.memory_info().rss, restarts)


def _endless(name: str, folder: Path, programs: list[Program]) -> Any:
    return pm2(folder, programs, endless=True) if name == "PM2" else supervisord(folder, programs, start_seconds=0)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--restarts", type=int, default=2000)
    options = arguments.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    outcome = Outcome(f"{BOTS} bots that die at once")
    own = asyncio.run(ours(options.seconds, options.restarts))
    outcome.rows["fleetmaster"] = own
    for name in PEERS:
        try:
            outcome.rows[name] = theirs(name, options.seconds, options.restarts)
        except (PeerMissing, TimeoutError) as error:
            outcome.rows[name] = {"missing": str(error)}
        outcome.ratio(f"{name}, CPU", own["cpu_s"], outcome.rows[name].get("cpu_s"))
    outcome.at_most("memory_growth", own["growth"], 0.05)
    show(outcome, as_json=options.json)


if __name__ == "__main__":
    main()
