"""The supervisor of all nodes: owns the runners' tasks, samples resource usage, rotates logs."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from handshake.transports.gathering import GATHER_S
from master.bus import EventBus
from master.configuration.settings import SupervisionSettings
from master.errors import FleetError
from master.events import MemoryMerged, SupervisionFailed, TaskFailed
from master.supervision.clock import Clock
from master.supervision.connectivity import Connectivity
from master.supervision.details import Details, read_details
from master.supervision.errors import NotSupervised, StateTimedOut
from master.supervision.gate import StartGate
from master.supervision.history import MAX_SAMPLE_INTERVAL_S, NodeHistory
from master.supervision.limits import OomDetector
from master.supervision.logs import NodeLogs
from master.supervision.preparing import StartPreparer
from master.supervision.process import NodeProcess, Usage
from master.supervision.run_records import RunRecord, RunRecords
from master.supervision.runner import OVER_MEMORY_LIMIT, Runner, RunnerContext
from master.supervision.spawner import Spawner
from master.supervision.specification import NodeSpec, Pulse
from master.supervision.states import NodeState

log = logging.getLogger(__name__)

SWEEP_WATCHED_S, SWEEP_UNWATCHED_S = 1.0, MAX_SAMPLE_INTERVAL_S / 2
AFTER_PULSES_S = GATHER_S + 0.005
"""Nodes pulse at full intervals of the clock; a sweep comes after their pulses were handled, and they rest again."""
RESTING_CPU_PERCENT, RESTING_SHARE_OF_LIMIT = 1.0, 0.75
"""A node that uses less is read at every second sweep only, while nobody watches."""
WATCHED_FOR_S = 15.0
"""Usage is sampled every second for this long after a request for it."""
DETAILS_EVERY_S = 60.0
"""One node's details are read this often; they cost half a millisecond. Those of new processes come first."""
DETAILS_AT_ONCE = 8
ROTATE_EVERY, ROTATE_ALL_EVERY = 1, 8
"""Sweeps between two checks of log sizes: of bots without a rate limit, and of all."""
OOM_NOTE_EVERY = 8


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """One node as the supervisor sees it now."""

    node_id: str
    name: str
    state: NodeState
    pid: int | None = None
    uptime_s: float | None = None
    watched_s: float | None = None
    """How long this master has had its process; an adopted one is older."""
    restarts: int = 0
    last_exit: str = ""
    next_start_in_s: float | None = None
    last_pulse_s_ago: float | None = None
    latency_ms: float | None = None
    guilds: int | None = None
    cogs_failed: tuple[str, ...] = ()
    version: str = ""
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    threads: int | None = None
    pss_bytes: int | None = None
    open_files: int | None = None
    connections: int | None = None
    detail: str = ""
    offline_for_s: float | None = None
    """How long it is without Discord; None while it is connected."""


@dataclass(slots=True)
class _Sample:
    """The last reading of a process, and its usage since the one before."""

    process: NodeProcess
    at: float
    usage: Usage
    history: NodeHistory
    cpu_percent: float = 0.0
    details: Details | None = None
    details_at: float = 0.0

    @property
    def pid(self) -> int:
        """Whose reading it is."""
        return self.process.pid


