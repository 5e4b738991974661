"""Did it help? The node must become ready, and the error must stay away for a while."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from master.bus import EventBus
from master.events import DirectoryChanged, NodeEvent, NodeReady, NodeRecovered, NodeVerified
from master.ledger.rows.records import DesiredState, SolutionRun
from master.services.core.directory import NodeDirectory
from master.services.healing.monitor import Finding
from master.services.healing.sighting import SeenIn
from master.supervision.clock import Clock
from master.supervision.states import NodeState
from master.supervision.supervisor import Supervisor
from master.wording import duration

LATE_OUTPUT = timedelta(seconds=1)
"""A line of before the action may be read this long after it."""
_UP = frozenset({NodeState.READY, NodeState.DEGRADED, NodeState.OFFLINE})


@dataclass(slots=True, kw_only=True)
class Watch:
    """A run whose action is done.

    Parameters
    ----------
    since
        When the action was done: errors from before it prove nothing.
    acted_s
        When the action was begun, in monotonic seconds.
    """

    run: SolutionRun
    stays_away_s: float
    awaits_ready: bool
    since: datetime
    acted_s: float
    ready_s: float | None = None
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


class Verifying:
    """Watch what follows a repair.

    Parameters
    ----------
    ready_timeout_s
        How long a node may take until it is ready.
    ready
        Called when the node is ready again, with the milliseconds since the action was begun.
    ended
        Called with the outcome and its reason; the error may be seen again in the same moment.
    """

    def __init__(
        self,
        *,
        bus: EventBus,
        clock: Clock,
        directory: NodeDirectory,
        supervisor: Supervisor,
        ready_timeout_s: Callable[[], float],
        ready: Callable[[SolutionRun, int], None],
        ended: Callable[[SolutionRun, str, str], None],
    ) -> None:
        self._clock, self._directory, self._supervisor = clock, directory, supervisor
        self._ready_timeout_s, self._ready, self._ended = ready_timeout_s, ready, ended
        self._watches: dict[str, dict[str, Watch]] = {}
        """By node, by run."""
        self._ready_s: dict[str, float] = {}
        """When each node became ready last."""
        bus.on(NodeReady, self._on_ready)
        bus.on(NodeRecovered, self._on_ready)
        bus.on(NodeVerified, self._on_ready)
        bus.on(DirectoryChanged, self._on_directory_changed)

    def ready_s(self, node_id: str) -> float:
        """Return when a node became ready last (monotonic); minus infinity if it did not."""
        return self._ready_s.get(node_id, -math.inf)

    def begin(self, watch: Watch, *, within_s: float | None = None) -> None:
        """Watch what follows a repair.

        Parameters
        ----------
        within_s
            What is left of the time in which the error must stay away, if an earlier master watched already.
        """
        self._watches.setdefault(watch.run.node_id, {})[watch.run.id] = watch
        if self._is_unwanted(watch):
            return
        ready_s = self.ready_s(watch.run.node_id)
        if not watch.awaits_ready:
            self._await_end(watch, watch.stays_away_s if within_s is None else within_s)
        elif ready_s >= watch.acted_s:
            self._become_ready(watch, ready_s)
        else:
            self._after(watch, self._ready_timeout_s(), self._on_not_ready)

    def see(self, finding: Finding) -> None:
        """Look whether an error is one that was to stay away."""
        seen = finding.sighting
        for watch in tuple(self._watches.get(seen.node_id, {}).values()):
            run = watch.run
            is_known = any(match.solution.id == run.solution_id for match in finding.matches)
            is_same_group = bool(run.fingerprint) and run.fingerprint == seen.fingerprint
            if (is_known or is_same_group) and seen.at >= watch.since + _lateness(watch, seen.seen_in):
                after_s = (seen.at - watch.since).total_seconds()
                self._end(watch, "did_not_help", f"the error came back after {duration(max(after_s, 0.0))}")

    # What happens to the node

    def _on_ready(self, event: NodeEvent | NodeVerified) -> None:
        node = self._directory.get(event.node_id)
        # One that is verified with a broken cog is as ready as it will be.
        if node is None or self._supervisor.view(event.node_id).state not in (NodeState.READY, NodeState.DEGRADED):
            return
        now = self._ready_s[event.node_id] = self._clock.monotonic()
        for watch in tuple(self._watches.get(event.node_id, {}).values()):
            if watch.awaits_ready and watch.ready_s is None:
                self._become_ready(watch, now)

    def _on_directory_changed(self, event: DirectoryChanged) -> None:
        for watch in tuple(self._watches.get(event.node_id, {}).values()):
            self._is_unwanted(watch)
        if self._directory.get(event.node_id) is None:
            self._ready_s.pop(event.node_id, None)

    def _is_unwanted(self, watch: Watch) -> bool:
        """End a watch of a node that is not to run any more: nothing can be said of it."""
        node = self._directory.get(watch.run.node_id)
        if node is not None and node.desired_state is DesiredState.RUNNING:
            return False
        why = "the node was removed meanwhile" if node is None else "the node was stopped by an operator meanwhile"
        self._end(watch, "skipped", why)
        return True

    # Deadlines

    def _become_ready(self, watch: Watch, ready_s: float) -> None:
        watch.ready_s = ready_s
        self._ready(watch.run, round((ready_s - watch.acted_s) * 1_000))
        self._await_end(watch, watch.stays_away_s)

    def _await_end(self, watch: Watch, for_s: float) -> None:
        self._after(watch, for_s, self._on_stayed_away)

    def _after(self, watch: Watch, for_s: float, then: Callable[[Watch], None]) -> None:
        if watch.timer is not None:
            watch.timer.cancel()
        watch.timer = asyncio.get_running_loop().call_later(for_s, then, watch)

    def _on_not_ready(self, watch: Watch) -> None:
        state = self._supervisor.view(watch.run.node_id).state
        self._end(watch, "did_not_help", f"not ready within {self._ready_timeout_s():g} s; it is {state}")

    def _on_stayed_away(self, watch: Watch) -> None:
        state = self._supervisor.view(watch.run.node_id).state
        if watch.awaits_ready and state not in _UP:
            self._end(watch, "did_not_help", f"the error stayed away, but the node is {state}")
            return
        self._end(watch, "helped", f"the error stayed away for {duration(watch.stays_away_s)}")

    def _end(self, watch: Watch, outcome: str, why: str) -> None:
        if watch.timer is not None:
            watch.timer.cancel()
        of_node = self._watches.get(watch.run.node_id, {})
        of_node.pop(watch.run.id, None)
        if not of_node:
            self._watches.pop(watch.run.node_id, None)
        self._ended(watch.run, outcome, why)


def _lateness(watch: Watch, seen_in: SeenIn) -> timedelta:
    """Return how late after the action what is from before it may be seen; all but output has its own time."""
    is_output = seen_in in (SeenIn.STDERR, SeenIn.STDOUT)
    return LATE_OUTPUT if is_output else timedelta(0)
