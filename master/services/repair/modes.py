"""Whether each solution acts: kept in memory for the repair path, and in the ledger."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import timedelta

from msgspec import structs

from master.bus import EventBus
from master.events import SolutionChanged
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows import solutions
from master.ledger.rows.records import SolutionState
from master.ledger.writer.entries import SolutionModeSet
from master.services.healing.library import Entry
from master.services.healing.solution import SolutionMode
from master.supervision.clock import Clock
from master.wording import duration, encodable

log = logging.getLogger(__name__)

RETRY_S = 5.0
"""Between attempts to read the modes from a ledger that does not answer."""
MASTER = "system:master"
_COMES_WITH_US = "comes with Fleetmaster"


class Modes:
    """Know and change the modes of solutions.

    One of the operator's only detects at first, and again when its text changes: what nobody has seen at work does not
    act. One that comes with Fleetmaster is on. Until the ledger was read, none acts: an operator may have switched it
    off.

    Parameters
    ----------
    detect_only_s
        How long a new one only detects.
    """

    def __init__(self, ledger: Ledger, bus: EventBus, clock: Clock, detect_only_s: Callable[[], float]) -> None:
        self._ledger = ledger
        self._bus = bus
        self._clock = clock
        self._detect_only_s = detect_only_s
        self._states: dict[str, SolutionState] = {}
        self._entries: tuple[Entry, ...] = ()
        self._is_loaded = False

    async def load(self) -> None:
        """Read the modes; waits for a ledger that is away."""
        while not self._is_loaded:
            try:
                states = await self._ledger.read(solutions.list_all)
                pending = await self._ledger.pending_entries()
            except LedgerError as error:
                log.warning("the modes of solutions could not be read", extra={"why": error.message})
                await asyncio.sleep(RETRY_S)
                continue
            self._states = {state.solution_id: state for state in states}
            for entry in pending:
                if isinstance(entry, SolutionModeSet):
                    self._states[entry.state.solution_id] = entry.state
            self._is_loaded = True
        self.meet(self._entries)

    def meet(self, entries: Iterable[Entry]) -> None:
        """Take in the solutions that there are now: what is new, and what has another text, gets its mode."""
        self._entries = tuple(entries)
        if not self._is_loaded:
            return
        for entry in self._entries:
            state = self._states.get(entry.solution.id)
            if state is None:
                self._begin(entry, _COMES_WITH_US if entry.is_shipped else "it is new")
            elif state.content_hash != entry.content_hash:
                self._take_new_text(entry, state)

    def mode_of(self, solution_id: str) -> SolutionMode:
        """Return whether a solution acts now."""
        state = self._states.get(solution_id)
        if state is None:
            return SolutionMode.DETECTING
        if state.mode == "detecting" and self.detects_for_s(solution_id) <= 0:
            return SolutionMode.ON
        return SolutionMode(state.mode)

    def state_of(self, solution_id: str) -> SolutionState | None:
        """Return what the ledger holds of a solution's mode; None before it was read."""
        return self._states.get(solution_id)

    def detects_for_s(self, solution_id: str) -> float:
        """Return how much longer a solution that detects will not act; 0 if it may."""
        state = self._states.get(solution_id)
        if state is None or state.mode != "detecting":
            return 0.0
        end = state.since + timedelta(seconds=self._detect_only_s())
        return max(0.0, (end - self._clock.now()).total_seconds())

    def why_of(self, solution_id: str) -> str:
        """Return in a few words why a solution has its mode."""
        state = self._states.get(solution_id)
        if state is None:
            return "the ledger was not read yet"
        if state.mode != "detecting":
            return state.why
        left_s = self.detects_for_s(solution_id)
        return f"{state.why}; acts in {duration(left_s)}" if left_s else "it has detected long enough"

    async def set(self, solution_id: str, mode: SolutionMode, why: str, actor: str) -> None:
        """Change a solution's mode, also while the ledger is away: it is spooled then.

        Raises
        ------
        LedgerError
            It is not changed for good: what is less than before holds until the master ends.
        """
        state = self._make(solution_id, mode, why, actor)
        if mode in (SolutionMode.OFF, SolutionMode.SUSPENDED):
            self._states[solution_id] = state
        await self._ledger.write_durable(SolutionModeSet(state=state))
        self._states[solution_id] = state
        self._announce(state)

    # Internals

    def _begin(self, entry: Entry, why: str) -> None:
        """Put a solution into the mode of a new one."""
        mode = SolutionMode.ON if entry.is_shipped else SolutionMode.DETECTING
        state = structs.replace(self._make(entry.solution.id, mode, why, MASTER), content_hash=entry.content_hash)
        self._write_soon(state)
        if not entry.is_shipped:
            self._announce(state)

    def _take_new_text(self, entry: Entry, state: SolutionState) -> None:
        """Let an operator's decision to switch it off outlive a new text; what was proven of the old one does not."""
        if state.mode == "off":
            self._write_soon(structs.replace(state, content_hash=entry.content_hash))
        else:
            self._begin(entry, _COMES_WITH_US if entry.is_shipped else "its text is new")

    def _write_soon(self, state: SolutionState) -> None:
        self._states[state.solution_id] = state
        self._ledger.write_soon(SolutionModeSet(state=state))

    def _announce(self, state: SolutionState) -> None:
        self._bus.publish(
            SolutionChanged(
                at=state.since, solution=state.solution_id, mode=state.mode, actor=state.changed_by, detail=state.why
            )
        )

    def _make(self, solution_id: str, mode: SolutionMode, why: str, actor: str) -> SolutionState:
        now, known = self._clock.now(), self._states.get(solution_id)
        hashes = (entry.content_hash for entry in self._entries if entry.solution.id == solution_id)
        return SolutionState(
            solution_id=solution_id,
            mode=mode.value,
            since=now,
            first_at=now if known is None else known.first_at,
            content_hash=next(hashes, "" if known is None else known.content_hash),
            why=encodable(why)[:400],
            changed_by=encodable(actor)[:120],
        )
