"""The life of one node: a loop that starts its process, watches it, and decides what comes after its end."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from master.errors import FleetError
from master.settings import SupervisionSettings
from master.supervision.clock import Clock
from master.supervision.errors import FolderMissing
from master.supervision.process import ExitReport, NodeProcess, is_process
from master.supervision.restart_policy import RestartPolicy
from master.supervision.spawner import Spawner, SpawnRequest
from master.supervision.states import NodeState, ProcessEvent, ProcessEventKind, may_follow

log = logging.getLogger(__name__)

PROCESS_READY_AFTER_S = 3.0
"""A bot that does not speak the protocol counts as ready after this long."""
MISSING_RECHECK_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """What the supervisor needs to know of a node.

    Parameters
    ----------
    readiness
        ``handshake``: ready by its own word, alive by its pulse. ``process``: by running.
    build
        Called for each start; gathers token, key and environment afresh.
    """

    node_id: str
    name: str
    folder: Path
    readiness: Literal["handshake", "process"]
    priority: int
    build: Callable[[], Awaitable[SpawnRequest]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What a node says with each pulse.

    Parameters
    ----------
    interval_s
        When the next one is due: seconds on the local socket, minutes in the channel.
    """

    uptime_s: float
    latency_ms: float | None
    guilds: int
    state: str
    interval_s: float
    cogs_failed: tuple[str, ...] = ()


