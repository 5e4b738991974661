"""The supervision loop of one node: starts its process, watches it, and applies the restart policy."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from master.bus import EventBus
from master.configuration.settings import SupervisionSettings
from master.errors import FleetError
from master.events import (
    NodeBackedOff,
    NodeContinued,
    NodeCutOff,
    NodeDegraded,
    NodeEnded,
    NodeEvent,
    NodeExited,
    NodeHeld,
    NodeKilled,
    NodeMissing,
    NodeOffline,
    NodeQuarantined,
    NodeReady,
    NodeRecovered,
    NodeReplaced,
    NodeSpawned,
    NodeStopped,
)
from master.supervision.clock import Clock
from master.supervision.connectivity import LEAD_S, Connectivity
from master.supervision.errors import FolderMissing, SpawnFailed, StartDeferred
from master.supervision.gate import StartGate
from master.supervision.hearing import Hearing
from master.supervision.limits import OomDetector
from master.supervision.preparing import StartPreparer
from master.supervision.process import ExitReport, NodeProcess, gains_no_privilege, is_process
from master.supervision.restart_policy import RestartPolicy
from master.supervision.run_records import RunRecords
from master.supervision.sleeper import Sleeper
from master.supervision.spawner import Spawner
from master.supervision.specification import NodeSpec, Pulse
from master.supervision.states import NodeState, is_legal_transition

log = logging.getLogger(__name__)

PROCESS_READY_AFTER_S = 3.0
"""A bot that neither speaks the protocol nor has a sign of readiness counts as ready after this long."""
MISSING_RECHECK_S = 5.0
MAX_STOPS, STOPS_WINDOW_S = 5, 60.0
"""A node that is stopped by signals more often than this is replaced instead of continued again."""
OVER_MEMORY_LIMIT = "over its memory limit"
_ASKED = "asked to restart"
_WAITS_FOR_DISCORD = "waits for Discord"
_HOLDS_UP = frozenset({NodeState.STOPPED, NodeState.STARTING, NodeState.STOPPING, NodeState.BACKOFF, NodeState.OFFLINE})
_UP = frozenset({NodeState.READY, NodeState.DEGRADED, NodeState.OFFLINE})
CUT_OFF_AFTER_S = 60.0
"""A node that is offline alone is told of after this long; it reconnects within a quarter of a minute of an outage."""
HELD_RETRY_S = 300.0
"""A node that waits for Discord is tried this often all the same: the master's view of Discord may not be its own."""
RELEASE_WITHIN_S = 2.0
"""Nodes that waited for Discord start within this time of its return, not all in one moment."""


@dataclass(slots=True, kw_only=True)
class RunnerContext:
    """What all runners share.

    Parameters
    ----------
    settings
        Replaced by the supervisor when the config was changed.
    find
        Returns the runner of the node with that name; None when there is none.
    last_lines
        Returns the end of a node's log.
    """

    spawner: Spawner
    preparer: StartPreparer
    settings: SupervisionSettings
    clock: Clock
    rng: random.Random
    gate: StartGate
    records: RunRecords
    oom: OomDetector
    find: Callable[[str], Runner | None]
    last_lines: Callable[[str], list[str]]
    bus: EventBus
    connectivity: Connectivity
    hearing: Hearing = field(default_factory=Hearing)


