"""Attempts: an action is recorded, carried out, and its success proven; a solution that does not cure is suspended."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from msgspec import structs

from master.bus import EventBus
from master.errors import FleetError
from master.events import NodeSpawned
from master.ledger.errors import LedgerError
from master.ledger.rows.records import DesiredState, Node, SolutionRun
from master.services.core.actors import Actor
from master.services.healing.library import SolutionLibrary
from master.services.healing.matching import Match
from master.services.healing.monitor import Finding
from master.services.healing.sighting import Sighting
from master.services.healing.solution import Solution, SolutionMode
from master.services.repair.actions.action import Acting, Done, parameters_of
from master.services.repair.actions.registry import ACTIONS
from master.services.repair.actions.tools import Tools
from master.services.repair.alerts import RepairAlerts, filled_advice
from master.services.repair.errors import ActionFailed, ActionSkipped
from master.services.repair.limits import is_fruitless
from master.services.repair.modes import MASTER, Modes
from master.services.repair.runs import Runs, fitting
from master.services.repair.verifying import Verifying, Watch

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Actions that are carried out at the same time, each on another node; those that wait first do not count."""
ACTION_TIMEOUT_S = 900.0
"""Beside the delay that a solution names."""
TELL_AFTER_S = 10.0
"""A node that takes longer to be ready is told of before it is."""
_STAYS_AWAY_S = 300.0
"""For a run whose solution is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An action that is to be carried out.

    Parameters
    ----------
    run
        Its row; not written yet, unless an operator was asked.
    actor
        Who acts, for the audit log.
    """

    node: Node
    match: Match
    sighting: Sighting
    run: SolutionRun
    actor: Actor


