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
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.chaos import Ours, Theirs, ours, theirs
from benchmarks.fleets import TEMPLATE
from benchmarks.peers import PeerMissing
from benchmarks.reporting import Outcome, parser, show
from benchmarks.traffic import Traffic
from handshake.patch_document import WavePlan
from master.demonstration.author import Author
from master.demonstration.stage import EventTap, Stage
from master.operations import patches
from master.operations.parameters import PatchParams, PatchReceiveParams, PatchStopParams
from master.services.core.patch_views import PatchView
from master.terminal.patches import details_lines

WORK = Path(__file__).parent / "patched" / "work.py"
BEFORE_S, AFTER_S = 1.0, 1.0
"""Of traffic before the command, and after its end."""
TIMEOUT_S = 60.0
PEER = "git pull, PM2"
OURS = {"hot reload": ("work",), "restart": ()}
"""Cogs that are loaded anew; none: the node restarts."""
AT_ONCE = WavePlan(canary=0, waves=(100,), soak_s=0)
PULSE_S = 2.0
"""Short, so that a patch lasts longer than the time between two."""
CONFIG = """
IDENTITY["TEMPLATE_PATH"] = {template!r}
"""
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
    async with traffic.flowing() as tally, _watching_pulses(contender) as missed:
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
        "pulses_missed": len(missed) if isinstance(contender, Ours) else None,
    }


@asynccontextmanager
async def _watching_pulses(contender: Ours | Theirs) -> AsyncIterator[set[tuple[str, int]]]:
    """Note every pulse of our nodes that is more than half an interval late, as name and number of the look."""
    missed: set[tuple[str, int]] = set()

    async def watch(stage: Stage) -> None:
        late = set[str]()
        for look in itertools.count():
            ages = {node.name: node.last_pulse_s_ago for node in (await stage.status()).nodes}
            now = {name for name, age in ages.items() if age is not None and age > 1.5 * PULSE_S}
            missed.update((name, look) for name in now - late)
            late = now
            await asyncio.sleep(PULSE_S / 4)

    watching = asyncio.create_task(watch(contender.stage)) if isinstance(contender, Ours) else None
    try:
        yield missed
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def _identifies(contender: Ours | Theirs) -> int:
    counts: Mapping[int, int] = contender.sandbox.gateway.identifies
    return sum(counts.get(account.id, 0) for account in contender.accounts.values())


def _traffic(contender: Ours | Theirs) -> Traffic:
    bots = {name: contender.stage.bots[name] for name in contender.folders}
    return Traffic(contender.stage, bots, contender.folders)


# Ours


@asynccontextmanager
async def our_fleet(count: int, scratch: Path) -> AsyncIterator[Ours]:
    """Run a master whose template has the cog."""
    template = scratch / "template"
    shutil.copytree(TEMPLATE, template, ignore=shutil.ignore_patterns("__pycache__"))
    (template / "cogs" / "work.py").write_text(work_of(1))

    def prepare(stage: Stage) -> None:
        with (stage.home / "config.py").open("a") as config:
            config.write(CONFIG.format(template=str(template)))

    async with ours(count, pulse_s=PULSE_S, prepare=prepare) as contender:
        yield contender


