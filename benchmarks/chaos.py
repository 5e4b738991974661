"""Chaos: random kills, stops, lost sockets, an operator and a Discord outage; who keeps the bots as they are wanted.

Every contender runs the same bots (the template, connected to a sandbox of its own) and takes the same blows in the
same order, as far as it has what they strike. What counts is seen from outside, for all in the same way: the process
table, and who is connected to the sandbox.

- availability: of the time in which a bot is wanted and Discord is there, the share in which it is connected and not
  stopped by a signal
- duplicates: times that two processes of one bot were seen together, twice in a row
- lost states: bots that at the end, given a minute, are not as the operator left them: stopped and running, or wanted
  and not
- orphans: processes that are left after the supervisor was asked to end with all its bots
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from benchmarks.fleets import TEMPLATE, start_fleet, write_env, zygote_of
from benchmarks.peers import PEERS, Peer, PeerMissing, Program
from benchmarks.reporting import Outcome, parser, show
from master.demonstration.stage import Stage
from master.errors import FleetError
from sandbox import Sandbox

SAMPLE_S = 0.25
SERVICE_S = 1.0
"""Until a service manager starts a supervisor again that died (systemd's RestartSec)."""
FREEZE_S = 3.0
OUTAGE_S = 8.0
SETTLE_S = 60.0
ACT_TIMEOUT_S = 30.0
ORPHAN_S = 10.0

WEIGHTS = {
    "kill bot": 26,
    "freeze bot": 16,
    "terminate bot": 10,
    "operator: stop": 10,
    "operator: start": 10,
    "operator: restart": 8,
    "kill supervisor": 4,
    "freeze supervisor": 3,
    "restart supervisor": 2,
    "kill zygote": 4,
    "freeze zygote": 2,
    "delete sockets": 3,
    "Discord outage": 2,
}


def planned_blows(count: int, seconds: float, every_s: float, seed: int) -> list[tuple[str, int]]:
    """Return the sequence of blows and victims, the same for all contenders; each kind comes once if there is room."""
    rng = random.Random(seed)  # noqa: S311 - a test sequence
    total = int(seconds / every_s)
    kinds = list(WEIGHTS)[:total]
    kinds += rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=total - len(kinds))
    rng.shuffle(kinds)
    return [(kind, rng.randrange(count)) for kind in kinds]


class Contender(Protocol):
    """A supervisor with its bots on a sandbox."""

    sandbox: Sandbox
    folders: dict[str, Path]
    """The bots' folders, by name."""
    accounts: dict[str, Any]
    """The bots' accounts on the sandbox, by name."""

    def supervisor(self) -> psutil.Process:
        """Return its process; raises psutil.NoSuchProcess while there is none."""
        ...

    async def revive(self) -> None:
        """Start it again, as its service would."""
        ...

    def zygote(self) -> psutil.Process | None:
        """Return the process that its bots are forked from; None if it has none."""
        ...

    def sockets(self) -> tuple[Path, ...]:
        """Return the sockets that it is controlled through."""
        ...

    async def act(self, verb: str, name: str) -> bool:
        """Have the operator act on a bot; tells whether it was said to be done."""
        ...

    async def shut_down(self) -> None:
        """Ask it to end with all its bots."""
        ...


@dataclass(slots=True)
class Watch:
    """What is seen from outside."""

    contender: Contender
    wanted: dict[str, bool | None]
    """Whether a bot should run; None after a command whose end is unknown."""
    is_out: bool = False
    """Discord is away."""
    up: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    duplicates: set[frozenset[int]] = field(default_factory=set)
    _pairs: set[frozenset[int]] = field(default_factory=set)

    def live(self) -> dict[str, list[psutil.Process]]:
        """Return the live processes of each bot."""
        by_folder = {str(folder): name for name, folder in self.contender.folders.items()}
        found: dict[str, list[psutil.Process]] = {name: [] for name in by_folder.values()}
        for entry in os.scandir("/proc"):
            if entry.name.isdecimal():
                with suppress(OSError, psutil.Error):
                    name = by_folder.get(os.readlink(f"/proc/{entry.name}/cwd"))
                    if name is not None:
                        process = psutil.Process(int(entry.name))
                        if process.status() != psutil.STATUS_ZOMBIE and not _is_other(process):
                            found[name].append(process)
        return found

    def sample(self) -> None:
        """Look once."""
        live = self.live()
        together: set[frozenset[int]] = set()
        for name, processes in live.items():
            if len(processes) > 1:
                together.add(frozenset(process.pid for process in processes))
            if self.wanted[name] and not self.is_out:
                self.seen[name] += 1
                self.up[name] += self._is_up(name, processes)
        # Twice in a row: an old process that is just being taken apart is none.
        self.duplicates |= together & self._pairs
        self._pairs = together

    def _is_up(self, name: str, processes: list[psutil.Process]) -> bool:
        if not self.contender.sandbox.gateway.is_connected(self.contender.accounts[name]):
            return False
        for process in processes:
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_STOPPED:
                    return True
        return False

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.to_thread(self.sample)
            await asyncio.sleep(SAMPLE_S)

    def lost(self) -> list[str]:
        """Return the bots that are not as the operator left them."""
        live = self.live()
        lost = []
        for name, wanted in self.wanted.items():
            is_as_wanted = len(live[name]) == 1 and self._is_up(name, live[name]) if wanted else not live[name]
            if wanted is not None and not is_as_wanted:
                lost.append(name)
        return lost