class Attempts:
    """Carry out actions, and find out whether they helped.

    Parameters
    ----------
    ready_timeout_s
        Returns how long a node may take until it is ready.
    """

    def __init__(
        self,
        *,
        library: SolutionLibrary,
        modes: Modes,
        runs: Runs,
        alerts: RepairAlerts,
        tools: Tools,
        bus: EventBus,
        ready_timeout_s: Callable[[], float],
    ) -> None:
        self._library, self._modes, self._runs, self._alerts = library, modes, runs, alerts
        self._tools, self._clock = tools, tools.clock
        self._verifying = Verifying(
            bus=bus,
            clock=tools.clock,
            directory=tools.directory,
            supervisor=tools.supervisor,
            ready_timeout_s=ready_timeout_s,
            ready=self._on_ready,
            ended=self._on_proven,
        )
        self._spawned_at: dict[str, datetime] = {}
        self._replaced_at: dict[str, datetime] = {}
        self._done_at: dict[tuple[str, str], datetime] = {}
        """By node and solution: of actions that leave the process as it is."""
        self._untold: dict[str, asyncio.TimerHandle] = {}
        """By run: repairs that are told once the node is ready, or takes long."""
        self._suspending = set[asyncio.Task[None]]()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._locks = defaultdict[str, asyncio.Lock](asyncio.Lock)
        self.given_up: Callable[[str, str], None] = lambda _node_id, _solution_id: None
        """Hears which solution has had its last attempt on which node, and that it was told."""
        bus.on(NodeSpawned, self._on_spawned)

    def see(self, finding: Finding) -> None:
        """Look whether an error is one that was to stay away."""
        self._verifying.see(finding)

    def replaced_at(self, node_id: str) -> datetime | None:
        """Return when a repair replaced a node's process last."""
        return self._replaced_at.get(node_id)

    def done_at(self, node_id: str, solution_id: str) -> datetime | None:
        """Return when a solution's action was carried out last in a node's running process."""
        return self._done_at.get((node_id, solution_id))

    def ready_since(self, node_id: str, at_s: float) -> bool:
        """Tell whether a node has become ready since that time (monotonic)."""
        return self._verifying.ready_s(node_id) > at_s

    def take_up(self) -> None:
        """Take up what an earlier master left: an action that was cut off counts as tried, a watch goes on."""
        now = self._clock.now()
        for run in self._runs.unfinished():
            ready_at = run.at + timedelta(milliseconds=run.ready_ms or 0)
            entry = self._library.entries.get(run.solution_id)
            stays_away_s = _STAYS_AWAY_S if entry is None else entry.solution.stays_away_s
            left_s = stays_away_s - (now - ready_at).total_seconds()
            if run.outcome == "running":
                self._runs.end(run, "interrupted", "the master ended while it was carried out")
            elif left_s <= 0:
                self._runs.end(run, "interrupted", "no master was there to see whether it helped")
            else:
                watch = Watch(
                    run=run, stays_away_s=stays_away_s, awaits_ready=False, since=ready_at, acted_s=0.0, ready_s=0.0
                )
                self._verifying.begin(watch, within_s=left_s)

    # Carrying out

    async def carry_out(self, attempt: Attempt) -> SolutionRun:
        """Carry out an action: one at a time on a node. Returns the run with what came of it until now."""
        # Who only waits keeps nobody else from being repaired.
        slot = nullcontext() if _delay_s(attempt.match.solution) else self._slots
        async with self._locks[attempt.node.id], slot:
            run = structs.replace(attempt.run, outcome="running", actor=fitting(attempt.actor.label)[:120])
            # Durable before anything is done: what a master that dies leaves behind counts as tried.
            await self._runs.add_durably(run)
            acted_s = self._clock.monotonic()
            try:
                self._require_wanted(attempt.node)
                done = await self._act(attempt)
            except ActionSkipped as error:
                return self._runs.end(run, "skipped", error.message)
            except FleetError as error:
                if self._tools.directory.get(attempt.node.id) is None:
                    return self._runs.end(run, "skipped", "the node was removed meanwhile")
                return self._fail(run, attempt, error.message)
            except Exception as error:
                # A defect of one action must not end the repair of other nodes; it is told as what it is.
                log.exception("an action failed", extra={"action": run.action, "node": attempt.node.name})
                return self._fail(run, attempt, f"a defect of the action: {type(error).__name__}: {error}")
            return self._watch(run, attempt, done, acted_s)

    def _require_wanted(self, node: Node) -> None:
        """Refuse to act on a node that was stopped or removed while the run was recorded: an action may start it."""
        known = self._tools.directory.get(node.id)
        if known is None:
            raise ActionSkipped("the node was removed meanwhile")
        if known.desired_state is not DesiredState.RUNNING or not self._tools.supervisor.is_wanted(node.id):
            raise ActionSkipped("the node was stopped by an operator meanwhile")

    async def _act(self, attempt: Attempt) -> Done:
        solution, node = attempt.match.solution, attempt.node
        action = ACTIONS.get(solution.action_name)
        if action is None:
            raise ActionFailed(f"there is no action {solution.action_name!r}")
        try:
            parameters = parameters_of(action, solution.parameters, attempt.match.captures)
        except msgspec.ValidationError as error:
            raise ActionFailed(f"what it captured is no parameter of {action.name}: {error}") from error
        acting = Acting(
            node=node,
            sighting=attempt.sighting,
            title=solution.title,
            advice=filled_advice(solution, node.name, attempt.match.captures),
            actor=attempt.actor.label,
            tools=self._tools,
        )
        try:
            async with asyncio.timeout(ACTION_TIMEOUT_S + _delay_s(solution)) as limit:
                return await action.run(acting, parameters)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ActionFailed(f"it was not done within {ACTION_TIMEOUT_S:g} s") from error

    def _fail(self, run: SolutionRun, attempt: Attempt, why: str) -> SolutionRun:
        ended = self._runs.end(run, "failed", why)
        self._tell_in_vain(ended, attempt.match.solution, is_first=True)
        self._suspend_if_fruitless(attempt.match.solution)
        return ended

    def _watch(self, run: SolutionRun, attempt: Attempt, done: Done, acted_s: float) -> SolutionRun:
        now, node_id = self._clock.now(), run.node_id
        run = structs.replace(run, outcome="watching", detail=fitting(done.detail))
        self._runs.add(run)
        spawned_at = self._spawned_at.get(node_id)
        since = spawned_at if done.awaits_ready and spawned_at is not None and spawned_at > run.at else now
        if done.awaits_ready:
            self._replaced_at[node_id] = since
            tell = self._tell_slow
            self._untold[run.id] = asyncio.get_running_loop().call_later(TELL_AFTER_S, tell, run)
        else:
            self._done_at[node_id, run.solution_id] = now
            self._alerts.tell_done(run, attempt.match.solution, ready_ms=None, waits=False)
        self._verifying.begin(
            Watch(
                run=run,
                stays_away_s=attempt.match.solution.stays_away_s,
                awaits_ready=done.awaits_ready,
                since=since,
                acted_s=acted_s,
            )
        )
        return self._runs.get(run.id) or run

    # Proving

    def _on_spawned(self, event: NodeSpawned) -> None:
        self._spawned_at[event.node_id] = event.at

    def _on_ready(self, run: SolutionRun, ready_ms: int) -> None:
        ready = structs.replace(self._runs.get(run.id) or run, ready_ms=ready_ms)
        self._runs.add(ready)
        solution = self._solution_of(run)
        if self._stop_waiting(run) and solution is not None:
            self._alerts.tell_done(ready, solution, ready_ms=ready_ms, waits=False)

    def _tell_slow(self, run: SolutionRun) -> None:
        self._untold.pop(run.id, None)
        solution = self._solution_of(run)
        if solution is not None:
            self._alerts.tell_done(run, solution, ready_ms=None, waits=True)

    def _stop_waiting(self, run: SolutionRun) -> bool:
        """Tell whether a run was not told of yet, and see to it that nobody else tells."""
        timer = self._untold.pop(run.id, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _on_proven(self, run: SolutionRun, outcome: str, why: str) -> None:
        ended = self._runs.end(self._runs.get(run.id) or run, outcome, why)
        is_first, solution = self._stop_waiting(run), self._solution_of(run)
        if solution is None or outcome == "skipped":
            return
        if outcome == "helped":
            self._alerts.tell_helped(ended, solution)
        else:
            self._tell_in_vain(ended, solution, is_first=is_first)
        self._suspend_if_fruitless(solution)

    def _tell_in_vain(self, run: SolutionRun, solution: Solution, *, is_first: bool) -> None:
        left = solution.most_attempts - self._runs.fruitless(run.node_id, solution.id)
        self._alerts.tell_failed(run, solution, left=left, is_first=is_first)
        if left <= 0:
            self.given_up(run.node_id, solution.id)

    def _solution_of(self, run: SolutionRun) -> Solution | None:
        entry = self._library.entries.get(run.solution_id)
        return None if entry is None else entry.solution

    def _suspend_if_fruitless(self, solution: Solution) -> None:
        """Switch a solution off that does not cure: counted from when it was switched on."""
        state = self._modes.state_of(solution.id)
        if state is None or self._modes.mode_of(solution.id) is not SolutionMode.ON:
            return
        runs = [known.run for known in self._runs.latest(solution_id=solution.id) if known.run.at >= state.since]
        if is_fruitless(runs, nodes=len(self._tools.directory)):
            task = asyncio.get_running_loop().create_task(self._suspend(solution, runs))
            self._suspending.add(task)
            task.add_done_callback(self._suspending.discard)

    async def _suspend(self, solution: Solution, runs: list[SolutionRun]) -> None:
        helped, tried = (sum(run.outcome in outcomes for run in runs) for outcomes in _HELPED_AND_TRIED)
        if self._modes.mode_of(solution.id) is not SolutionMode.ON:
            return
        why = f"it helped in {helped} of {tried} runs"
        try:
            await self._modes.set(solution.id, SolutionMode.SUSPENDED, why, MASTER)
        except LedgerError as error:
            log.error("a suspension is not on record", extra={"solution": solution.id, "why": error.message})
        self._alerts.tell_suspended(solution, why)


def _delay_s(solution: Solution) -> float:
    """Return for how long a solution's action waits before it does anything."""
    delay = solution.parameters.get("delay_s", 0.0)
    return float(delay) if isinstance(delay, int | float) else 0.0


_HELPED_AND_TRIED = (("helped",), ("helped", "did_not_help", "failed"))
