"""Patches: 25 connected bots brought up to date while people write to them all the time.

Ours gets a signed patch without a canary, once with its cog loaded anew in the running bot, once with a restart; both
are rolled back. What people do today runs beside it: ``git pull`` in each bot's folder, then ``pm2 restart all``. All
run the template with the cog ``patched/work.py``, on a sandbox each.

- patched: from the command until the new code is in force everywhere, and proven healthy: for ours every node has said
  so, signed; for PM2 every bot is connected again and has handled an event with the new code
- lost, doubled: of the events sent meanwhile, those that a bot never handled, or handled twice
- unanswered: commands of which Discord says that the application did not respond
- identifies: new sessions at Discord, of which a bot has 1,000 a day
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.chaos import Ours, Theirs, theirs
from benchmarks.fleets import TEMPLATE
from benchmarks.peers import PeerMissing
from benchmarks.reporting import Outcome, parser, show
from benchmarks.traffic import Traffic

WORK = Path(__file__).parent / "patched" / "work.py"
BEFORE_S, AFTER_S = 1.0, 1.0
"""Of traffic before the command, and after its end."""
TIMEOUT_S = 120.0
GIT = ("git", "-c", "user.name=benchmark", "-c", "user.email=benchmark@example.invalid", "-c", "commit.gpgsign=false")


def work_of(version: int) -> str:
    """Return the source of the cog in a version."""
    return WORK.read_text("utf-8").replace("VERSION = 1\n", f"VERSION = {version}\n")


async def under_traffic(
    contender: Ours | Theirs, traffic: Traffic, bring: Callable[[], Awaitable[float]]
) -> dict[str, Any]:
    """Bring the bots up to date while events come; returns the figures.

    Parameters
    ----------
    bring
        Returns when all was proven, in Unix seconds.
    """
    gateway = contender.sandbox.gateway
    before, seen = _identifies(contender), gateway.connections_seen
    async with traffic.flowing() as tally:
        await asyncio.sleep(BEFORE_S)
        began = time.time()
        proven = await bring()
        await asyncio.sleep(AFTER_S)
    return {
        "patched_s": round(proven - began, 2),
        "events": tally.events,
        "lost": tally.lost,
        "doubled": tally.doubled,
        "slowest_s": round(tally.slowest_s, 2),
        "commands": tally.commands,
        "unanswered": tally.unanswered,
        "identifies": _identifies(contender) - before,
        "connections": gateway.connections_seen - seen,
    }


def _identifies(contender: Ours | Theirs) -> int:
    counts: Mapping[int, int] = contender.sandbox.gateway.identifies
    return sum(counts.get(account.id, 0) for account in contender.accounts.values())


def _traffic(contender: Ours | Theirs) -> Traffic:
    bots = {name: contender.stage.bots[name] for name in contender.folders}
    return Traffic(contender.stage, bots, contender.folders)


# What people do today


@asynccontextmanager
async def pm2(count: int, scratch: Path) -> AsyncIterator[Theirs]:
    """Run bots whose folders are clones of a repository."""
    origin, clone = scratch / "origin", scratch / "clone"
    shutil.copytree(TEMPLATE, origin, ignore=shutil.ignore_patterns("__pycache__"))
    (origin / "cogs" / "work.py").write_text(work_of(1))
    (origin / ".gitignore").write_text("__pycache__/\n.env\nhandled\ndata/\n")
    for command in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "1")):
        _run(*GIT, *command, cwd=origin)
    # Local, but over the transport that a clone of another host would use.
    _run(*GIT, "clone", "--quiet", f"file://{origin}", str(clone), cwd=scratch)
    async with theirs("PM2", count, template=clone) as contender:
        yield contender


async def pull_and_restart(contender: Theirs, traffic: Traffic, version: int) -> float:
    """Do by hand what there is to do; returns when all bots work again."""
    began = time.time()
    for folder in contender.folders.values():
        await asyncio.to_thread(_run, *GIT, "pull", "--quiet", "--ff-only", cwd=folder)
    if not await asyncio.to_thread(contender.peer.act, "restart", "all", timeout_s=TIMEOUT_S):
        raise PeerMissing("`pm2 restart all` failed")
    return await traffic.until_handled_by(version, since=began, timeout_s=TIMEOUT_S)


def _commit(origin: Path, version: int) -> None:
    (origin / "cogs" / "work.py").write_text(work_of(version))
    _run(*GIT, "commit", "--quiet", "--all", "--message", str(version), cwd=origin)


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=TIMEOUT_S)


async def measure_pm2(count: int) -> dict[str, Any]:
    """Measure the peer."""
    with tempfile.TemporaryDirectory(prefix="fleet-patch-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        async with pm2(count, scratch) as contender:
            traffic = _traffic(contender)
            async with traffic.flowing():
                await traffic.until_handled_by(1, since=0, timeout_s=TIMEOUT_S)
            _commit(scratch / "origin", 2)
            return await under_traffic(contender, traffic, lambda: pull_and_restart(contender, traffic, 2))


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=25)
    arguments.add_argument("--no-peers", action="store_true")
    options = arguments.parse_args()
    outcome = Outcome(f"{options.nodes} bots brought up to date under traffic")
    try:
        outcome.rows["git pull, PM2"] = asyncio.run(measure_pm2(options.nodes))
    except (PeerMissing, TimeoutError) as error:
        outcome.rows["git pull, PM2"] = {"missing": str(error) or type(error).__name__}
    show(outcome, as_json=options.json)


if __name__ == "__main__":
    main()