def _is_other(process: psutil.Process) -> bool:
    """Tell whether a process is none of a bot itself: a helper of the peers' command lines."""
    return process.name() in ("supervisorctl", "pm2", "sh")


@dataclass(slots=True)
class Storm:
    """The blows, one after the other."""

    contender: Contender
    watch: Watch
    names: list[str]
    done: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    not_revived: int = 0

    async def strike(self, kind: str, victim: int) -> None:
        """Strike one blow; one that has no target here is left out."""
        name = self.names[victim]
        subject, _, verb = kind.partition(": ")
        if subject == "operator":
            await self._operate(verb, name)
        elif kind.endswith(" bot"):
            signals = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "terminate": signal.SIGTERM}
            processes = (await asyncio.to_thread(self.watch.live))[name]
            if not processes:
                return
            with suppress(psutil.Error):
                processes[0].send_signal(signals[kind.split()[0]])
        elif kind.endswith("supervisor"):
            await self._strike_supervisor(kind)
        elif kind.endswith("zygote"):
            zygote = self.contender.zygote()
            if zygote is None:
                return
            zygote.send_signal(signal.SIGKILL if kind.startswith("kill") else signal.SIGSTOP)
        elif kind == "delete sockets":
            for path in self.contender.sockets():
                path.unlink(missing_ok=True)
        else:
            await self._outage()
        self.done[kind] += 1

    async def _operate(self, verb: str, name: str) -> None:
        before = self.watch.wanted[name]
        after = {"stop": False, "start": True, "restart": True}[verb]
        if verb == "restart" and before is False:
            return
        # While it is under way, neither counts.
        self.watch.wanted[name] = None
        was_done = await self.contender.act(verb, name)
        self.refused += not was_done
        self.watch.wanted[name] = after if was_done else (before if before is after else None)

    async def _strike_supervisor(self, kind: str) -> None:
        with suppress(psutil.NoSuchProcess):
            process = self.contender.supervisor()
            if kind.startswith("freeze"):
                process.suspend()
                await asyncio.sleep(FREEZE_S)
                process.resume()
                return
            process.send_signal(signal.SIGKILL if kind.startswith("kill") else signal.SIGTERM)
            await asyncio.to_thread(_wait_for_end, process)
        await asyncio.sleep(SERVICE_S)
        try:
            await self.contender.revive()
        except (FleetError, PeerMissing, OSError):
            self.not_revived += 1

    async def _outage(self) -> None:
        self.watch.is_out = True
        try:
            async with self.contender.sandbox.faults.outage():
                await asyncio.sleep(OUTAGE_S)
        finally:
            self.watch.is_out = False


def _wait_for_end(process: psutil.Process) -> None:
    """Wait until a process is gone; it is not reaped here, which is its parent's to do."""
    deadline = time.monotonic() + 30
    with suppress(psutil.Error):
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.02)


