"""What operators are told of repairs: one alert a cause, and how it ended."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta

from master.events import AlertButton, AlertLevel
from master.ledger.rows.records import SolutionRun
from master.services.core.alerts import Alerts
from master.services.core.directory import NodeDirectory
from master.services.healing.solution import Solution
from master.services.repair.actions.registry import ACTIONS
from master.services.repair.runs import ATTEMPTED, Runs
from master.supervision.clock import Clock
from master.wording import duration

PREFIX = "repair"
"""What the custom ids of the buttons begin with."""
DETECTED_EVERY_S = 86_400.0
_CAPTURE_CHARACTERS = 100
_PLACE = re.compile(r"\{(\w+)\}")
_ORDINALS = {1: "first", 2: "second", 3: "third"}


class RepairAlerts:
    """Tell of repairs.

    Parameters
    ----------
    captures_of
        Returns what a solution captures in a run's line; foreign text.
    """

    def __init__(
        self,
        alerts: Alerts,
        directory: NodeDirectory,
        runs: Runs,
        clock: Clock,
        captures_of: Callable[[SolutionRun], Mapping[str, str]],
    ) -> None:
        self._alerts, self._directory, self._runs, self._clock = alerts, directory, runs, clock
        self._captures_of = captures_of
        self.is_muted: Callable[[str], bool] = lambda _fingerprint: False
        """Tells whether an operator has muted a group of errors."""
        self.told: Callable[[str], None] = lambda _fingerprint: None
        """Hears that a group of errors is told of, so that nobody else does it too."""
        self._detected: dict[str, tuple[float, int]] = {}
        """By solution: when it was told last that it only detects, and how often it would have acted since."""

    # Of one run

    def tell_done(self, run: SolutionRun, solution: Solution, *, ready_ms: int | None, waits: bool) -> None:
        """Tell of a repair whose action was carried out."""
        said = [f"Done: {run.detail}" + (f"; ready again after {ready_ms:,} ms." if ready_ms is not None else ".")]
        if waits:
            said.append("It is not ready yet.")
        said.append(f"Whether it helped is known if the error stays away for {duration(solution.stays_away_s)}.")
        level = AlertLevel.INFORMATION if solution.severity == "information" else AlertLevel.WARNING
        self._tell(run, solution, level, " ".join(said))

    def tell_helped(self, run: SolutionRun, solution: Solution) -> None:
        """Tell that a repair helped."""
        self._tell(run, solution, AlertLevel.SUCCESS, f"It helped: {run.detail}.", is_end=True)

    def tell_failed(self, run: SolutionRun, solution: Solution, *, left: int, is_first: bool) -> None:
        """Tell that a repair was in vain.

        Parameters
        ----------
        left
            Attempts that are left on this node.
        is_first
            Whether nothing was told of it before.
        """
        words = "could not be carried out" if run.outcome == "failed" else "did not help"
        said = [f"{_verb(run.action)} {words}: {run.detail}."]
        if left > 0:
            said.append(f"It is tried again at most {left} more time{'s' if left > 1 else ''}.")
        else:
            said.append(f"It is left to you now. {self._advice(run, solution)}".strip())
        self._tell(run, solution, AlertLevel.ERROR, " ".join(said), is_end=not is_first)

    def tell_asked(self, run: SolutionRun, solution: Solution) -> None:
        """Ask an operator whether the action is to be carried out."""
        said = [
            f"{_verb(run.action)}? {_summary(run.action)}",
            f"`fleet repairs do {run.id[:10]}` does it too.",
            self._advice(run, solution),
        ]
        button = AlertButton(label="Do it", custom_id=f"{PREFIX}:do:{run.id}", style="primary")
        self._tell(run, solution, _level(solution), "\n".join(filter(None, said)), buttons=(button,))

    def tell_manual(self, run: SolutionRun, solution: Solution) -> None:
        """Tell what a person has to do."""
        said = self._advice(run, solution) or "No program can mend this."
        self._tell(run, solution, _level(solution), said)

    def tell_refused(self, run: SolutionRun, solution: Solution) -> None:
        """Tell why nothing is done any more."""
        said = [f"Nothing is done: {run.detail}.", self._advice(run, solution)]
        self._tell(run, solution, AlertLevel.ERROR, "\n".join(filter(None, said)), is_end=True)

    # Of a solution

    def tell_detected(self, run: SolutionRun, solution: Solution, *, why: str) -> None:
        """Tell once a day what a solution would have done."""
        now = self._clock.monotonic()
        told_s, count = self._detected.get(solution.id, (-DETECTED_EVERY_S, 0))
        if now - told_s < DETECTED_EVERY_S:
            self._detected[solution.id] = told_s, count + 1
            return
        self._detected[solution.id] = now, 0
        times = f"{count + 1} times since it was told last" if count else "now"
        text = (
            f"It would have acted {times}: {_verb(run.action).lower()}. The solution {solution.id} only detects: {why}."
            f"\n`fleet solutions enable {solution.id} --now` lets it act from now on."
        )
        self._tell(run, solution, AlertLevel.INFORMATION, text)

    def tell_suspended(self, solution: Solution, why: str) -> None:
        """Tell that a solution was switched off, because it does not cure."""
        self._alerts.raise_alert(
            AlertLevel.WARNING,
            f"The solution {solution.id} is suspended",
            key=f"suspended:{solution.id}",
            text=f"{why[:1].upper()}{why[1:]}: it does nothing any more."
            f"\n`fleet solutions show {solution.id}` shows its runs; `fleet solutions enable {solution.id}` "
            "switches it on again.",
        )

    # Internals

    def _tell(
        self,
        run: SolutionRun,
        solution: Solution,
        level: AlertLevel,
        text: str,
        *,
        is_end: bool = False,
        buttons: tuple[AlertButton, ...] = (),
    ) -> None:
        if run.fingerprint:
            self.told(run.fingerprint)
            if self.is_muted(run.fingerprint):
                return
            if not is_end:
                buttons = (*buttons, *_of_group(run.fingerprint))
        name = self._name(run)
        times = "" if is_end else self._times_today(run)
        self._alerts.raise_alert(
            level,
            f"{name}: {solution.title}",
            key=f"repair:{run.id}:{run.outcome}",
            text=f"{text}{times}",
            # A log message of several lines is one line of the log: what it begins with says it.
            quote="" if is_end else run.line.partition(r"\n")[0],
            node=name,
            fields=() if is_end else (("Solution", solution.id),),
            buttons=buttons,
        )

    def _times_today(self, run: SolutionRun) -> str:
        """Return how often this was today already; empty for the first time."""
        today = self._clock.now().astimezone().date()
        of_today = sum(
            known.run.outcome in ATTEMPTED and known.run.at.astimezone().date() == today
            for known in self._runs.latest(
                node_id=run.node_id, solution_id=run.solution_id, within_s=timedelta(days=1).total_seconds()
            )
        )
        return f" {_ordinal(of_today)} time today." if of_today > 1 else ""

    def _name(self, run: SolutionRun) -> str:
        return self._directory.name_of(run.node_id)

    def _advice(self, run: SolutionRun, solution: Solution) -> str:
        return filled_advice(solution, self._name(run), self._captures_of(run))


def filled_advice(solution: Solution, name: str, captures: Mapping[str, str]) -> str:
    """Return a solution's advice with the node's name and what was captured, which stays foreign text."""
    values = {**{key: captured[:_CAPTURE_CHARACTERS] for key, captured in captures.items()}, "node": name}
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), solution.advice)


def _of_group(fingerprint: str) -> tuple[AlertButton, ...]:
    return (
        AlertButton(label="Mute 1 h", custom_id=f"{PREFIX}:mute:{fingerprint}"),
        AlertButton(label="Show lines", custom_id=f"{PREFIX}:lines:{fingerprint}"),
    )


def _level(solution: Solution) -> AlertLevel:
    return AlertLevel(solution.severity)


def _verb(action: str) -> str:
    """Return an action's name as words: ``Install package``."""
    return action.replace("_", " ").capitalize()


def _summary(action: str) -> str:
    known = ACTIONS.get(action)
    return "" if known is None else known.summary


def _ordinal(number: int) -> str:
    return (_ORDINALS.get(number) or f"{number}th").capitalize()
