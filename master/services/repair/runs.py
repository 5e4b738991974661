"""The runs of solutions: in memory for what is decided, and in the ledger for good."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec import structs
from sqlalchemy import Connection

from master.bus import EventBus
from master.events import RepairStep
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows import solution_runs
from master.ledger.rows.records import SolutionRun
from master.ledger.writer.entries import SolutionRunSaved
from master.supervision.clock import Clock
from master.wording import encodable

log = logging.getLogger(__name__)

ATTEMPTED = frozenset({"running", "watching", "helped", "did_not_help", "failed", "interrupted"})
"""The action was carried out, or was begun."""
PROVEN = frozenset({"helped", "did_not_help", "failed"})
"""It is known whether it helped."""
RATED_RUNS = 20
KEPT = 2_000
"""Runs in memory; older ones are in the ledger alone."""
_KEPT_FOR = timedelta(days=30)
_RETRY_S = 5.0
TEXT_CHARACTERS = 400
"""Of a line, or a reason, that the ledger has room for."""


@dataclass(slots=True)
class Known:
    """A run, and when it began by the clock that nobody sets."""

    run: SolutionRun
    began_s: float

    @property
    def is_refusal(self) -> bool:
        """Tell whether a limit kept it from being done."""
        return self.run.outcome == "skipped" and not self.run.actor


class Runs:
    """Know the runs of the last weeks, write them, and tell of each change."""

    def __init__(self, ledger: Ledger, bus: EventBus, clock: Clock) -> None:
        self._ledger, self._bus, self._clock = ledger, bus, clock
        self._known: dict[str, Known] = {}
        """By id, oldest first."""
        self._forgiven_s: dict[tuple[str, str], float] = {}
        """Since when what did not help counts: by node, by solution (the other being empty)."""

    async def load(self) -> None:
        """Read the runs that decisions depend on; waits for a ledger that is away."""
        while True:
            try:
                runs, acts = await self._ledger.read(self._read)
                pending = await self._ledger.pending_entries()
                break
            except LedgerError as error:
                log.warning("the runs of solutions could not be read", extra={"why": error.message})
                await asyncio.sleep(_RETRY_S)
        found = {run.id: run for run in runs}
        found.update((entry.run.id, entry.run) for entry in pending if isinstance(entry, SolutionRunSaved))
        for run in sorted(found.values(), key=lambda run: run.id):
            self._known.setdefault(run.id, Known(run, self._monotonic_of(run.at)))
        for node_id, at in acts.items():
            self._forgiven_s.setdefault((node_id, ""), self._monotonic_of(at))

    def _read(self, connection: Connection) -> tuple[list[SolutionRun], dict[str, datetime]]:
        since = self._clock.now() - _KEPT_FOR
        runs = [
            *solution_runs.recent(connection, since=since, limit=KEPT),
            *solution_runs.unfinished(connection),
        ]
        return runs, solution_runs.last_acts_of_operators(connection, since)

    def _monotonic_of(self, at: datetime) -> float:
        return self._clock.monotonic() - max(0.0, (self._clock.now() - at).total_seconds())

    # Reading

    def latest(self, *, node_id: str = "", solution_id: str = "", within_s: float | None = None) -> Iterator[Known]:
        """Yield runs, newest first: of a node, of a solution, not older than that."""
        oldest_s = -float("inf") if within_s is None else self._clock.monotonic() - within_s
        for known in reversed(self._known.values()):
            if known.began_s < oldest_s:
                # Those of before a restart are in the order of a clock that may have been set: look at all.
                continue
            if node_id in ("", known.run.node_id) and solution_id in ("", known.run.solution_id):
                yield known

    def get(self, run_id: str) -> SolutionRun | None:
        """Return a run as it is now."""
        known = self._known.get(run_id)
        return None if known is None else known.run

    def newest(self, node_id: str, solution_id: str, outcomes: Collection[str], within_s: float) -> SolutionRun | None:
        """Return the newest run of a solution on a node with one of these outcomes."""
        found = self.latest(node_id=node_id, solution_id=solution_id, within_s=within_s)
        return next((known.run for known in found if known.run.outcome in outcomes), None)

    def beginning_with(self, beginning: str) -> list[SolutionRun]:
        """Return the runs whose id begins so."""
        return [known.run for run_id, known in self._known.items() if run_id.startswith(beginning)]

    def unfinished(self) -> list[SolutionRun]:
        """Return the runs whose outcome is not known yet."""
        return [known.run for known in self._known.values() if known.run.outcome in ("running", "watching")]

    def fruitless(self, node_id: str, solution_id: str) -> int:
        """Return how often in a row a solution did not help on a node, since a cure or an operator's act."""
        since_s = max(self._forgiven_s.get(key, -float("inf")) for key in ((node_id, ""), ("", solution_id)))
        count = 0
        for known in self.latest(node_id=node_id, solution_id=solution_id):
            if known.run.outcome == "helped" or known.began_s < since_s:
                break
            count += known.run.outcome in ("did_not_help", "failed", "interrupted")
        return count

    def cure_rate(self, solution_id: str) -> float | None:
        """Return which share of the last runs helped; None if none is finished."""
        return rate_of([known.run for known in self.latest(solution_id=solution_id)])

    # Writing

    def add(self, run: SolutionRun) -> None:
        """Add or replace a run; it is written soon."""
        self._remember(run)
        self._ledger.write_soon(SolutionRunSaved(run=run))

    async def add_durably(self, run: SolutionRun) -> None:
        """Add or replace a run; returns once it is on disk, in the ledger or in its spool."""
        self._remember(run)
        try:
            await self._ledger.write_durable(SolutionRunSaved(run=run))
        except LedgerError as error:
            # A node that is down does not wait for a ledger in trouble. What is written next holds the whole row.
            log.error("a repair is not on record yet", extra={"run": run.id, "why": error.message})

    def claim(self, run: SolutionRun) -> None:
        """Mark a run in memory as begun; what follows writes it."""
        self._remember(structs.replace(run, outcome="running"))

    def end(self, run: SolutionRun, outcome: str, detail: str) -> SolutionRun:
        """Write what came of a run in the end; returns it so."""
        now = self._clock.now()
        ended = structs.replace(run, outcome=outcome, detail=fitting(detail), finished_at=now)
        self.add(ended)
        return ended

    def _remember(self, run: SolutionRun) -> None:
        known = self._known.get(run.id)
        if known is None or known.run.outcome != run.outcome:
            self._announce(run)
        if known is not None:
            known.run = run
            return
        self._known[run.id] = Known(run, self._clock.monotonic())
        if len(self._known) > KEPT:
            done = (one.run.id for one in self._known.values() if one.run.outcome not in solution_runs.OPEN)
            self._known.pop(next(done, next(iter(self._known))))

    def _announce(self, run: SolutionRun) -> None:
        why = f": {run.detail}" if run.detail else ""
        self._bus.publish(
            RepairStep(
                at=self._clock.now(),
                node_id=run.node_id,
                run_id=run.id,
                solution=run.solution_id,
                action=run.action,
                outcome=run.outcome,
                detail=f"{run.solution_id} ({run.action}): {run.outcome.replace('_', ' ')}{why}",
            )
        )

    def forgive(self, *, node_id: str = "", solution_id: str = "") -> None:
        """Begin to count anew what does not help: on a node, or of a solution."""
        self._forgiven_s[node_id, solution_id] = self._clock.monotonic()


def rate_of(runs: list[SolutionRun]) -> float | None:
    """Return which share of the newest runs helped, from runs newest first; None if none is finished."""
    proven = [run.outcome == "helped" for run in runs if run.outcome in PROVEN][:RATED_RUNS]
    return sum(proven) / len(proven) if proven else None


def fitting(text: str) -> str:
    """Return a text as the ledger has room for it."""
    return encodable(text)[:TEXT_CHARACTERS]