class Rollout:
    """Deploys patches of one author on our fleet, and rolls them back."""

    def __init__(self, contender: Ours, author: Author, tap: EventTap) -> None:
        self._contender = contender
        self._client = contender.stage.client
        self._author = author
        self._tap = tap
        self.over_at = 0.0
        """When the last roll-out had ended, in Unix seconds."""

    async def deploy(self, path: Path) -> float:
        """Roll a bundle out to all at once; returns when every node said that it is good, in Unix seconds."""
        since = len(self._tap.events)
        deploying = PatchReceiveParams(path=str(path), deploy=True)
        patch = await asyncio.to_thread(self._client.run, patches.receive, deploying)
        return await self._until(patch, "good", "done", since)

    async def back(self, name: str) -> float:
        """Roll the newest patch back; returns when every node said that it is back."""
        since = len(self._tap.events)
        patch = await asyncio.to_thread(self._client.run, patches.rollback, PatchStopParams(patch=name))
        return await self._until(patch, "rolled_back", "rolled_back", since)

    async def _until(self, patch: PatchView, state: str, ended: str, since: int) -> float:
        """Wait until every node has said it, signed; then until the roll-out has ended, which includes the template."""
        told = f"{patch.label}: {state.replace('_', ' ')}"
        names = list(self._contender.folders)
        waits = [self._tap.wait_for("patched", name, detail=told, since=since, timeout_s=TIMEOUT_S) for name in names]
        over = f"{patch.label}: {ended.replace('_', ' ')}"
        try:
            proven = max(event.at for event in await asyncio.gather(*waits))
            self.over_at = (await self._tap.wait_for("patch", "", detail=over, since=since, timeout_s=TIMEOUT_S)).at
        finally:
            details = await asyncio.to_thread(self._client.run, patches.show, PatchParams(patch.id))
            if details.patch.state != ended or any(node.state != state for node in details.nodes):
                print("\n".join(line.plain for line in details_lines(details, width=None)), file=sys.stderr)
        if {node.node for node in details.nodes if node.state == state} != set(names):
            raise RuntimeError(f"not every node is {state}")
        return proven


async def measure_ours(count: int) -> dict[str, dict[str, Any]]:
    """Measure both ways of patching, and back."""
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="fleet-patch-", ignore_cleanup_errors=True) as folder:
        async with our_fleet(count, Path(folder)) as contender, contender.stage.listen() as tap:
            author = Author(Path(folder))
            await asyncio.to_thread(author.is_trusted_by, contender.stage.client)
            rollout, traffic = Rollout(contender, author, tap), _traffic(contender)
            base = next(iter(contender.folders.values()))
            for version, (how, cogs) in enumerate(OURS.items(), 2):
                changes = {"cogs/work.py": work_of(version)}
                path = author.write(base, changes, name="work", version=version, reload=cogs, rollout=AT_ONCE)
                row = await under_traffic(contender, traffic, partial(rollout.deploy, path))
                await _in_force(traffic, version)
                back = await under_traffic(contender, traffic, partial(rollout.back, "work"))
                await _in_force(traffic, 1)
                rows[how] = row
                rows[f"  back of {how}"] = back
    return rows


async def _in_force(traffic: Traffic, version: int) -> None:
    """Hold the nodes' word to what they do."""
    began = time.time()
    async with traffic.flowing():
        await traffic.until_handled_by(version, since=began, timeout_s=30.0)


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
    outcome.rows.update(asyncio.run(measure_ours(options.nodes)))
    if not options.no_peers:
        try:
            outcome.rows[PEER] = asyncio.run(measure_pm2(options.nodes))
        except (PeerMissing, TimeoutError) as error:
            outcome.rows[PEER] = {"missing": str(error) or type(error).__name__}
        for name in OURS:
            outcome.ratio(
                f"{PEER}, time of {name}", outcome.rows[name]["patched_s"], outcome.rows[PEER].get("patched_s")
            )
    _reach(outcome)
    show(outcome, as_json=options.json)


def _reach(outcome: Outcome) -> None:
    """Hold the figures to what was to be reached."""
    hot, restart = (outcome.rows[name] for name in OURS)
    backs = [outcome.rows[f"  back of {name}"] for name in OURS]
    own = [hot, restart, *backs]
    outcome.at_most("hot_reload_s", hot["patched_s"], 3.0)
    outcome.at_most("restart_s", restart["patched_s"], 5.0)
    for figure in ("identifies", "lost", "doubled", "unanswered", "pulses_missed"):
        outcome.at_most(figure, sum(row[figure] for row in own), 0)
    longest = max(back["patched_s"] / there["patched_s"] for there, back in zip((hot, restart), backs, strict=True))
    outcome.at_most("rollback_ratio", round(longest, 2), 0.5)


if __name__ == "__main__":
    main()