async def run_storm(contender: Contender, seconds: float, every_s: float, seed: int) -> dict[str, Any]:
    """Strike for that long, let it settle, shut down; returns the figures."""
    names = list(contender.folders)
    watch = Watch(contender, dict.fromkeys(names, True))
    storm = Storm(contender, watch, names)
    watching = asyncio.create_task(watch.run())
    began = time.monotonic()
    try:
        for number, (kind, victim) in enumerate(planned_blows(len(names), seconds, every_s, seed)):
            if time.monotonic() - began > seconds:
                break
            await storm.strike(kind, victim)
            await asyncio.sleep(max(began + (number + 1) * every_s - time.monotonic(), 0))
        settled_s, lost = await _settle(watch)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    await contender.shut_down()
    began = time.monotonic()
    # The process table has no event.
    while any(watch.live().values()) and time.monotonic() - began < ORPHAN_S:  # noqa: ASYNC110
        await asyncio.sleep(SAMPLE_S)
    orphans = [process for processes in watch.live().values() for process in processes]
    shares = {name: watch.up[name] / watch.seen[name] for name in names if watch.seen[name]}
    worst = min(shares, key=lambda name: shares[name])
    figures = {
        "blows": sum(storm.done.values()),
        "availability": round(sum(watch.up.values()) / max(sum(watch.seen.values()), 1), 5),
        "worst_bot": round(shares[worst], 4),
        "duplicates": len(watch.duplicates),
        "lost_states": len(lost),
        "orphans": len(orphans),
        "settled_s": settled_s,
        "refused_commands": storm.refused,
        "not_revived": storm.not_revived,
    }
    for process in orphans:
        with suppress(psutil.Error):
            process.kill()
    return {**figures, "struck": dict(storm.done), "each": {name: round(share, 4) for name, share in shares.items()}}


async def _settle(watch: Watch) -> tuple[float | None, list[str]]:
    """Wait until all is as wanted; returns how long it took, or None, and what is not."""
    began = time.monotonic()
    while lost := await asyncio.to_thread(watch.lost):
        if time.monotonic() - began > SETTLE_S:
            return None, lost
        await asyncio.sleep(SAMPLE_S)
    return round(time.monotonic() - began, 1), []


@dataclass(slots=True)
class Ours:
    """A real master with real nodes."""

    stage: Stage
    sandbox: Sandbox
    folders: dict[str, Path]
    accounts: dict[str, Any]

    def supervisor(self) -> psutil.Process:
        """Return the master."""
        if self.stage.master is None:
            raise psutil.NoSuchProcess(0)
        return psutil.Process(self.stage.master.process.pid)

    async def revive(self) -> None:
        """Start a master."""
        await self.stage.start_master()

    def zygote(self) -> psutil.Process | None:
        """Return the master's zygote."""
        with suppress(LookupError, psutil.Error):
            return zygote_of(self.supervisor())
        return None

    def sockets(self) -> tuple[Path, ...]:
        """Return the control socket and the nodes'."""
        state = self.stage.home / "state"
        return (state / "control.sock", state / "nodes.sock")

    async def act(self, verb: str, name: str) -> bool:
        """Act through the control socket."""
        try:
            async with asyncio.timeout(ACT_TIMEOUT_S):
                return all(result.ok for result in await self.stage.act(verb, [name]))
        except (FleetError, TimeoutError, OSError):
            return False

    async def shut_down(self) -> None:
        """End master and nodes with SIGTERM, as systemctl would."""
        with suppress(psutil.NoSuchProcess):
            process = self.supervisor()
            process.terminate()
            await asyncio.to_thread(_wait_for_end, process)


@asynccontextmanager
async def ours(
    count: int, *, pulse_s: float = 2.0, prepare: Callable[[Stage], None] = lambda _stage: None
) -> AsyncIterator[Ours]:
    """Run a master with ``count`` connected nodes.

    Parameters
    ----------
    prepare
        Called before the master starts, with config.py in place.
    """
    async with Stage(pulse_s=pulse_s) as stage:
        prepare(stage)
        await stage.start_master()
        names = await start_fleet(stage, count)
        folders = {name: stage.home / "bots" / name for name in names}
        yield Ours(stage, stage.sandbox, folders, {name: stage.bots[name].account for name in names})


@dataclass(slots=True)
class Theirs:
    """A peer with the same bots as plain processes."""

    stage: Stage
    peer: Peer
    ending: str
    sandbox: Sandbox
    folders: dict[str, Path]
    accounts: dict[str, Any]

    def supervisor(self) -> psutil.Process:
        """Return the daemon."""
        try:
            return psutil.Process(int(self.peer.pid_path.read_text()))
        except (OSError, ValueError):
            raise psutil.NoSuchProcess(0) from None

    async def revive(self) -> None:
        """Start the daemon, and its programs."""
        await asyncio.to_thread(self.peer.revive)

    def zygote(self) -> psutil.Process | None:
        """Return None: it starts every bot anew."""
        return None

    def sockets(self) -> tuple[Path, ...]:
        """Return its sockets."""
        return self.peer.sockets

    async def act(self, verb: str, name: str) -> bool:
        """Act through its command line."""
        return await asyncio.to_thread(self.peer.act, verb, name, timeout_s=ACT_TIMEOUT_S)

    async def shut_down(self) -> None:
        """Ask it to end, and if that does not reach it, do as its service would."""
        await asyncio.to_thread(self.peer.shut_down, self.ending)
        with suppress(psutil.NoSuchProcess):
            process = self.supervisor()
            process.terminate()
            await asyncio.to_thread(_wait_for_end, process)