class Runner:
    """Supervise one node; the task that :meth:`run` is belongs to the supervisor.

    Requests (``start``, ``stop``, ``restart``, ``kill``) set what is wanted, wake the loop, and wait until it is so.
    """

    def __init__(
        self,
        spec: NodeSpec,
        *,
        spawner: Spawner,
        settings: SupervisionSettings,
        clock: Clock,
        chance: random.Random,
        start_slots: asyncio.Semaphore,
        last_lines: Callable[[str], list[str]],
        on_event: Callable[[ProcessEvent], None],
    ) -> None:
        self.spec = spec
        self.state = NodeState.STOPPED
        self.process: NodeProcess | None = None
        self.pulse: Pulse | None = None
        self.pulsed_at: float | None = None
        self.spawned_at: float | None = None
        self.version = ""
        self.spawns = 0
        self.last_exit = ""
        self.detail = ""
        self.next_start_at: float | None = None
        self._spawner = spawner
        self._settings = settings
        self._clock = clock
        self._policy = RestartPolicy(settings, chance)
        self._start_slots = start_slots
        self._last_lines = last_lines
        self._on_event = on_event
        self._wanted = False
        self._replace = ""
        """Why the running process should be replaced; empty when it should not."""
        self._killed = False
        self._ready_at: float | None = None
        self._failures = 0
        self._failure: FleetError | None = None
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()

    # Requests

    async def start(self) -> None:
        """Want the node running, and wait until its process has begun.

        Raises
        ------
        FleetError
            It could not be started.
        """
        self._wanted = True
        if self.process is not None and self.state is not NodeState.STOPPING:
            return
        self._policy.release()
        failures = self._failures
        spawns = self.spawns
        self._poke()
        await self.wait_for(lambda: self.spawns > spawns or self._failures > failures or not self._wanted)
        if self.spawns == spawns and self._failure is not None and self._wanted:
            raise self._failure

    async def stop(self) -> None:
        """Want the node stopped, and wait until its process has ended."""
        self._wanted = False
        self._poke()
        await self.wait_for(lambda: self.state is NodeState.STOPPED or self._wanted)

    async def restart(self) -> None:
        """Replace the node's process, and wait until the new one has begun."""
        if self.process is not None:
            self._replace = "asked to restart"
            self._wanted = True
            spawns, failures = self.spawns, self._failures
            self._policy.release()
            self._poke()
            await self.wait_for(lambda: self.spawns > spawns or self._failures > failures or not self._wanted)
            if self.spawns == spawns and self._failure is not None and self._wanted:
                raise self._failure
        else:
            await self.start()

    async def kill(self) -> None:
        """SIGKILL the whole process group now, want the node stopped, and wait until it is."""
        self._wanted = False
        self._killed = self.process is not None
        if self.process is not None:
            self.process.kill_group(signal.SIGKILL)
        self._poke()
        await self.wait_for(lambda: self.state is NodeState.STOPPED or self._wanted)

    def replace(self, reason: str) -> None:
        """Ask for a graceful restart without waiting for it."""
        if self.process is not None:
            self._replace = reason
            self._poke()

    def release(self) -> None:
        """Forget past exits, and start at once if the node waits."""
        self._policy.release()
        self.next_start_at = None
        self._poke()

    # What the node says

    def verified(self, *, version: str, interval_s: float) -> None:
        """Take the node's own signed word that it is ready."""
        if self.process is None or self.state is NodeState.STOPPING:
            return
        self.version = version
        self.pulsed_at = self._clock.monotonic()
        self.pulse = Pulse(uptime_s=0.0, latency_ms=None, guilds=0, state="ready", interval_s=interval_s)
        self._become_ready()

    def take_pulse(self, pulse: Pulse) -> None:
        """Take a verified pulse."""
        if self.process is None:
            return
        self.pulse, self.pulsed_at = pulse, self._clock.monotonic()
        if self.state is NodeState.DEGRADED:
            self._become_ready()

    def _become_ready(self) -> None:
        if self.state is NodeState.READY:
            return
        kind = ProcessEventKind.RECOVERED if self.state is NodeState.DEGRADED else ProcessEventKind.READY
        if self._ready_at is None:
            self._ready_at = self._clock.monotonic()
        self._enter(NodeState.READY)
        self._emit(kind)
        self._wake.set()

    # The loop

    async def run(self) -> None:
        """Supervise until cancelled; the process, if there is one, is left running then."""
        try:
            while True:
                if not self._wanted and self.process is None:
                    self._enter(NodeState.STOPPED)
                    self.next_start_at = None
                    await self._sleep(None)
                elif self.process is None and not await self._wait_for_turn():
                    continue
                elif self.process is None:
                    await self._spawn()
                else:
                    await self._watch(self.process)
        finally:
            if self.process is not None:
                self.process.detach()
                self.process = None

    def adopt(self, pid: int, started_at: float) -> bool:
        """Take a process that is this node's already; False when it is not the one that was noted."""
        if self.process is not None or not is_process(pid, started_at, self.spec.folder):
            return False
        try:
            self.process = NodeProcess(pid)
        except (ProcessLookupError, OSError):
            return False
        self._wanted = True
        self._begin("adopted")
        self._poke()
        return True

    async def _wait_for_turn(self) -> bool:
        """Wait out a backoff; True when it is time to start."""
        if self.next_start_at is None:
            return True
        remaining = self.next_start_at - self._clock.monotonic()
        if remaining > 0:
            await self._sleep(remaining)
            return False
        self.next_start_at = None
        return True

    async def _spawn(self) -> None:
        async with self._start_slots:
            if not self._wanted:
                return
            try:
                request = await self.spec.build()
                self.process = await self._spawner.spawn(request)
            except FolderMissing as error:
                self._miss(error)
                return
            except FleetError as error:
                self._fail(error)
                return
        self._failures, self._failure = 0, None
        self._begin("")

    def _begin(self, detail: str) -> None:
        process = self.process
        if process is None:
            raise RuntimeError("a node begins with a process")
        self.spawns += 1
        self.spawned_at = self._clock.monotonic()
        self.pulse = self.pulsed_at = self._ready_at = None
        self._replace, self._killed, self.detail = "", False, detail
        self._enter(NodeState.STARTING)
        self._emit(ProcessEventKind.SPAWNED, pid=process.pid, pid_started_at=process.started_at, detail=detail)

    def _miss(self, error: FolderMissing) -> None:
        if self.state is not NodeState.MISSING:
            self._enter(NodeState.MISSING)
            self.detail = error.message
            self._emit(ProcessEventKind.MISSING, detail=error.message)
        self._failures += 1
        self._failure = error
        self.next_start_at = self._clock.monotonic() + MISSING_RECHECK_S
        self._notify()

    def _fail(self, error: FleetError) -> None:
        """Count a start that did not come to a process as an exit."""
        log.error("start failed", extra={"node": self.spec.name, "why": str(error)})
        self._failures += 1
        self._failure = error
        self._enter(NodeState.BACKOFF)
        self._back_off(str(error))

    async def _watch(self, process: NodeProcess) -> None:
        """Wait for whatever comes first: an exit, a request, a deadline; and act on it."""
        if not self._wanted or self._replace:
            await self._end(process)
            return
        now = self._clock.monotonic()
        deadline = self._deadline()
        if deadline is not None and now >= deadline:
            self._on_deadline(now)
            return
        exited = await self._sleep(None if deadline is None else deadline - now, process)
        if exited is not None:
            self._after_exit(exited)

    def _deadline(self) -> float | None:
        """When, in monotonic seconds, something is overdue."""
        if self.spec.readiness == "process":
            due = (self.spawned_at or 0.0) + PROCESS_READY_AFTER_S
            return due if self.state is NodeState.STARTING else None
        if self.state is NodeState.STARTING:
            return (self.spawned_at or 0.0) + self._settings.ready_timeout_s
        if self.pulse is None or self.pulsed_at is None:
            return None
        patience = self.pulse.interval_s * self._settings.missed_pulses
        return self.pulsed_at + (patience if self.state is NodeState.READY else 2 * patience)

    def _on_deadline(self, now: float) -> None:
        if self.spec.readiness == "process":
            self._become_ready()
        elif self.state is NodeState.STARTING:
            self._replace = f"not ready within {self._settings.ready_timeout_s:g} s"
        elif self.state is NodeState.READY:
            silence = now - (self.pulsed_at or now)
            usage = self.process.usage() if self.process is not None else None
            why = "; it is stopped by a signal" if usage is not None and usage.stopped else ""
            self.detail = f"no pulse for {silence:.0f} s{why}"
            self._enter(NodeState.DEGRADED)
            self._emit(ProcessEventKind.DEGRADED, detail=self.detail)
        else:
            self._replace = self.detail or "no pulse"

    async def _end(self, process: NodeProcess) -> None:
        """SIGTERM, then SIGKILL to the group after the grace period; then what an exit entails."""
        reason = self._replace
        self._enter(NodeState.STOPPING)
        process.send_signal(signal.SIGTERM)
        # A stopped process would not see SIGTERM before it continues.
        process.send_signal(signal.SIGCONT)
        try:
            report = await asyncio.wait_for(asyncio.shield(process.exited), self._settings.grace_s)
        except TimeoutError:
            log.warning("node ignored SIGTERM", extra={"node": self.spec.name, "grace_s": self._settings.grace_s})
            process.kill_group(signal.SIGKILL)
            report = await asyncio.shield(process.exited)
        self._after_exit(report, reason)

    def _after_exit(self, report: ExitReport, reason: str = "") -> None:
        process, now = self.process, self._clock.monotonic()
        if process is None:
            raise RuntimeError("an exit needs a process")
        self.process = None
        uptime = now - (self.spawned_at or now)
        ready_for = None if self._ready_at is None else now - self._ready_at
        was_asked = self.state is NodeState.STOPPING and (not self._wanted or reason == "asked to restart")
        self.last_exit = f"{reason}: {report}" if reason else str(report)
        self.pulse = self.pulsed_at = self._ready_at = None
        kind = ProcessEventKind.EXITED
        if self._killed:
            kind = ProcessEventKind.KILLED
        elif was_asked:
            kind = ProcessEventKind.STOPPED
        self._emit(
            kind,
            pid=process.pid,
            exit_code=report.exit_code,
            signal_number=report.signal,
            uptime_s=uptime,
            detail=self.last_exit,
        )
        self._replace, self._killed = "", False
        if not self._wanted:
            self._enter(NodeState.STOPPED)
            return
        if was_asked:
            self.next_start_at = None
            return
        self._back_off(self.last_exit, ready_for_s=ready_for)

    def _back_off(self, why: str, *, ready_for_s: float | None = None) -> None:
        now = self._clock.monotonic()
        decision = self._policy.after_exit(now, ready_for_s=ready_for_s)
        if decision.delay_s <= 0:
            self.next_start_at = None
            self._notify()
            return
        self.next_start_at = now + decision.delay_s
        last = next((line for line in reversed(self._last_lines(self.spec.name)) if line.strip()), "")
        self.detail = f"{why}; {decision.reason}" + (f"; last line: {last.strip()[:300]}" if last else "")
        if decision.quarantined:
            newly = self.state is not NodeState.QUARANTINED
            self._enter(NodeState.QUARANTINED)
            if newly:
                self._emit(ProcessEventKind.QUARANTINED, detail=self.detail)
        else:
            self._enter(NodeState.BACKOFF)
            self._emit(ProcessEventKind.BACKOFF, detail=f"{self.detail}; next start in {decision.delay_s:.1f} s")

    # Waiting and telling

    async def _sleep(self, timeout_s: float | None, process: NodeProcess | None = None) -> ExitReport | None:
        """Wait for a request, the exit of ``process``, or the time-out; gives the exit report if it was that."""
        woken = asyncio.ensure_future(self._wake.wait())
        waiting: set[asyncio.Future[Any]] = {woken}
        if process is not None:
            waiting.add(process.exited)
        try:
            await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        self._wake.clear()
        if process is not None and process.exited.done():
            return process.exited.result()
        return None

    def _poke(self) -> None:
        if self.process is None:
            self.next_start_at = None
        self._wake.set()

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        """Wait until ``holds`` does; it is asked again at every change."""
        while not holds():
            changed = self._changed
            await changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _enter(self, state: NodeState) -> None:
        if state is not self.state:
            if not may_follow(self.state, state):
                log.error("illegal transition %s -> %s", self.state, state, extra={"node": self.spec.name})
            self.state = state
        self._notify()

    def _emit(
        self,
        kind: ProcessEventKind,
        *,
        pid: int | None = None,
        pid_started_at: float | None = None,
        exit_code: int | None = None,
        signal_number: int | None = None,
        uptime_s: float | None = None,
        detail: str = "",
    ) -> None:
        if pid is None and self.process is not None:
            pid = self.process.pid
        self._on_event(
            ProcessEvent(
                node_id=self.spec.node_id,
                kind=kind,
                at=self._clock.now(),
                pid=pid,
                pid_started_at=pid_started_at,
                exit_code=exit_code,
                signal=signal_number,
                uptime_s=uptime_s,
                detail=detail,
            )
        )
        self._notify()
