"""Healing: bots that break in a dozen ways, and who has them work again with nobody there.

Every contender runs the same bots (the template with the cog ``struck/work.py``, connected to a sandbox of its own) and
is struck by the same faults in the same order. What counts is seen from outside, for all in the same way: who is
connected to the sandbox, and whether the bot's work goes well, which touches a file five times a second.

- availability: the share of the time in which a bot is connected, and its work went well within the last second
- repaired: faults after which the bot worked again within a minute; then a person comes, who restarts it and puts right
  what a restart does not
- time to repair: from the fault until its work goes well again
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos import Ours, Theirs, ours, theirs
from benchmarks.fleets import TEMPLATE
from benchmarks.peers import PEERS, PeerMissing
from benchmarks.reporting import Outcome, parser, show
from master.demonstration.stage import Stage

SAMPLE_S = 0.05
FRESH_S = 1.0
"""How old the last good work of a bot that works may be: five beats."""
STRUCK_S = 10.0
PERSON_S = 60.0
PERSONS_REPAIR_S = 60.0
MEMORY_MB = 150
PULSE_S = 0.5
WITH_ENVIRONMENT = 3
"""One bot in so many has a virtual environment of its own: what is missing can be installed there."""
STRUCK = Path(__file__).parent / "struck"
CONFIG = """
IDENTITY["TEMPLATE_PATH"] = {template!r}
SUPERVISION["MEMORY_LIMIT_BYTES"] = {memory}
SUPERVISION["GRACE_S"] = 0.5
SUPERVISION["MISSED_PULSES"] = 2
HEALING = {{
    "DETECT_ONLY_S": 0,
    "MOST_REPAIRS_AN_HOUR": 1_000,
    "PACKAGES": {{"heal_extra": "heal-extra==1.0"}},
}}
"""
BY_ITSELF = ("rate_limits", "disk_full")
"""What passes, if nobody makes it worse: there is nothing to repair."""
FAULTS = (
    "kill",
    "exception",
    "hang",
    "stuck_shutdown",
    "memory_leak",
    "broken_cog",
    "stale_session",
    "missing_module",
    "sqlite_locked",
    "session_refused",
    *BY_ITSELF,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, and when it strikes."""

    kind: str
    at_s: float
    victim: int
    """Or the next bot that works then."""


def planned_faults(count: int, seconds: float, every_s: float, seed: int) -> list[Fault]:
    """Return the faults, the same for all contenders: each kind, and each bot, as often as any other."""
    rng = random.Random(seed)  # noqa: S311 - a test sequence
    total = max(1, int(seconds / every_s))
    kinds = [FAULTS[number % len(FAULTS)] for number in range(total)]
    victims = [number % count for number in range(total)]
    rng.shuffle(kinds)
    rng.shuffle(victims)
    moments = sorted(rng.uniform(0, seconds) for _ in range(total))
    return [Fault(*each) for each in zip(kinds, moments, victims, strict=True)]


@dataclass(slots=True)
class Watch:
    """What is seen from outside."""

    contender: Ours | Theirs
    up: Counter[str] = field(default_factory=Counter)
    seen: int = 0

    def beat(self, name: str) -> float:
        """Return when a bot's work last went well, in Unix seconds; 0 for never."""
        try:
            return (self.contender.folders[name] / "beat").stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def is_connected(self, name: str) -> bool:
        """Tell whether a bot is connected."""
        return self.contender.sandbox.gateway.is_connected(self.contender.accounts[name])

    def is_up(self, name: str) -> bool:
        """Tell whether a bot works."""
        return self.is_connected(name) and time.time() - self.beat(name) < FRESH_S

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.seen += 1
            for name in self.contender.folders:
                self.up[name] += self.is_up(name)
            await asyncio.sleep(SAMPLE_S)

    async def all_up(self, names: list[str], timeout_s: float) -> bool:
        """Wait until these bots work; tells whether they do."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                # Files of other processes have no event that counts for all contenders.
                while not all(map(self.is_up, names)):  # noqa: ASYNC110
                    await asyncio.sleep(SAMPLE_S)
                return True
        return False


@dataclass(slots=True)
class Kind:
    """What became of the faults of one kind."""

    struck: int = 0
    times_s: list[float] = field(default_factory=list)
    """Of those that were repaired with nobody there."""
    by_person: int = 0
    for_good: int = 0
    """Faults after which not even a person's restart helped."""