class Supervisor:
    """Start, watch, restart and stop nodes.

    Parameters
    ----------
    preparer
        Gathers what each start needs.
    bus
        Carries everything that happens to processes, in order.
    """

    def __init__(
        self,
        *,
        spawner: Spawner,
        preparer: StartPreparer,
        settings: SupervisionSettings,
        logs: NodeLogs,
        records: RunRecords,
        clock: Clock,
        bus: EventBus,
        oom: OomDetector | None = None,
        connectivity: Connectivity | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._logs = logs
        self._clock = clock
        self._records = records
        self._oom = oom or OomDetector(None)
        self._bus = bus
        self.connectivity = connectivity or Connectivity(bus, clock)
        self.connectivity.on_change(self._on_connectivity)
        bus.on(MemoryMerged, lambda _merged: self.request_details())
        self._context = RunnerContext(
            spawner=spawner,
            preparer=preparer,
            settings=settings,
            clock=clock,
            rng=rng or random.Random(),  # noqa: S311 - jitter, not a secret
            gate=StartGate(settings.concurrent_starts),
            records=records,
            oom=self._oom,
            find=self._find,
            last_lines=logs.tail,
            bus=bus,
            connectivity=self.connectivity,
        )
        self._runners: dict[str, Runner] = {}
        self._histories: dict[str, NodeHistory] = {}
        self._sweeps = 0
        self._details_due = 0.0
        self._looked_at = float("-inf")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._samples: dict[str, _Sample] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Supervise until cancelled; running nodes are left running."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for runner in self._runners.values():
                self._launch(runner)
            try:
                while True:
                    now = time.monotonic()
                    watched = now - self._looked_at < WATCHED_FOR_S
                    interval_s = SWEEP_WATCHED_S if watched else SWEEP_UNWATCHED_S
                    # In step with the nodes' pulses: one wake-up for both.
                    await asyncio.sleep(interval_s - (now - AFTER_PULSES_S) % interval_s)
                    await self._sweep_safely(watched=watched)
            finally:
                self._group = None

    def _launch(self, runner: Runner) -> None:
        if self._group is not None:
            self._tasks[runner.spec.node_id] = self._group.create_task(
                self._run_one(runner), name=f"node {runner.spec.name}"
            )

    async def _run_one(self, runner: Runner) -> None:
        """Run one node's loop, and restart it after a bug: the other nodes stay supervised."""
        while True:
            try:
                await runner.run()
                return
            except Exception as error:
                log.exception("supervision of a node failed, and goes on", extra={"node": runner.spec.name})
                failed = f"{type(error).__name__}: {error}"[:400]
                self._bus.publish(SupervisionFailed(at=self._clock.now(), node_id=runner.spec.node_id, error=failed))
                runner.process = None
                await asyncio.sleep(1.0)
                # Its process may still run: adopt it, and never start a second one.
                record = self._records.read(runner.spec.node_id)
                if record is not None:
                    runner.adopt(record.pid, record.started_at)

    async def _sweep_safely(self, *, watched: bool) -> None:
        """Sweep; a bug in it must not end the supervision of all nodes."""
        try:
            await self._sweep(watched=watched)
        except Exception as error:
            log.exception("a sweep failed; the next one comes as usual")
            told = f"{type(error).__name__}: {error}"[:400]
            self._bus.publish(TaskFailed(at=self._clock.now(), task="sweep", error=told))

    async def _sweep(self, *, watched: bool) -> None:
        self._sweeps += 1
        # Real time, whatever clock was injected: CPU time is measured in it.
        now = time.monotonic()
        of_all = watched or now % MAX_SAMPLE_INTERVAL_S < SWEEP_UNWATCHED_S
        for runner in self._runners.values():
            if of_all or not self._rests(runner):
                self._take_sample(runner, now)
        if self._sweeps % OOM_NOTE_EVERY == 0:
            self._oom.reset()
        await self._read_next_details(now)
        await self._rotate_logs()

    def _rests(self, runner: Runner) -> bool:
        """Tell whether a node may be read more rarely: far from its limit, and the zygote tells when it is stopped."""
        process, sample = runner.process, self._samples.get(runner.spec.node_id)
        if process is None:
            return sample is None
        return (
            sample is not None
            and sample.pid == process.pid
            and process.bounded_output
            and sample.cpu_percent < RESTING_CPU_PERCENT
            and sample.usage.rss_bytes <= RESTING_SHARE_OF_LIMIT * (runner.spec.memory_limit_bytes or math.inf)
        )

    async def _rotate_logs(self) -> None:
        everyone = self._sweeps % ROTATE_ALL_EVERY == 0
        if everyone or self._sweeps % ROTATE_EVERY == 0:
            running = ((runner.spec.name, runner.process) for runner in self._runners.values())
            names = [name for name, process in running if everyone or (process and not process.bounded_output)]
            if names:
                await asyncio.to_thread(self._logs.rotate, names)

    async def _read_next_details(self, now: float) -> None:
        """Read the details of new processes, or else of the one node whose turn it is."""
        due = [sample for sample in self._samples.values() if not sample.details_at][:DETAILS_AT_ONCE]
        if not due and self._samples and now >= self._details_due:
            due = [min(self._samples.values(), key=lambda sample: sample.details_at)]
        if due:
            self._details_due = now + DETAILS_EVERY_S
            sources = [sample.process.details_source() for sample in due]
            found = await asyncio.to_thread(lambda: [read_details(source, connections=False) for source in sources])
            for sample, details in zip(due, found, strict=True):
                sample.details, sample.details_at = details, now

    def _find(self, name: str) -> Runner | None:
        return next((runner for runner in self._runners.values() if runner.spec.name == name), None)

    def register(self, spec: NodeSpec) -> None:
        """Make a node known; it is started by :meth:`start`."""
        if spec.node_id in self._runners:
            self._runners[spec.node_id].update_spec(spec)
            return
        runner = Runner(spec, self._context)
        self._runners[spec.node_id] = runner
        self._launch(runner)

    async def forget(self, node_id: str) -> None:
        """Supervise a node no more; returns once its process, if it had one, has ended."""
        runner = self._runners.pop(node_id, None)
        if runner is None:
            return
        self._histories.pop(node_id, None)
        self._samples.pop(node_id, None)
        runner.retire()
        task = self._tasks.pop(node_id, None)
        if task is not None:
            await asyncio.wait({task})

    def update_settings(self, settings: SupervisionSettings) -> None:
        """Supervise by other figures from now on."""
        self._context.settings = settings
        self._context.gate.resize(settings.concurrent_starts)
        for runner in self._runners.values():
            runner.take_settings()

    @property
    def pulse_interval_s(self) -> float:
        """How often nodes pulse over the local socket."""
        return self._context.settings.pulse_interval_s

    def set_deaf(self, is_deaf: bool) -> None:
        """Note that nodes cannot reach the master, or that they can again: nobody is replaced for being silent then."""
        hearing = self._context.hearing
        if hearing.is_deaf and not is_deaf:
            hearing.returned_at = self._clock.monotonic()
        hearing.is_deaf = is_deaf
        for runner in self._runners.values():
            runner.take_settings()

    def _on_connectivity(self) -> None:
        for runner in self._runners.values():
            runner.on_connectivity()

    def _runner(self, node_id: str) -> Runner:
        try:
            return self._runners[node_id]
        except KeyError:
            raise NotSupervised(f"the supervisor does not know the node {node_id}") from None

    async def start(self, node_id: str) -> None:
        """Start a node, also out of backoff and quarantine; returns once its process has begun.

        Raises
        ------
        FleetError
            It could not be started; the supervisor goes on trying.
        """
        await self._runner(node_id).start()

    async def stop(self, node_id: str) -> None:
        """Stop a node; returns once its process has ended."""
        await self._runner(node_id).stop()

    async def restart(self, node_id: str) -> None:
        """Replace a node's process gracefully; returns once the new one has begun."""
        await self._runner(node_id).restart()

    async def kill(self, node_id: str) -> None:
        """SIGKILL a node's process group; returns once it has ended."""
        await self._runner(node_id).kill()

    def release(self, node_id: str) -> None:
        """End a node's backoff or quarantine."""
        self._runner(node_id).release()

    def quarantine(self, node_id: str, reason: str, *, for_s: float) -> None:
        """Request that a node's process ends, and that none is started for that long, or until an operator does."""
        self._runner(node_id).quarantine(reason, for_s)

    def recorded(self, node_id: str) -> RunRecord | None:
        """Return the last recorded process of a node, whether it runs or not."""
        return self._records.read(node_id)

    def adopt(self, node_id: str, pid: int, pid_started_at: float) -> bool:
        """Watch a process that already runs instead of starting a second one.

        Returns
        -------
        bool
            False when pid and start time (seconds since boot) are not those of a process in the node's folder.
        """
        return self._runner(node_id).adopt(pid, pid_started_at)

    async def wait_state(self, node_id: str, states: Iterable[NodeState], *, timeout_s: float) -> NodeState:
        """Wait until a node is in one of ``states``.

        Raises
        ------
        StateTimedOut
        """
        runner, wanted = self._runner(node_id), frozenset(states)
        try:
            async with asyncio.timeout(timeout_s):
                await runner.wait_for(lambda: runner.state in wanted)
        except TimeoutError:
            names = " or ".join(sorted(wanted))
            raise StateTimedOut(
                f"{runner.spec.name} was not {names} within {timeout_s:g} s; it is {runner.state}",
                hint=f"`fleet logs {runner.spec.name}` shows its output",
            ) from None
        return runner.state

    def node_verified(
        self,
        node_id: str,
        *,
        version: str,
        interval_s: float,
        cogs_failed: tuple[str, ...] = (),
        offline_s: float | None = None,
    ) -> None:
        """Mark a node as ready, or degraded: its verification was accepted. Its next pulse is due in ``interval_s``."""
        self._runner(node_id).verified(
            version=version, interval_s=interval_s, cogs_failed=cogs_failed, offline_s=offline_s
        )

    def node_pulsed(self, node_id: str, pulse: Pulse) -> None:
        """Handle a node's verified pulse."""
        self._runner(node_id).take_pulse(pulse)

    def ready_sign_of(self, node_id: str) -> str:
        """Return the sign that a program has to show before it counts as ready; empty for none."""
        spec = self._runner(node_id).spec
        return spec.ready_when if spec.readiness == "process" else ""

    def sign_seen(self, node_id: str, pid: int) -> None:
        """Handle the sign of readiness of a node's process; does nothing if it is another by now."""
        self._runner(node_id).sign_seen(pid)

    def pid_of(self, node_id: str) -> int | None:
        """Return the pid of a node's process."""
        process = self._runner(node_id).process
        return None if process is None else process.pid

    def is_wanted(self, node_id: str) -> bool:
        """Tell whether a node is to run: what an operator asks for holds here before it is on record."""
        return self._runner(node_id).is_wanted

    def running_names(self) -> list[str]:
        """Return the names of the nodes that have a process."""
        return [runner.spec.name for runner in self._runners.values() if runner.process is not None]

    def kill_all(self) -> None:
        """Send SIGKILL to all nodes, without waiting for it: they are being stopped, and there is no more patience."""
        for runner in self._runners.values():
            if runner.process is not None:
                runner.process.kill_group(signal.SIGKILL)

    def isolated_names(self) -> dict[str, bool]:
        """Return the names of the nodes that run, and of each whether its process is isolated."""
        running = ((runner.spec.name, runner.process) for runner in self._runners.values())
        return {name: process.isolated for name, process in running if process is not None}

    def watch_closely(self) -> None:
        """Sample usage every second for a while, because it is being watched."""
        self._looked_at = time.monotonic()

    def snapshot(self) -> list[NodeView]:
        """Return all nodes as they are now."""
        return [self._view(runner) for runner in self._runners.values()]

    def view(self, node_id: str) -> NodeView:
        """Return one node as it is now."""
        return self._view(self._runner(node_id))

    def _view(self, runner: Runner) -> NodeView:
        now = self._clock.monotonic()
        process, pulse = runner.process, runner.pulse
        sample = self._sample(runner)
        waits = runner.next_start_at is not None and process is None
        return NodeView(
            node_id=runner.spec.node_id,
            name=runner.spec.name,
            state=runner.state,
            pid=process.pid if process else None,
            uptime_s=_since(now, runner.started_at) if process else None,
            watched_s=_since(now, runner.spawned_at) if process else None,
            restarts=runner.restarts,
            last_exit=runner.last_exit,
            next_start_in_s=max((runner.next_start_at or now) - now, 0.0) if waits else None,
            last_pulse_s_ago=_since(now, runner.pulsed_at),
            latency_ms=pulse.latency_ms if pulse else None,
            guilds=pulse.guilds if pulse else None,
            cogs_failed=pulse.cogs_failed if pulse else (),
            version=runner.version,
            cpu_percent=sample.cpu_percent if sample else None,
            rss_bytes=sample.usage.rss_bytes if sample else None,
            threads=sample.usage.threads if sample else None,
            pss_bytes=sample.details.pss_bytes if sample and sample.details else None,
            open_files=sample.details.open_files if sample and sample.details else None,
            connections=sample.details.connections if sample and sample.details else None,
            detail=runner.detail,
            offline_for_s=_since(now, runner.offline_since),
        )

    def history(self, node_id: str) -> NodeHistory:
        """Return a node's resource history."""
        self._runner(node_id)
        return self._histories.get(node_id) or NodeHistory()

    async def read_details(self, node_id: str) -> None:
        """Read a node's details now, connections included."""
        sample = self._sample(self._runner(node_id))
        if sample is not None:
            source = sample.process.details_source()
            sample.details = await asyncio.to_thread(read_details, source, connections=True)

    def request_details(self) -> None:
        """Request new details of all nodes, read a few with each sweep; does not block."""
        for sample in self._samples.values():
            sample.details_at = 0.0

    def _sample(self, runner: Runner) -> _Sample | None:
        """Return the last sample of a node's current process; takes one when there is none yet."""
        sample = self._samples.get(runner.spec.node_id)
        if sample is None or runner.process is None or sample.pid != runner.process.pid:
            return self._take_sample(runner, time.monotonic())
        return sample

    def _take_sample(self, runner: Runner, now: float) -> _Sample | None:
        process = runner.process
        usage = process.usage() if process is not None else None
        if process is None or usage is None:
            self._samples.pop(runner.spec.node_id, None)
            return None
        if usage.stopped:
            process.notify_stopped()
        sample = self._samples.get(runner.spec.node_id)
        if sample is None or sample.pid != process.pid:
            history = self._histories.setdefault(runner.spec.node_id, NodeHistory())
            sample = self._samples[runner.spec.node_id] = _Sample(process, now, usage, history)
        elif usage is sample.usage:
            # The same object: the process was idle, as most nodes are most of the time.
            sample.at, sample.cpu_percent = now, 0.0
            sample.history.put_idle(now, usage.rss_bytes)
            return sample
        elif now > sample.at:
            sample.cpu_percent = round(100 * (usage.cpu_s - sample.usage.cpu_s) / (now - sample.at), 1)
            sample.at, sample.usage = now, usage
            sample.history.put(now, sample.cpu_percent, usage.rss_bytes)
        limit = runner.spec.memory_limit_bytes
        if limit and usage.rss_bytes > limit:
            runner.replace(f"{OVER_MEMORY_LIMIT} ({usage.rss_bytes >> 20} of {limit >> 20} MB)")
        return sample

    async def stop_all(self) -> None:
        """Stop all nodes at once; their desired state in the ledger is left as it is."""
        results = await asyncio.gather(*(runner.stop() for runner in self._runners.values()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, FleetError):
                raise result


def _since(now: float, moment: float | None) -> float | None:
    return None if moment is None else round(now - moment, 2)
