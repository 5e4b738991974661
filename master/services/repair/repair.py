"""The engine: decides which solution acts on an error that was seen, or why none does."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from master.bus import EventBus
from master.configuration.settings import Settings
from master.events import ActionAudited, DirectoryChanged, SolutionChanged
from master.ledger.database import Ledger
from master.ledger.identifiers import new_ulid
from master.ledger.rows.records import DesiredState, Node, SolutionRun
from master.services.core.actors import Actor
from master.services.healing.crash_watch import ToldAs
from master.services.healing.library import SolutionLibrary
from master.services.healing.matching import Match
from master.services.healing.monitor import SEEN_TWICE_S, Finding
from master.services.healing.sighting import SeenIn, Sighting
from master.services.healing.solution import Risk, Solution, SolutionMode
from master.services.healing.undecided_exits import UndecidedExits
from master.services.repair.actions.action import parameters_of, placeholders_of
from master.services.repair.actions.registry import ACTIONS
from master.services.repair.actions.tools import Tools
from master.services.repair.alerts import RepairAlerts
from master.services.repair.attempts import Attempt, Attempts
from master.services.repair.choosing import key_of, more_cautious, ranked
from master.services.repair.errors import ActionSkipped, NoSuchRun, NoSuchSolution, RunNotOpen
from master.services.repair.limits import Refusal, refusal_of
from master.services.repair.modes import Modes
from master.services.repair.runs import TEXT_CHARACTERS, Runs, fitting
from master.supervision.connectivity import Connectivity
from master.wording import duration

log = logging.getLogger(__name__)

GATHER_S = 0.3
"""An error shows in several places at once, such as the output and the end of a process: they are decided together."""
STALE_S = 600.0
"""An error that was seen longer ago than this, and could not be decided until now, is left alone."""
ASKED_FOR_S = 86_400.0
"""How long a question waits for an operator; and for how long the same thing is not told again."""
SAME_CRASH_S = 120.0
"""Crashes with what was told so lately are not told one by one: if they go on, the quarantine is."""
_TOLD_EXITS = 20
_CUT_LINES = 200
_PEOPLE = ("cli", "discord", "web")
_ANSWERS = ("asked", "declined")
_OF_PEOPLE = (*_ANSWERS, "told")
_DECIDED = {
    "running": "is being carried out",
    "watching": "was carried out, and it is watched whether it helped",
    "helped": "was carried out, and helped",
    "did_not_help": "was carried out, and did not help",
    "failed": "was tried, and failed",
    "skipped": "was not carried out",
    "interrupted": "was cut off",
    "declined": "was declined",
    "detected": "was only noted: its solution did not act yet",
    "told": "is nothing that a program can do",
}


@dataclass(slots=True, kw_only=True)
class _Case:
    """Something to decide for a node.

    Parameters
    ----------
    key
        What cases that are decided alike have in common.
    exits
        When processes ended, if that is a part of it: otherwise it is told as a crash.
    undecided
        Those of them that who tells of crashes still waits for.
    seen_s
        When it was seen last, in monotonic seconds.
    """

    key: str
    sighting: Sighting
    matches: tuple[Match, ...]
    seen_s: float
    exits: set[datetime] = field(default_factory=set)
    undecided: set[datetime] = field(default_factory=set)

    def add(self, exits: Iterable[datetime], undecided: Iterable[datetime]) -> None:
        """Add ends of processes."""
        self.exits.update(exits)
        self.undecided.update(undecided)


class Repair:
    """Act on errors that solutions know.

    Parameters
    ----------
    tools
        What actions act with.
    settings
        Returns the settings that are in effect.
    exits
        Holds each end of a process until it is decided whether it is told here.
    """

    def __init__(
        self,
        *,
        library: SolutionLibrary,
        modes: Modes,
        tools: Tools,
        ledger: Ledger,
        connectivity: Connectivity,
        bus: EventBus,
        settings: Callable[[], Settings],
        exits: UndecidedExits | None = None,
    ) -> None:
        self._exits = exits or UndecidedExits()
        self._library, self._modes, self._connectivity, self._settings = library, modes, connectivity, settings
        self._tools, self._clock, self._directory = tools, tools.clock, tools.directory
        self.runs = Runs(ledger, bus, self._clock)
        self.alerts = RepairAlerts(tools.alerts, self._directory, self.runs, self._clock, self._captures_of)
        self._attempts = Attempts(
            library=library,
            modes=modes,
            runs=self.runs,
            alerts=self.alerts,
            tools=tools,
            bus=bus,
            ready_timeout_s=lambda: settings().supervision.ready_timeout_s,
        )
        self._attempts.given_up = self._note_given_up
        self._waiting: dict[str, dict[str, _Case]] = {}
        """By node, by key: one of each, however often it is seen."""
        self._deferred: dict[tuple[str, str], _Case] = {}
        self._quiet_until_s: dict[tuple[str, str], float] = {}
        """By node and key: until when there is nothing to decide."""
        self._refused_until_s: dict[tuple[str, str, str], float] = {}
        """By node, solution and limit: until when it need not be said again."""
        self._told = defaultdict[str, dict[datetime, ToldAs]](dict)
        """By node: when those of its processes ended whose end is told here."""
        self._lately: dict[tuple[str, str], tuple[float, ToldAs]] = {}
        """By node and solution: when, in monotonic seconds, and as what an error was told last."""
        self._cut: dict[str, Match] = {}
        """By run: of lines that are longer than what is kept of them, from which nothing can be captured again."""
        self._loaded = asyncio.Event()
        self._nodes_with_work = asyncio.Queue[str]()
        self._busy = set[str]()
        bus.on(ActionAudited, self._on_audited)
        bus.on(SolutionChanged, self._on_solution_changed)
        bus.on(DirectoryChanged, self._on_directory_changed)

    # What is seen

    def take(self, finding: Finding) -> None:
        """Take an error that solutions know; never blocks, and costs little if it is seen again and again."""
        if finding.is_known:
            self._take_end(finding)
            return
        self._attempts.see(finding)
        seen, now_s = finding.sighting, self._clock.monotonic()
        if not self._settings().healing.enabled or not self._is_to_run(seen.node_id):
            return
        key, exits = key_of(finding), {seen.at} if seen.seen_in is SeenIn.EXIT else set[datetime]()
        deferred = self._deferred.get((seen.node_id, key))
        if deferred is not None:
            deferred.sighting, deferred.matches, deferred.seen_s = seen, finding.matches, now_s
            deferred.exits = exits
            return
        if self._quiet_until_s.get((seen.node_id, key), now_s) > now_s:
            return
        waiting = self._waiting.setdefault(seen.node_id, {})
        case = waiting.get(key)
        if case is None:
            case = waiting[key] = _Case(key=key, sighting=seen, matches=finding.matches, seen_s=now_s)
            self._nodes_with_work.put_nowait(seen.node_id)
        for exit_at in exits - case.undecided:
            self._exits.hold(seen.node_id, exit_at)
        case.add(exits, exits)

    def _take_end(self, finding: Finding) -> None:
        """Take the end of a process whose error was seen a moment before, such as in its output: it is decided once."""
        seen, key = finding.sighting, key_of(finding)
        case = self._waiting.get(seen.node_id, {}).get(key)
        if case is not None:
            if seen.at not in case.undecided:
                self._exits.hold(seen.node_id, seen.at)
            case.add({seen.at}, {seen.at})
            return
        decided_s, told_as = self._lately.get((seen.node_id, key), (-math.inf, None))
        if told_as is not None and self._clock.monotonic() - decided_s <= SEEN_TWICE_S:
            self._told[seen.node_id][seen.at] = told_as

    def _let_go(self, node_id: str, case: _Case) -> None:
        """Let who tells of crashes know that it is decided whether those of a case are told here."""
        for exit_at in case.undecided:
            self._exits.release(node_id, exit_at)
        case.undecided.clear()

    def tells(self, node_id: str, at: datetime) -> ToldAs | None:
        """Return as what the end of a node's process at that time is told; None if it is not told here."""
        return self._told[node_id].get(at) if node_id in self._told else None

    def _is_to_run(self, node_id: str) -> bool:
        """Tell whether a node is one that is to run, on a box that is online: of others no error is repaired."""
        node = self._directory.get(node_id)
        is_wanted = node is not None and node.desired_state is DesiredState.RUNNING
        return is_wanted and not self._connectivity.is_offline

    # The task

    async def run(self) -> None:
        """Repair until cancelled."""
        await self._modes.load()
        self._modes.meet(self._library.entries.values())
        await self.runs.load()
        self._attempts.take_up()
        self._loaded.set()
        self._busy.clear()
        for node_id in tuple(self._waiting):
            self._nodes_with_work.put_nowait(node_id)
        async with asyncio.TaskGroup() as group:
            while True:
                node_id = await self._nodes_with_work.get()
                if node_id not in self._busy and self._waiting.get(node_id):
                    self._busy.add(node_id)
                    group.create_task(self._work_off(node_id), name=f"repair {node_id}")

    async def _work_off(self, node_id: str) -> None:
        """Decide what was seen on a node, one thing after the other."""
        cases = list[_Case]()
        try:
            await asyncio.sleep(GATHER_S)
            cases = _joined(self._waiting.pop(node_id, {}).values())
            for case in cases:
                try:
                    await self._decide(node_id, case)
                except Exception:
                    # A defect in what concerns one error must not cut off what is being done to other nodes.
                    log.exception("an error could not be decided", extra={"node": node_id, "error": case.key})
                self._let_go(node_id, case)
        finally:
            for case in cases:
                self._let_go(node_id, case)
            self._busy.discard(node_id)
            if self._waiting.get(node_id):
                self._nodes_with_work.put_nowait(node_id)

    # Deciding

    async def _decide(self, node_id: str, case: _Case) -> None:
        """Have the best solution act that may; what keeps the best from it for a while keeps the others too."""
        node, now_s = self._directory.get(node_id), self._clock.monotonic()
        if node is None or not self._is_to_run(node_id) or now_s - case.seen_s > STALE_S:
            return
        replaced_at = self._attempts.replaced_at(node_id)
        if replaced_at is not None and case.sighting.at <= replaced_at:
            return  # of a process that a repair has replaced since
        most = self._settings().healing.most_repairs_an_hour
        for match in ranked(case.matches, self.runs.cure_rate):
            solution, mode = match.solution, self._modes.mode_of(match.solution.id)
            if solution.id not in self._library.entries or mode in (SolutionMode.OFF, SolutionMode.SUSPENDED):
                continue
            limit = refusal_of(
                solution,
                node_id,
                self.runs,
                now_s=now_s,
                most_on_node=most,
                name=node.name,
                detects=mode is SolutionMode.DETECTING,
                is_alone=len(self._directory) == 1,
            )
            if mode is SolutionMode.DETECTING:
                self._detect(node, match, case, limit)
            elif risk_of(solution) is not Risk.AUTO:
                self._leave_to_people(node, match, case)
                return
            elif (done_at := self._attempts.done_at(node_id, solution.id)) and case.sighting.at <= done_at:
                return  # seen while the action was carried out; whether it helped is being watched
            elif limit is None:
                await self._act(node, match, case)
                return
            elif limit.kind == "cooldown":
                self._defer(node_id, case, limit.for_s)
                return
            else:
                self._refuse(node, match, case, limit)
                if limit.kind != "given_up":
                    self._quiet_until_s[node_id, case.key] = now_s + limit.for_s
                    return

    async def _act(self, node: Node, match: Match, case: _Case) -> None:
        self._note_told(node.id, case, "repair")
        # Not after it: the action may take a while.
        self._let_go(node.id, case)
        solution = match.solution
        actor = Actor(face="system", identity=f"solution/{solution.id}", name=solution.id)
        run = self._new_run(node, match, case.sighting, "running")
        done = await self._attempts.carry_out(
            Attempt(node=node, match=match, sighting=case.sighting, run=run, actor=actor)
        )
        if done.outcome == "skipped":
            for known in case.matches:
                self._lately.pop((node.id, known.solution.id), None)
            for exit_at in case.exits:
                self._told[node.id].pop(exit_at, None)

    def _note_told(self, node_id: str, case: _Case, told_as: ToldAs) -> None:
        now_s = self._clock.monotonic()
        self._lately = {key: known for key, known in self._lately.items() if now_s - known[0] <= SEEN_TWICE_S}
        self._lately.update(dict.fromkeys(((node_id, match.solution.id) for match in case.matches), (now_s, told_as)))
        if not case.exits:
            return
        told = self._told[node_id]
        told.update(dict.fromkeys(sorted(case.exits), told_as))
        while len(told) > _TOLD_EXITS:
            del told[next(iter(told))]

    def _defer(self, node_id: str, case: _Case, for_s: float) -> None:
        """Decide again after the cooldown, unless the node has become ready by itself since the error was seen."""
        key = node_id, case.key
        self._deferred[key] = case

        def decide_again() -> None:
            self._deferred.pop(key, None)
            if not self._attempts.ready_since(node_id, case.seen_s):
                self._waiting.setdefault(node_id, {}).setdefault(case.key, case)
                self._nodes_with_work.put_nowait(node_id)

        asyncio.get_running_loop().call_later(for_s, decide_again)

    def _detect(self, node: Node, match: Match, case: _Case, limit: Refusal | None) -> None:
        if limit is None:
            run = self._new_run(node, match, case.sighting, "detected")
            self.runs.add(run)
            self.alerts.tell_detected(run, match.solution, why=self._modes.why_of(match.solution.id))

    def _leave_to_people(self, node: Node, match: Match, case: _Case) -> None:
        """Ask an operator, or tell what there is to do; the same thing not again for a day."""
        solution = match.solution
        asks = risk_of(solution) is Risk.ASK and self._is_allowed(match)
        # Advice is no answer to a question that could not be asked then.
        before = self.runs.newest(node.id, solution.id, _ANSWERS if asks else _OF_PEOPLE, ASKED_FOR_S)
        if before is not None:
            if (self._clock.now() - before.at).total_seconds() <= SAME_CRASH_S:
                self._note_told(node.id, case, "advice")
            return
        if self.runs.newest(node.id, solution.id, ("running", "watching"), math.inf) is not None:
            return
        self._note_told(node.id, case, "advice")
        if asks:
            run = self._new_run(node, match, case.sighting, "asked")
            self.runs.add(run)
            self.alerts.tell_asked(run, solution)
        else:
            run = self._new_run(node, match, case.sighting, "told")
            self.runs.add(run)
            self.alerts.tell_manual(run, solution)

    def _is_allowed(self, match: Match) -> bool:
        """Tell whether the config lets a solution's action be carried out; what else is wrong, the action says."""
        action = ACTIONS.get(match.solution.action_name)
        if action is None:
            return False
        try:
            parameters = parameters_of(action, match.solution.parameters, match.captures)
        except msgspec.ValidationError:
            return True
        return action.is_allowed(self._tools, parameters)

    def _refuse(self, node: Node, match: Match, case: _Case, limit: Refusal) -> None:
        """Put on record, and tell, why a solution does not act; once while it stays so."""
        now_s, key = self._clock.monotonic(), (node.id, match.solution.id, limit.kind)
        if self._refused_until_s.get(key, now_s) > now_s:
            return
        self._refused_until_s[key] = now_s + limit.for_s
        run = self._new_run(node, match, case.sighting, "skipped", detail=limit.reason)
        self.runs.add(run)
        self.alerts.tell_refused(run, match.solution)

    def _note_given_up(self, node_id: str, solution_id: str) -> None:
        self._refused_until_s[node_id, solution_id, "given_up"] = math.inf

    def _new_run(self, node: Node, match: Match, sighting: Sighting, outcome: str, *, detail: str = "") -> SolutionRun:
        now = self._clock.now()
        entry = self._library.entries.get(match.solution.id)
        run_id = new_ulid(self._clock)
        if len(match.line) > TEXT_CHARACTERS:
            self._cut[run_id] = match
            if len(self._cut) > _CUT_LINES:
                del self._cut[next(iter(self._cut))]
        return SolutionRun(
            id=run_id,
            at=now,
            node_id=node.id,
            solution_id=match.solution.id,
            content_hash="" if entry is None else entry.content_hash,
            fingerprint=sighting.fingerprint[:16],
            seen_in=sighting.seen_in.value,
            line=fitting(match.line),
            action=match.solution.action_name[:40],
            outcome=outcome,
            detail=fitting(detail),
            finished_at=None if outcome in ("running", "asked") else now,
        )

    # Operators

    async def decide(self, beginning: str, *, do: bool, actor: Actor) -> SolutionRun:
        """Carry out, or decline, what an operator was asked; returns the run with what came of it until now.

        Raises
        ------
        NoSuchRun
        RunNotOpen
            It was decided before, or is too old.
        ActionSkipped
            The node is not to run now, or the solution is not there any more.
        """
        run = self._asked(beginning)
        if not do:
            return self.runs.end(run, "declined", f"by {actor.label}")
        node, match = self._directory.get(run.node_id), self._match_again(run)
        if node is None or match is None:
            why = "its node is gone" if node is None else f"{run.solution_id} does not know it any more"
            # Not open for a day: the error may be seen again, and asked about anew.
            self.runs.end(run, "skipped", why)
            raise ActionSkipped(why)
        if not self._is_to_run(node.id):
            raise ActionSkipped(f"{node.name} is stopped, or this box is offline: nothing was done")
        sighting = Sighting(
            node_id=node.id,
            at=run.at,
            seen_in=SeenIn(run.seen_in),
            text=run.line,
            fingerprint=run.fingerprint,
        )
        # Not written yet: who presses at the same time is told that it was decided.
        self.runs.claim(run)
        return await self._attempts.carry_out(Attempt(node=node, match=match, sighting=sighting, run=run, actor=actor))

    def _asked(self, beginning: str) -> SolutionRun:
        found = self.runs.beginning_with(beginning.strip().upper())
        if not found or not beginning.strip():
            raise NoSuchRun(f"there is no repair {beginning[:26]!r}", hint="`fleet repairs` lists them")
        asked = [run for run in found if run.outcome == "asked"]
        if len(found) > 1 and len(asked) != 1:
            raise NoSuchRun(f"{len(found)} repairs begin with {beginning[:26]!r}", hint="type more of the id")
        run = asked[0] if asked else found[0]
        name = self._directory.name_of(run.node_id)
        if not asked:
            words = _DECIDED.get(run.outcome, run.outcome)
            raise RunNotOpen(f"nothing is open here: {run.action} on {name} {words}", hint=_hint(run))
        age_s = (self._clock.now() - run.at).total_seconds()
        if age_s > ASKED_FOR_S:
            raise RunNotOpen(
                f"this question is {duration(age_s)} old: nothing was done",
                hint="if the error is still there, it is asked again",
            )
        return run

    # What something else than an error asks for

    async def run_for(self, solution_id: str, node_id: str, *, reason: str, actor: Actor) -> SolutionRun:
        """Carry out a solution's action for a reason that is no error, in its mode and within its limits.

        Parameters
        ----------
        reason
            The run's line; :meth:`asked_for` finds it by that.

        Raises
        ------
        NoSuchSolution
        ActionSkipped
            It must not act here and now: nothing was done.
        """
        await self._loaded.wait()
        entry, node = self._library.entries.get(solution_id), self._directory.get(node_id)
        if entry is None:
            raise NoSuchSolution(f"there is no solution {solution_id[:64]!r}", hint="`fleet solutions` lists them")
        if node is None or not self._is_to_run(node_id):
            raise ActionSkipped("its node is stopped, or this box is offline")
        self._require_acts(entry.solution)
        limit = refusal_of(
            entry.solution,
            node_id,
            self.runs,
            now_s=self._clock.monotonic(),
            most_on_node=self._settings().healing.most_repairs_an_hour,
            name=node.name,
            is_alone=len(self._directory) == 1,
        )
        if limit is not None:
            raise ActionSkipped(limit.reason)
        match = Match(entry.solution, reason, {})
        seen = Sighting(node_id=node_id, at=self._clock.now(), seen_in=SeenIn.STATE, text=reason)
        run = self._new_run(node, match, seen, "running")
        # What is asked for at the same time finds its limits used up.
        self.runs.claim(run)
        return await self._attempts.carry_out(Attempt(node=node, match=match, sighting=seen, run=run, actor=actor))

    def _require_acts(self, solution: Solution) -> None:
        mode = self._modes.mode_of(solution.id)
        if not self._settings().healing.enabled or mode is not SolutionMode.ON:
            why = f"it is {mode.value}" if self._settings().healing.enabled else "HEALING is switched off"
            raise ActionSkipped(f"{solution.id} does not act: {why}", hint=f"`fleet solutions show {solution.id}`")
        if risk_of(solution) is not Risk.AUTO:
            raise ActionSkipped(f"{solution.id} acts only if a person says so", hint="risk = 'auto' in its text")
        if wanted := placeholders_of(solution.parameters):
            raise ActionSkipped(f"{solution.id} needs what an error says: {', '.join(sorted(wanted))}")

    async def asked_for(self, reason: str, *, since: datetime) -> SolutionRun | None:
        """Return the newest run that was asked for with this reason; None if none was begun."""
        await self._loaded.wait()
        return next(
            (known.run for known in self.runs.latest() if known.run.line == reason and known.run.at >= since), None
        )

    # Solutions

    def _captures_of(self, run: SolutionRun) -> Mapping[str, str]:
        match = self._match_again(run)
        return {} if match is None else match.captures

    def _match_again(self, run: SolutionRun) -> Match | None:
        entry = self._library.entries.get(run.solution_id)
        if entry is not None and len(run.line) >= TEXT_CHARACTERS and entry.content_hash == run.content_hash:
            known = self._cut.get(run.id)
            if known is not None or not placeholders_of(entry.solution.parameters):
                return known or Match(entry.solution, run.line, {})
        matches = self._library.matcher.scan(SeenIn(run.seen_in), run.line.encode("utf-8", "replace"))
        return next((match for match in matches if match.solution.id == run.solution_id), None)

    # What gives a solution another chance

    def _on_audited(self, event: ActionAudited) -> None:
        if event.node_id and event.outcome == "done" and event.actor.partition(":")[0] in _PEOPLE:
            self.runs.forgive(node_id=event.node_id)
            self._forget_limits(lambda node_id, _key: node_id == event.node_id)

    def _on_solution_changed(self, event: SolutionChanged) -> None:
        if event.mode in ("on", "detecting"):
            self.runs.forgive(solution_id=event.solution)
            self._forget_limits(lambda _node_id, _key: True)

    def _on_directory_changed(self, event: DirectoryChanged) -> None:
        if self._directory.get(event.node_id) is None:
            for case in self._waiting.pop(event.node_id, {}).values():
                self._let_go(event.node_id, case)
            self._told.pop(event.node_id, None)
            self._forget_limits(lambda node_id, _key: node_id == event.node_id)

    def _forget_limits(self, concerns: Callable[[str, str], bool]) -> None:
        for key in [key for key in self._quiet_until_s if concerns(*key)]:
            del self._quiet_until_s[key]
        for refused in [refused for refused in self._refused_until_s if concerns(refused[0], refused[1])]:
            del self._refused_until_s[refused]


def risk_of(solution: Solution) -> Risk:
    """Return who decides that a solution acts: its own word, unless its action is more cautious."""
    action = ACTIONS.get(solution.action_name)
    return solution.risk if action is None else more_cautious(solution.risk, action.least_risk)


def _joined(cases: Iterable[_Case]) -> list[_Case]:
    """Return cases with those of one group of errors as one, the highest priority first."""
    joined, by_group = list[_Case](), dict[str, _Case]()
    for case in cases:
        known = by_group.get(case.sighting.fingerprint) if case.sighting.fingerprint else None
        if known is None:
            joined.append(case)
            by_group[case.sighting.fingerprint] = case
        else:
            known.matches += case.matches
            known.add(case.exits, case.undecided)
    return sorted(joined, key=lambda case: -max(match.solution.priority for match in case.matches))


def _hint(run: SolutionRun) -> str:
    return run.detail if run.outcome in ("failed", "did_not_help", "skipped") else ""