class Runner:
    """Supervise one node; the task that :meth:`run` is belongs to the supervisor.

    Requests (``start``, ``stop``, ``restart``, ``kill``) set what is wanted, wake the loop, and wait until it is so.
    """

    def __init__(self, spec: NodeSpec, context: RunnerContext) -> None:
        self.spec = spec
        self.state = NodeState.STOPPED
        self.process: NodeProcess | None = None
        self.pulse: Pulse | None = None
        self.pulsed_at: float | None = None
        self.spawned_at: float | None = None
        """When this master began with the process, in monotonic seconds: deadlines are counted from then."""
        self.started_at: float | None = None
        """When the process became the node: earlier, if it was adopted."""
        self.version = ""
        self.spawns = 0
        self.restarts = 0
        """Processes before this one; an adopted one brings its number with it."""
        self.last_exit = ""
        self.detail = ""
        self.next_start_at: float | None = None
        self._context = context
        self._clock = context.clock
        self._policy = RestartPolicy(context.settings, context.rng)
        self._leave_gate: Callable[[], None] = lambda: None
        self._urgent = False
        """A node that had been ready and exited by itself: its successor starts without waiting for others."""
        self._held_up = False
        self._stops: deque[float] = deque(maxlen=MAX_STOPS + 1)
        self._wanted = self._retired = False
        self._hard_limit_bytes = 0
        """What the present process is held to, which may be another limit than the next one's."""
        self._replace = ""
        """Why the running process should be replaced; empty when it should not."""
        self._quarantine: tuple[str, float] | None = None
        """Why it is to be kept down, and for how many seconds; None once that is over, or an operator wants it up."""
        self._killed = False
        self._ready_at: float | None = None
        self._sign = ""
        """What the present process has to show before it counts as ready; empty: nothing."""
        self._silent = False
        """Whether pulses are missing; a node that is degraded by its own word pulses on, and is left running."""
        self.offline_since: float | None = None
        """Since when it is without Discord, in monotonic seconds; also while it waits to be started again."""
        self._cut_off = False
        """Whether it was told that this node is offline alone."""
        self._held = False
        """It exited while Discord was away, and is started again once Discord is back."""
        self._complaint: tuple[str, ...] | None = None
        """The failed cogs of a node that said itself that it is degraded; None when it did not."""
        self._failures = 0
        self._failure: FleetError | None = None
        self._sleeper = Sleeper()
        self._changed = asyncio.Event()

    # Requests

    async def start(self) -> None:
        """Set the node to running, and wait until its process has started.

        Raises
        ------
        FleetError
            It could not be started.
        """
        self._wanted, self._quarantine = True, None
        if self.process is not None and self.state is not NodeState.STOPPING:
            # Who waits for its stop has been overruled, and nothing else would tell.
            self._notify()
            return
        self._policy.release()
        failures = self._failures
        spawns = self.spawns
        self._poke()
        await self._wait_for_start(spawns, failures)

    async def _wait_for_start(self, spawns: int, failures: int) -> None:
        """Wait until a process has started, has failed to start, or waits for a node that starts first."""
        await self.wait_for(
            lambda: self.spawns > spawns or self._failures > failures or self._held_up or not self._wanted
        )
        if self.spawns == spawns and self._failures > failures and self._failure is not None and self._wanted:
            raise self._failure

    async def stop(self) -> None:
        """Set the node to stopped, and wait until its process has ended."""
        self._wanted, self._quarantine = False, None
        self._poke()
        await self.wait_for(lambda: self.state is NodeState.STOPPED or self._wanted)

    async def restart(self) -> None:
        """Replace the node's process, and wait until the new one has started."""
        if self.process is not None:
            self._replace = _ASKED
            self._wanted, self._quarantine = True, None
            spawns, failures = self.spawns, self._failures
            self._policy.release()
            self._poke()
            await self._wait_for_start(spawns, failures)
        else:
            await self.start()

    async def kill(self) -> None:
        """Send SIGKILL to the whole process group, set the node to stopped, and wait until it is."""
        self._wanted, self._quarantine = False, None
        self._killed = self.process is not None
        if self.process is not None:
            self.process.kill_group(signal.SIGKILL)
        self._poke()
        await self.wait_for(lambda: self.state is NodeState.STOPPED or self._wanted)

    def replace(self, reason: str) -> None:
        """Request a graceful restart without waiting for it."""
        if self.process is not None:
            self._replace = reason
            self._poke()

    def quarantine(self, reason: str, for_s: float) -> None:
        """Request that its process ends, and that none is started for that long, without waiting for it."""
        if not self._wanted:
            return
        self._quarantine = (reason, for_s)
        if self.process is None:
            self._enter_quarantine(reason, for_s)
        else:
            self._replace = _ASKED
        self._sleeper.wake()

    def _enter_quarantine(self, reason: str, for_s: float) -> None:
        self.detail, self.next_start_at = reason, self._clock.monotonic() + for_s
        self._enter(NodeState.QUARANTINED)
        self._emit(NodeQuarantined, detail=reason)

    def retire(self) -> None:
        """Stop the node for good: :meth:`run` ends once its process has."""
        self._wanted, self._retired = False, True
        self._poke()

    def release(self) -> None:
        """Forget past exits, and start at once if the node waits."""
        self._policy.release()
        self._quarantine = self.next_start_at = None
        self._poke()

    def update_spec(self, spec: NodeSpec) -> None:
        """Replace the specification: limits and order hold now, the rest at the next start."""
        self.spec = spec
        self._sleeper.wake()

    @property
    def _settings(self) -> SupervisionSettings:
        return self._context.settings

    def take_settings(self) -> None:
        """Apply the context's new settings: deadlines move at once, a stop or backoff in progress keeps its length."""
        self._policy.update_settings(self._settings)
        self._sleeper.wake()

    # Messages of the node

    def verified(
        self,
        *,
        version: str,
        interval_s: float,
        cogs_failed: tuple[str, ...] = (),
        offline_s: float | None = None,
    ) -> None:
        """Handle the node's signed verification: it is ready, but for the cogs that failed."""
        if self.process is None or self.state is NodeState.STOPPING:
            return
        self.version = version
        self.pulsed_at = self._clock.monotonic()
        self.pulse = Pulse(
            uptime_s=0.0,
            latency_ms=None,
            guilds=0,
            state="ready",
            interval_s=interval_s,
            cogs_failed=cogs_failed,
            offline_s=offline_s,
        )
        self._follow(self.pulse)

    def take_pulse(self, pulse: Pulse) -> None:
        """Handle a verified pulse."""
        if self.process is None:
            return
        self.pulse, self.pulsed_at = pulse, self._clock.monotonic()
        if self.state in _UP:
            self._follow(pulse)

    def sign_seen(self, pid: int) -> None:
        """Handle the sign of readiness of the process with that pid."""
        if self._sign and self.state is NodeState.STARTING and self.process is not None and self.process.pid == pid:
            self._become_ready()

    def _follow(self, pulse: Pulse) -> None:
        """Be what the node says of itself; nearly always it is that already."""
        if pulse.is_offline:
            self._become_offline(pulse.offline_s or 0.0)
        elif not pulse.is_degraded:
            self._become_ready()
        elif self.state is NodeState.OFFLINE or self._silent or self._complaint != pulse.cogs_failed:
            self._complaint = pulse.cogs_failed
            self._arrive()
            self._degrade(pulse.complaint, silent=False)

    def _become_ready(self) -> None:
        if self.state is NodeState.READY:
            return
        was_up, waited = self._ready_at is not None, self.state is NodeState.STARTING
        self._silent, self._complaint, self.offline_since, self._cut_off = False, None, None, False
        if not waited or self.detail == _WAITS_FOR_DISCORD:
            self.detail = ""
        self._arrive()
        self._enter(NodeState.READY)
        self._emit(NodeRecovered if was_up else NodeReady)

    def _become_offline(self, for_s: float) -> None:
        if self.state is NodeState.OFFLINE:
            self._note_cut_off(for_s)
            return
        self._silent, self._complaint = False, None
        self.offline_since = self._clock.monotonic() - for_s
        self.detail = "not connected to Discord"
        # Not arrived: it does not count as ready before it was connected once.
        self._leave_gate()
        self._sleeper.wake()
        self._enter(NodeState.OFFLINE)
        self._emit(NodeOffline, detail=self.detail)

    def _note_cut_off(self, for_s: float) -> None:
        """Tell that it is this node alone that has no connection, once that is sure."""
        connectivity = self._context.connectivity
        reachable_s = 0.0 if connectivity.is_offline else self._clock.monotonic() - connectivity.returned_at
        if not self._cut_off and min(for_s, reachable_s) >= CUT_OFF_AFTER_S:
            self._cut_off = True
            self._emit(NodeCutOff, detail=f"not connected to Discord for {for_s:.0f} s, which this box can reach")

    def _arrive(self) -> None:
        """Be up, whole or not: no other start waits for this one any more."""
        if self._ready_at is None:
            self._ready_at = self._clock.monotonic()
        self._leave_gate()
        self._sleeper.wake()

    def _degrade(self, detail: str, *, silent: bool) -> None:
        self._silent, self.detail, self.offline_since = silent, detail, None
        self._enter(NodeState.DEGRADED)
        self._emit(NodeDegraded, detail=detail)

    @property
    def is_wanted(self) -> bool:
        """Whether it is to run; what an operator asks for holds before it is on record."""
        return self._wanted

    @property
    def holds_up(self) -> bool:
        """Whether nodes that start after this one should wait for it."""
        return self._wanted and self.state in _HOLDS_UP

    def _on_stopped(self) -> None:
        """Continue a node that a signal stopped: a stopped bot is as good as down."""
        process, now = self.process, self._clock.monotonic()
        if process is None or self.state is NodeState.STOPPING:
            return
        self._stops.append(now)
        process.send_signal(signal.SIGCONT)
        if len(self._stops) > MAX_STOPS and now - self._stops[0] < STOPS_WINDOW_S:
            self._stops.clear()
            self.replace("stopped by a signal again and again")
            return
        self._emit(NodeContinued, detail="stopped by a signal, continued at once")

    # The loop

    async def run(self) -> None:
        """Supervise until cancelled; the process, if there is one, is left running then. Ends for a retired node."""
        try:
            while True:
                if not self._wanted and self.process is None:
                    self._mark_stopped()
                    if self._retired:
                        return
                    await self._sleeper.sleep(None)
                elif self.process is None and not (await self._wait_for_turn() and await self._wait_for_others()):
                    continue
                elif self.process is None:
                    await self._spawn()
                else:
                    await self._watch(self.process)
        finally:
            self._leave_gate()
            if self.process is not None:
                self.process.detach()
                self.process = None

    def _mark_stopped(self) -> None:
        """Enter STOPPED, and reset the state of a start that is no longer wanted."""
        self._enter(NodeState.STOPPED)
        self.next_start_at = None
        if self._held_up:
            self.detail = ""
        self.offline_since = None
        self._urgent = self._held_up = self._held = False

    def adopt(self, pid: int, started_at: float) -> bool:
        """Adopt a running process of this node; False when it is not the recorded one."""
        if self.process is not None or not is_process(pid, started_at, Path(self.spec.folder), self.spec.node_id):
            return False
        try:
            self.process = NodeProcess(pid)
        except OSError:
            return False
        # Whoever started it may not have isolated it, whatever the settings say now. The kernel tells only this much.
        self.process.isolated = gains_no_privilege(pid)
        self._wanted = True
        begun_at = started_at
        recorded = self._context.records.read(self.spec.node_id)
        if recorded is not None and recorded.pid == pid:
            self.restarts, begun_at = recorded.restarts, recorded.begun_at or started_at
        self._begin("adopted", age_s=_since_boot() - begun_at)
        self._poke()
        return True

    async def _wait_for_turn(self) -> bool:
        """Wait out a backoff; True when it is time to start."""
        if self.next_start_at is None:
            return True
        remaining = self.next_start_at - self._clock.monotonic()
        if remaining > 0:
            await self._sleeper.sleep(remaining)
            return False
        self._quarantine = self.next_start_at = None
        return True

    async def _wait_for_others(self) -> bool:
        """Wait for nodes that start first; True when there are none left."""
        if self._urgent:
            return True
        others = (self._context.find(name) for name in self.spec.after)
        first = next((other for other in others if other is not None and other is not self and other.holds_up), None)
        if first is None:
            self._held_up = False
            return True
        self.detail, self._held_up = f"waits for {first.spec.name}", True
        self._notify()
        waiting = asyncio.ensure_future(first.wait_for(lambda: not first.holds_up))
        try:
            await self._sleeper.sleep(None, waiting)
        finally:
            waiting.cancel()
        return False

    async def _pass_gate(self) -> bool:
        """Wait for a slot of the start gate; False when the start is no longer wanted."""
        if self._urgent:
            return True
        entering = asyncio.ensure_future(self._context.gate.enter(self.spec.priority))
        try:
            while self._wanted and not entering.done():
                await self._sleeper.sleep(None, entering)
        finally:
            if not entering.done():
                entering.cancel()
        if not entering.done():
            return False
        self._leave_gate = entering.result()
        return self._wanted

    async def _spawn(self) -> None:
        if not await self._pass_gate():
            self._leave_gate()
            return
        try:
            request = await self._context.preparer.prepare(self.spec)
            process = await self._context.spawner.spawn(request)
            restarts = self.restarts + 1 if self.spawns else 0
            try:
                begun_at = round(_since_boot(), 2)
                await asyncio.to_thread(
                    self._context.records.note, self.spec.node_id, process.pid, process.started_at, restarts, begun_at
                )
            except OSError as error:
                # Without a record it might be started twice: its boot document is withheld, and it ends.
                process.kill_group(signal.SIGKILL)
                await asyncio.shield(process.exited)
                raise SpawnFailed(
                    f"{self.spec.name} could not be put on record: {error.strerror}",
                    hint="free space in the state folder, or make it writable",
                ) from error
            except BaseException:
                process.detach()
                raise
        except FleetError as error:
            self._leave_gate()
            self._take_failure(error)
            return
        self.process, self.restarts = process, restarts
        process.isolated = request.isolation is not None
        process.release()
        self._failures, self._failure = 0, None
        self._begin("")

    def _take_failure(self, error: FleetError) -> None:
        match error:
            case FolderMissing():
                self._mark_missing(error)
            case StartDeferred():
                self._defer(error)
            case _:
                self._fail(error)

    def _begin(self, detail: str, *, age_s: float = 0.0) -> None:
        process = self.process
        if process is None:
            raise RuntimeError("there is no process")
        process.on_stopped = self._on_stopped
        self._hard_limit_bytes = self.spec.memory_hard_limit_bytes
        self.spawns += 1
        self.spawned_at = self._clock.monotonic()
        self.started_at = self.spawned_at - max(age_s, 0.0)
        self.pulse = self.pulsed_at = self._ready_at = None
        self._silent, self._complaint, self._cut_off = False, None, False
        # The line of one that is adopted was written long ago.
        self._sign = self._sign_of_start(adopted=bool(detail))
        # Quarantined while it was being started: it ends as it began.
        self._replace, self._killed, self.detail = _ASKED if self._quarantine else "", False, detail
        self.offline_since = None
        self._urgent = self._held_up = self._held = False
        if not detail and self._context.connectivity.is_offline and self.spec.readiness == "handshake":
            self.detail = _WAITS_FOR_DISCORD
        self._enter(NodeState.STARTING)
        self._publish(
            NodeSpawned(
                at=self._clock.now(),
                node_id=self.spec.node_id,
                host=self.spec.host,
                pid=process.pid,
                pid_started_at=process.started_at,
                detail=detail,
            )
        )

    def _sign_of_start(self, *, adopted: bool) -> str:
        if self.spec.readiness != "process":
            return ""
        # The line of one that is adopted was written long ago.
        return "" if adopted and self.spec.ready_when.startswith("log:") else self.spec.ready_when

    def _mark_missing(self, error: FolderMissing) -> None:
        # Each time anew: its folder may be back, and its program still not there.
        is_news = self.state is not NodeState.MISSING or self.detail != error.message
        self.detail = error.message
        if is_news:
            self._enter(NodeState.MISSING)
            self._emit(NodeMissing, detail=error.message)
        self._failures += 1
        self._failure = error
        self.next_start_at = self._clock.monotonic() + MISSING_RECHECK_S
        self._notify()

    def _defer(self, error: StartDeferred) -> None:
        """Defer a start that would do harm now."""
        newly = self.state is not NodeState.QUARANTINED
        self.detail = error.message
        self._failures += 1
        self._failure = error
        self.next_start_at = self._clock.monotonic() + error.retry_in_s
        self._enter(NodeState.QUARANTINED)
        if newly:
            self._emit(NodeQuarantined, detail=error.message)

    def _fail(self, error: FleetError) -> None:
        """Count a start that failed before there was a process as an exit."""
        log.error("start failed", extra={"node": self.spec.name, "why": str(error)})
        self._failures += 1
        self._failure = error
        self._enter(NodeState.BACKOFF)
        self._back_off(str(error))

    async def _watch(self, process: NodeProcess) -> None:
        """Wait for an exit, a request or a deadline, and handle it."""
        if not self._wanted or self._replace:
            await self._end(process)
            return
        left_s = self._left_s()
        if left_s is not None and left_s <= 0:
            self._on_deadline(self._clock.monotonic())
            return
        await self._sleeper.sleep(left_s, process.exited, left_s=self._left_s)
        if process.exited.done():
            self._after_exit(process.exited.result())

    def _deadline(self) -> float | None:
        """Return the next deadline in monotonic seconds."""
        connectivity, hearing = self._context.connectivity, self._context.hearing
        if (connectivity.is_offline or hearing.is_deaf) and self.spec.readiness != "process":
            # Who would replace it could not log in or be heard either, and pulses in the channel do not arrive.
            return None
        returned_at = max(connectivity.returned_at, hearing.returned_at)
        if self.spec.readiness == "process":
            patience = self._settings.ready_timeout_s if self._sign else PROCESS_READY_AFTER_S
            due = (self.spawned_at or 0.0) + patience
            return due if self.state is NodeState.STARTING else None
        if self.state is NodeState.STARTING:
            return max(self.spawned_at or 0.0, returned_at) + self._settings.ready_timeout_s
        if self.pulse is None or self.pulsed_at is None:
            return None
        patience = self.pulse.interval_s * self._settings.missed_pulses
        return max(self.pulsed_at, returned_at) + (2 * patience if self._silent else patience)

    def _left_s(self) -> float | None:
        """Return the seconds until something is overdue; None when nothing can be."""
        deadline = self._deadline()
        return None if deadline is None else deadline - self._clock.monotonic()

    def _on_deadline(self, now: float) -> None:
        if self.spec.readiness == "process" and not self._sign:
            self._become_ready()
        elif self.state is NodeState.STARTING:
            awaited = f" ({self._sign})" if self._sign else ""
            self._replace = f"not ready within {self._settings.ready_timeout_s:g} s{awaited}"
        elif not self._silent:
            silence = now - (self.pulsed_at or now)
            usage = self.process.usage() if self.process is not None else None
            why = "; it is stopped by a signal" if usage is not None and usage.stopped else ""
            self._degrade(f"no pulse for {silence:.0f} s{why}", silent=True)
        else:
            self._replace = self.detail or "no pulse"

    async def _end(self, process: NodeProcess) -> None:
        """Send SIGTERM, then SIGKILL to the group after the grace period; then handle the exit."""
        reason = self._replace
        self._enter(NodeState.STOPPING)
        if self._wanted and reason not in ("", _ASKED):
            self._emit(NodeReplaced, detail=reason)
        try:
            await asyncio.to_thread(self._context.preparer.expect_successor, self.spec, self._wanted)
        except OSError as error:
            # Its successor cannot RESUME, nothing worse.
            log.warning(
                "a node could not be told about its successor", extra={"node": self.spec.name, "why": error.strerror}
            )
        process.send_signal(signal.SIGTERM)
        # A stopped process would not see SIGTERM before it continues.
        process.send_signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(self._settings.grace_s):
                report = await asyncio.shield(process.exited)
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
        uptime = now - (self.started_at or now)
        ready_for = None if self._ready_at is None else now - self._ready_at
        ended_by_us = self.state is NodeState.STOPPING or self._killed
        was_asked = self.state is NodeState.STOPPING and (not self._wanted or reason == _ASKED)
        memory = "" if ended_by_us else self._explain(report)
        why = "; ".join(part for part in (reason, memory) if part)
        said = f"{why}: {report}" if why else str(report)
        # An exit that somebody asked for is no news, unless the node had to be killed for it.
        self.last_exit = "" if was_asked and report.signal != signal.SIGKILL else said
        self.pulse = self.pulsed_at = self._ready_at = None
        self._leave_gate()
        kind: type[NodeEnded] = NodeExited
        if self._killed:
            kind = NodeKilled
        elif was_asked:
            kind = NodeStopped
        self._publish(
            kind(
                at=self._clock.now(),
                node_id=self.spec.node_id,
                host=self.spec.host,
                pid=process.pid,
                exit_code=report.exit_code,
                signal=report.signal,
                uptime_s=uptime,
                detail="; ".join(part for part in (said, report.used) if part),
            )
        )
        self._replace, self._killed = "", False
        if not self._wanted:
            self._enter(NodeState.STOPPED)
            return
        if self._quarantine is not None:
            self._enter_quarantine(*self._quarantine)
            return
        if was_asked:
            self.next_start_at = None
            return
        self._urgent = ready_for is not None
        out_of_memory = bool(memory) or reason.startswith(OVER_MEMORY_LIMIT)
        killed = not ended_by_us and report.signal == signal.SIGKILL
        if self._context.connectivity.is_offline and not killed:
            self._hold()
            return
        self._back_off(self.last_exit, ready_for_s=ready_for, out_of_memory=out_of_memory, killed=killed)

    def _explain(self, report: ExitReport) -> str:
        """Explain an unrequested exit that was caused by lack of memory; empty for any other."""
        if report.signal == signal.SIGKILL:
            return self._context.oom.explain(self.spec.node_id)
        limit = self._hard_limit_bytes
        if limit and report.exit_code and any(map(_is_memory_error, self._context.last_lines(self.spec.name)[-3:])):
            return f"out of memory: it needs more than its hard limit of {limit >> 20} MB"
        return ""

    def on_connectivity(self) -> None:
        """Handle the begin or the end of an outage of this box."""
        outage, now = self._context.connectivity.outage, self._clock.monotonic()
        if outage is None:
            if self._held:
                self.next_start_at = now + self._context.rng.uniform(0, RELEASE_WITHIN_S)
            elif self.detail == _WAITS_FOR_DISCORD:
                self.detail = ""
        elif self._policy.forgive(outage.since_s - LEAD_S) and self.process is None and self._is_waiting:
            self._hold()
        elif self.state is NodeState.STARTING and self.spec.readiness == "handshake":
            self.detail = _WAITS_FOR_DISCORD
        self._sleeper.wake()
        self._notify()

    @property
    def _is_waiting(self) -> bool:
        waits = self.state in (NodeState.BACKOFF, NodeState.QUARANTINED)
        return self._wanted and waits and self._quarantine is None

    def _hold(self) -> None:
        """Wait for Discord: that it is away is not the node's failure."""
        outage, now = self._context.connectivity.outage, self._clock.monotonic()
        newly, self._held = not self._held, True
        self.offline_since = now if outage is None else outage.since_s
        self.next_start_at = now + HELD_RETRY_S
        self.detail = "exited while Discord was away; starts when it is back"
        self._enter(NodeState.OFFLINE)
        if newly:
            self._emit(NodeHeld, detail=f"{self.last_exit}; starts when Discord is back")

    def _back_off(
        self, why: str, *, ready_for_s: float | None = None, out_of_memory: bool = False, killed: bool = False
    ) -> None:
        now = self._clock.monotonic()
        decision = self._policy.after_exit(now, ready_for_s=ready_for_s, out_of_memory=out_of_memory, killed=killed)
        if decision.delay_s <= 0:
            self.next_start_at = None
            if self.state in (NodeState.READY, NodeState.DEGRADED):
                # Its start may take its time, and until then it is not what it was.
                self._enter(NodeState.STARTING)
            self._notify()
            return
        self.next_start_at = now + decision.delay_s
        last = next((line for line in reversed(self._context.last_lines(self.spec.name)) if line.strip()), "")
        self.detail = f"{why}; {decision.reason}" + (f"; last line: {last.strip()[:300]}" if last else "")
        if decision.quarantined:
            newly = self.state is not NodeState.QUARANTINED
            self._enter(NodeState.QUARANTINED)
            if newly:
                self._emit(NodeQuarantined, detail=self.detail)
        else:
            self._enter(NodeState.BACKOFF)
            self._emit(NodeBackedOff, detail=f"{self.detail}; next start in {decision.delay_s:.1f} s")

    # Waiting and events

    def _poke(self) -> None:
        if self.process is None:
            self.next_start_at = None
        self._sleeper.wake()

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        """Wait until ``holds()`` is true; it is checked again at every change."""
        while not holds():
            changed = self._changed
            await changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _enter(self, state: NodeState) -> None:
        if state is not self.state:
            if not is_legal_transition(self.state, state):
                log.error("illegal transition %s -> %s", self.state, state, extra={"node": self.spec.name})
            self.state = state
        self._notify()

    def _emit(self, kind: type[NodeEvent], *, detail: str = "") -> None:
        pid = None if self.process is None else self.process.pid
        self._publish(
            kind(at=self._clock.now(), node_id=self.spec.node_id, host=self.spec.host, pid=pid, detail=detail)
        )

    def _publish(self, event: NodeEvent) -> None:
        self._context.bus.publish(event)
        self._notify()


def _since_boot() -> float:
    """Return the seconds since boot, as the kernel counts a process's start."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _is_memory_error(line: str) -> bool:
    return "MemoryError" in line or "Cannot allocate memory" in line