class Healing:
    """Strike a contender's bots, and see what becomes of them."""

    def __init__(self, contender: Ours | Theirs, watch: Watch) -> None:
        self._contender = contender
        self._watch = watch
        self._names = list(contender.folders)
        self._busy: set[str] = set()
        self._number = 0
        self.kinds: dict[str, Kind] = {kind: Kind() for kind in FAULTS}
        self.left_out = 0
        """Faults for which no bot worked."""

    async def run(self, faults: list[Fault]) -> None:
        """Strike all faults, and wait until the bots work again."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
                name = self._victim(fault)
                if name is None:
                    self.left_out += 1
                else:
                    self._busy.add(name)
                    group.create_task(self._one(fault.kind, name))

    def _victim(self, fault: Fault) -> str | None:
        for step in range(len(self._names)):
            number = (fault.victim + step) % len(self._names)
            name = self._names[number]
            fits = fault.kind != "missing_module" or number % WITH_ENVIRONMENT == 0
            if fits and name not in self._busy and self._watch.is_up(name):
                return name
        return None

    async def _one(self, kind: str, name: str) -> None:
        seen, folder = self.kinds[kind], self._contender.folders[name]
        try:
            pid = _pid(folder)
            began = await self._strike(kind, name, pid)
            seen.struck += 1
            if await self._works_again(kind, name, pid, began, PERSON_S):
                seen.times_s.append(time.time() - began)
                return
            seen.by_person += 1
            print(f"  a person repairs {name}: {kind}", file=sys.stderr, flush=True)
            for trace in ("stale", "needs"):
                (folder / trace).unlink(missing_ok=True)
            with suppress(ProcessLookupError):
                os.kill(_pid(folder), signal.SIGKILL)
            seen.for_good += not await self._watch.all_up([name], PERSONS_REPAIR_S)
        finally:
            self._busy.discard(name)

    async def _strike(self, kind: str, name: str, pid: int) -> float:
        """Break a bot; returns when it broke, in Unix seconds."""
        account, faults = self._contender.accounts[name], self._contender.sandbox.faults
        folder = self._contender.folders[name]
        if kind == "kill":
            os.kill(pid, signal.SIGKILL)
            return time.time()
        if kind == "session_refused":
            faults.forget_sessions(account)
            await faults.drop_connections(account, code=4007)
            return time.time()
        if kind == "rate_limits":
            channel = int((folder / "channel").read_text())
            faults.answer_next(429, count=2, path_contains=f"/channels/{channel}/messages", retry_after_s=0.5)
        self._number += 1
        number = str(self._number)
        (folder / "fault").write_text(f"{kind} {number}")
        os.kill(pid, signal.SIGUSR1)
        async with asyncio.timeout(STRUCK_S):
            while _text(folder / "struck") != number:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return (folder / "struck").stat().st_mtime

    async def _works_again(self, kind: str, name: str, pid: int, began: float, timeout_s: float) -> bool:
        folder = self._contender.folders[name]
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    is_new = kind != "memory_leak" or _pid(folder) != pid
                    if is_new and self._watch.is_connected(name) and self._watch.beat(name) > began:
                        return True
                    await asyncio.sleep(0.02)
        return False


def _pid(folder: Path) -> int:
    return int((folder / "pid").read_text() or 0)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


async def measure(contender: Ours | Theirs, seconds: float, every_s: float, seed: int) -> dict[str, Any]:
    """Strike for that long; returns the figures."""
    names = list(contender.folders)
    watch = Watch(contender)
    if not await watch.all_up(names, 120.0):
        raise TimeoutError(f"not all bots work: {[name for name in names if not watch.is_up(name)]}")
    healing = Healing(contender, watch)
    watching = asyncio.create_task(watch.run())
    try:
        await healing.run(planned_faults(len(names), seconds, every_s, seed))
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    found = healing.kinds.values()
    return {
        "availability": round(sum(watch.up.values()) / max(1, watch.seen * len(names)), 5),
        "faults": sum(kind.struck for kind in found),
        "repaired": sum(len(kind.times_s) for kind in found),
        "by_person": sum(kind.by_person for kind in found),
        "for_good": sum(kind.for_good for kind in found),
        "left_out": healing.left_out,
        "away_s_a_fault": round(
            SAMPLE_S * (watch.seen * len(names) - sum(watch.up.values())) / max(1, sum(kind.struck for kind in found)),
            2,
        ),
        "kinds": {name: _figures(kind) for name, kind in healing.kinds.items()},
    }


def _figures(kind: Kind) -> dict[str, Any]:
    times = sorted(kind.times_s)
    return {
        "struck": kind.struck,
        "repaired": len(times),
        "median_s": round(statistics.median(times), 2) if times else None,
        "p95_s": round(times[min(len(times) - 1, int(0.95 * len(times)))], 2) if times else None,
    }


# The contenders


@asynccontextmanager
async def our_fleet(count: int, scratch: Path) -> AsyncIterator[Ours]:
    """Run a master whose operator has written solutions for these bots."""
    template = scratch / "template"

    def prepare(stage: Stage) -> None:
        shutil.copytree(STRUCK / "solutions", stage.home / "solutions")
        with (stage.home / "config.py").open("a") as config:
            config.write(CONFIG.format(template=str(template), memory=MEMORY_MB * 2**20))

    # What pip takes for an index: no network is asked.
    os.environ.update(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(scratch / "wheels"))
    async with ours(count, pulse_s=PULSE_S, prepare=prepare) as contender:
        names = list(contender.folders)[::WITH_ENVIRONMENT]
        for name in names:
            await asyncio.to_thread(_make_environment, contender.folders[name])
        await contender.stage.act("restart", names)
        _tell_channels(contender, contender.stage)
        yield contender


def _make_environment(folder: Path) -> None:
    """Make a virtual environment that has the libraries of this one."""
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder / ".venv")]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    (packages,) = (folder / ".venv" / "lib").glob("python*/site-packages")
    (packages / "benchmark.pth").write_text(f"{sysconfig.get_path('purelib')}\n")


def make_template(scratch: Path) -> Path:
    """Copy the template, with the cog that is struck."""
    folder = scratch / "template"
    shutil.copytree(TEMPLATE, folder)
    shutil.copy(STRUCK / "work.py", folder / "cogs" / "work.py")
    return folder


def make_wheel(folder: Path) -> Path:
    """Write the package that is missing."""
    folder.mkdir()
    path, info = folder / "heal_extra-1.0-py3-none-any.whl", "heal_extra-1.0.dist-info"
    files = {
        "heal_extra.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: heal-extra\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: benchmark\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]))
    return path


def _tell_channels(contender: Ours | Theirs, stage: Stage) -> None:
    """Create a channel for each bot to send to."""
    for name, folder in contender.folders.items():
        (folder / "channel").write_text(str(stage.guild.create_channel(f"news-{name}").id))


async def _run(name: str, options: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="fleet-heal-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        template = make_template(scratch)
        make_wheel(scratch / "wheels")
        entering: AbstractAsyncContextManager[Ours | Theirs]
        if name == "fleetmaster":
            entering = our_fleet(options.nodes, scratch)
        else:
            more = {"memory": f"{MEMORY_MB}M"} if name == "PM2" else {}
            entering = theirs(name, options.nodes, template=template, **more)
        async with entering as contender:
            if isinstance(contender, Theirs):
                _tell_channels(contender, contender.stage)
            figures = await measure(contender, options.minutes * 60, options.every, options.seed)
    # What has been measured is not lost when a later contender takes too long.
    print(name, figures, file=sys.stderr, flush=True)
    return figures


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=25)
    arguments.add_argument("--minutes", type=float, default=10.0)
    arguments.add_argument("--every", type=float, default=8.0, help="seconds between two faults, on average")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--no-peers", action="store_true")
    options = arguments.parse_args()
    title = f"{options.nodes} bots, a fault every {options.every:g} s for {options.minutes:g} min, seed {options.seed}"
    outcome = Outcome(title)
    for name in ("fleetmaster", *(() if options.no_peers else PEERS)):
        try:
            outcome.rows[name] = asyncio.run(_run(name, options))
        except (PeerMissing, TimeoutError) as error:
            outcome.rows[name] = {"missing": str(error) or type(error).__name__}
    own = outcome.rows["fleetmaster"]
    for name, row in outcome.rows.items():
        if name != "fleetmaster" and "missing" not in row and "missing" not in own:
            outcome.ratio(f"{name}, time away", 1 - own["availability"], 1 - row["availability"])
    outcome.at_least("availability", own.get("availability", 0.0), 0.999)
    outcome.at_most("faults left to a person", own.get("by_person"), 0)
    if not options.json:
        _show_kinds(outcome)
    show(outcome, as_json=options.json)


def _show_kinds(outcome: Outcome) -> None:
    """Print what became of each kind of fault, and leave it out of the table."""
    contenders = [name for name, row in outcome.rows.items() if "missing" not in row]
    print(f"{'':<18}" + "".join(f"{name:>30}" for name in contenders))
    for kind in FAULTS:
        cells = []
        for name in contenders:
            one = outcome.rows[name]["kinds"][kind]
            median, p95 = (f"{one[key]:.2f}" if one[key] is not None else "-" for key in ("median_s", "p95_s"))
            cells.append(f"{one['repaired']} of {one['struck']}, {median} s ({p95})")
        print(f"{kind:<18}" + "".join(f"{cell:>30}" for cell in cells))
    print("repaired of struck, median (p95)\n")
    outcome.rows = {
        name: {key: value for key, value in row.items() if key != "kinds"} for name, row in outcome.rows.items()
    }


if __name__ == "__main__":
    main()