@asynccontextmanager
async def theirs(name: str, count: int, *, template: Path = TEMPLATE, **more: Any) -> AsyncIterator[Theirs]:
    """Run a peer with ``count`` connected bots.

    Parameters
    ----------
    template
        What the bots are copied from.
    more
        Further options of the peer, as in :mod:`benchmarks.peers`.
    """
    run: Callable[..., AbstractContextManager[Peer]] = PEERS[name]
    options = {"endless": True, **more} if name == "PM2" else more
    with tempfile.TemporaryDirectory(prefix="fleet-chaos-", ignore_cleanup_errors=True) as scratch:
        async with Stage() as stage:
            programs = []
            for number in range(count):
                bot, folder = f"node-{number}", Path(scratch) / f"node-{number}"
                stage.create_bot(bot)
                await asyncio.to_thread(shutil.copytree, template, folder)
                write_env(stage, folder, bot)
                programs.append(Program(bot, folder))
            folders = {program.name: program.folder for program in programs}
            accounts = {bot: stage.bots[bot].account for bot in folders}
            with await asyncio.to_thread(_entered, run, Path(scratch), programs, options) as peer:
                peer.start()
                for account in accounts.values():
                    await stage.sandbox.gateway.wait_connected(account, timeout_s=120.0)
                ending = "shutdown" if name == "supervisord" else "kill"
                contender = Theirs(stage, peer, ending, stage.sandbox, folders, accounts)
                try:
                    yield contender
                finally:
                    _kill_all_of(scratch)


def _kill_all_of(folder: str) -> None:
    """Kill what is left of a contender: its bots, and daemons that its own restart doubled."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if folder in process.cwd() or folder in " ".join(process.cmdline()):
                process.kill()


def _entered(
    run: Callable[..., AbstractContextManager[Peer]], folder: Path, programs: list[Program], options: dict[str, Any]
) -> AbstractContextManager[Peer]:
    return run(folder, programs, **options)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=10)
    arguments.add_argument("--minutes", type=float, default=10.0)
    arguments.add_argument("--peer-minutes", type=float, default=None, help="[default: as long]")
    arguments.add_argument("--every", type=float, default=2.0, help="seconds between two blows")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--no-peers", action="store_true")
    options = arguments.parse_args()
    outcome = Outcome(
        f"{options.nodes} bots, a blow every {options.every:g} s for {options.minutes:g} min, seed {options.seed}"
    )
    outcome.rows["fleetmaster"] = asyncio.run(_measure(ours(options.nodes), options.minutes, options))
    for name in () if options.no_peers else PEERS:
        minutes = options.peer_minutes or options.minutes
        try:
            outcome.rows[name] = asyncio.run(_measure(theirs(name, options.nodes), minutes, options))
        except (PeerMissing, TimeoutError) as error:
            outcome.rows[name] = {"missing": str(error) or type(error).__name__}
    own = outcome.rows["fleetmaster"]
    for name, row in outcome.rows.items():
        if name != "fleetmaster" and "missing" not in row:
            outcome.ratio(f"{name}, time away", 1 - own["availability"], 1 - row["availability"])
    for figure in ("duplicates", "lost_states", "orphans"):
        outcome.at_most(figure, own[figure], 0)
    if not options.json:
        # In the table each bot and each blow would be a column.
        for name, row in outcome.rows.items():
            if "missing" not in row:
                print(f"{name}: {', '.join(f'{kind} {times}' for kind, times in sorted(row['struck'].items()))}")
        outcome.rows = {
            name: {key: value for key, value in row.items() if key not in ("struck", "each")}
            for name, row in outcome.rows.items()
        }
    show(outcome, as_json=options.json)


async def _measure(entering: Any, minutes: float, options: Any) -> dict[str, Any]:
    async with entering as contender:
        figures = await run_storm(contender, minutes * 60, options.every, options.seed)
    # What has been measured is not lost when a later contender takes too long.
    print({key: value for key, value in figures.items() if key != "struck"}, file=sys.stderr, flush=True)
    return figures


if __name__ == "__main__":
    main()
