"""The timeline of a node: rows of the ledger folded into what a person would say happened. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from msgspec import structs

from master.ledger.rows.records import (
    AuditRow,
    ErrorEvent,
    HandshakeEvent,
    Licence,
    Outcome,
    ProcessRecord,
    SolutionRun,
)
from master.services.core.exit_meaning import explain_exit, reason_in, without_stamp
from master.services.core.telling_views import TimelineEntry
from master.supervision.process import ExitReport
from master.wording import duration

EXIT_SOURCE = "exit"
"""The source of the error events that the crash watch writes."""
_TOLD_OTHERWISE = frozenset({EXIT_SOURCE, "ended", "state"})
"""Sources of errors that events of the process tell of."""
_SAID = {
    "stderr": "wrote an error",
    "stdout": "wrote an error",
    "gateway_close": "lost its connection to Discord's gateway",
}
_OF_AN_ACTION_S = 60.0
"""An action is written down when it has ended: what it did came up to this long before."""
_SHOWN_LINES = 8
_VARYING = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)?")
_ENDED = frozenset({"exited", "stopped", "killed"})
_DONE_BY = {
    "stop": "was stopped",
    "restart": "was restarted",
    "kill": "was killed",
    "start": "was started",
    "register": "was registered",
    "duplicate": "was made",
    "release": "was released from its backoff or quarantine",
    "clear": "had its flag cleared",
    "revoke": "had its licence revoked",
    "reinstate": "had its licence reinstated",
}
_TEXTS = {
    "degraded": "was degraded",
    "offline": "was without Discord",
    "cut_off": "was without Discord, alone",
    "held": "waited for Discord to come back",
    "missing": "had lost its folder",
    "continued": "was stopped by a signal (SIGSTOP), and continued",
    "quarantined": "was quarantined",
    "backoff": "could not be started",
    "ready": "was ready",
}


class NodeRows(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger has of a node; the newest first, as its repositories return it."""

    processes: Sequence[ProcessRecord] = ()
    errors: Sequence[ErrorEvent] = ()
    messages: Sequence[HandshakeEvent] = ()
    actions: Sequence[AuditRow] = ()
    licence: Licence | None = None
    repairs: Sequence[SolutionRun] = ()
    release: str = ""
    """Which patch it runs, in words."""


def report_of(record: ProcessRecord) -> ExitReport:
    """Return how a process ended, from its event."""
    return ExitReport(exit_code=record.exit_code, signal=record.signal)


def errors_to_show(errors: Sequence[ErrorEvent]) -> list[ErrorEvent]:
    """Return errors but those that an exit tells of: its traceback was in the log too."""
    of_exits = {row.fingerprint for row in errors if row.source == EXIT_SOURCE}
    return [row for row in errors if row.source not in _TOLD_OTHERWISE and row.fingerprint not in of_exits]


def words_of(record: ProcessRecord, errors: Iterable[ErrorEvent]) -> list[str]:
    """Return the lines that a process wrote before its end, if they are on record."""
    found = _error_of(record, errors)
    return found.detail.splitlines() if found is not None and record.kind == "exited" and record.signal != 9 else []


def _error_of(record: ProcessRecord, errors: Iterable[ErrorEvent]) -> ErrorEvent | None:
    """Return the row of the error that ended a process."""
    plain = explain_exit("", report_of(record), detail=record.detail, kind=record.kind).text
    found = [
        error
        for error in errors
        if error.source == EXIT_SOURCE and error.at <= record.at <= max(error.last_at or error.at, error.at)
    ]
    fitting = [error for error in found if error.summary.startswith(plain)] or found[:1]
    return fitting[0] if fitting else None


def build_timeline(name: str, rows: NodeRows, *, speaks: bool) -> list[TimelineEntry]:
    """Return what happened, the oldest first; the same again and again is one entry.

    Parameters
    ----------
    speaks
        Whether the node uses nodekit, whose exit codes have meanings of their own.
    """
    folding = _Folding(name, rows.errors, speaks)
    told: list[tuple[datetime, int, object]] = [(row.at, 0, row) for row in reversed(rows.processes)]
    told += [(row.at, 1, row) for row in reversed(rows.actions)]
    told += [(row.at, 2, row) for row in reversed(rows.messages) if row.outcome != "accepted"]
    told += [(row.last_at or row.at, 3, row) for row in reversed(errors_to_show(rows.errors))]
    for _, _, row in sorted(told, key=lambda one: one[:2]):
        match row:
            case ProcessRecord():
                folding.take_process(row)
            case AuditRow():
                folding.take_action(row)
            case HandshakeEvent():
                folding.add(row.at, "refused", f"was named by a message that was refused: {row.outcome}")
            case ErrorEvent():
                folding.take_error(row)
    return _grouped(folding.entries)


class _Folding:
    """Fold events, the oldest first: what follows from one of them becomes its outcome."""

    def __init__(self, name: str, errors: Sequence[ErrorEvent], speaks: bool) -> None:
        self.entries: list[TimelineEntry] = []
        self._name = name
        self._errors = errors
        self._speaks = speaks

    def add(self, at: datetime, kind: str, text: str, **more: object) -> None:
        """Begin a new entry."""
        seconds = at.timestamp()
        self.entries.append(TimelineEntry(at=seconds, first_at=seconds, kind=kind, text=text, **more))  # type: ignore[arg-type]

    def take_error(self, row: ErrorEvent) -> None:
        """Add an error that the node reported or wrote."""
        at = (row.last_at or row.at).timestamp()
        lines = tuple(row.detail.splitlines()[-_SHOWN_LINES:])
        self.entries.append(
            TimelineEntry(
                at=at,
                first_at=row.at.timestamp(),
                count=row.count,
                kind="error",
                text=f"{_SAID.get(row.source, 'reported an error')}: {row.summary}",
                lines=lines,
                fingerprint=row.fingerprint,
            )
        )

    def take_action(self, row: AuditRow) -> None:
        """Say who did what was just seen, or add what changed nothing about its process."""
        done = _DONE_BY.get(row.action, row.action.replace("_", "-"))
        if row.outcome is not Outcome.DONE:
            self.add(row.at, "action", f"{done}: {row.outcome.value}, {row.detail}", actor=row.actor)
            return
        since = row.at.timestamp() - _OF_AN_ACTION_S
        for index in range(len(self.entries) - 1, -1, -1):
            entry = self.entries[index]
            if entry.at < since or row.action not in ("stop", "restart", "kill", "start"):
                break
            if entry.kind in ("stopped", "killed", "spawned") and not entry.actor:
                self.entries[index] = structs.replace(entry, kind="action", text=done, actor=row.actor)
                return
            if entry.kind not in ("error", "refused", "continued"):
                break
        self.add(row.at, "action", done, actor=row.actor)

    def take_process(self, row: ProcessRecord) -> None:
        """Take an event of its process."""
        match row.kind:
            case kind if kind in _ENDED:
                self._take_end(row)
            case "spawned" if row.detail == "adopted":
                self.add(row.at, "adopted", "went on under a new master")
            case "spawned":
                self._follow(row, "spawned", "was started", "restarted", after=_ENDED | {"quarantined", "held"})
            case "ready":
                self._follow_ready(row)
            case "recovered":
                self._follow(row, "recovered", "recovered", "recovered", after={"degraded", "offline", "cut_off"})
            case "backoff" if self.entries and self.entries[-1].kind in _ENDED:
                self._say("waits before the next start")
            case kind:
                detail = row.detail.partition("; last line: ")[0]
                text = _TEXTS.get(kind, kind)
                self.add(row.at, kind, f"{text}: {detail}" if detail else text)

    def _take_end(self, row: ProcessRecord) -> None:
        report, lines = report_of(row), words_of(row, self._errors)
        meaning = explain_exit(self._name, report, detail=row.detail, kind=row.kind, lines=lines, speaks=self._speaks)
        if reason_in(row.detail, report) and self.entries and self.entries[-1].kind == "degraded":
            self.entries.pop()  # That it was silent first is the reason.
        text = "was stopped with its master" if row.kind == "stopped" and meaning.text.startswith("ended") else ""
        shown = tuple(map(without_stamp, lines[-_SHOWN_LINES:])) if len(lines) > 1 else ()
        error = _error_of(row, self._errors) if lines else None
        fingerprint = "" if error is None else error.fingerprint
        self.add(row.at, row.kind, text or meaning.text, lines=shown, todo=meaning.todo, fingerprint=fingerprint)

    def _follow(self, row: ProcessRecord, kind: str, text: str, outcome: str, *, after: Iterable[str]) -> None:
        last = self.entries[-1] if self.entries else None
        if last is not None and (last.kind in after or (last.kind == "action" and last.text == _DONE_BY["release"])):
            self._say(outcome)
        else:
            self.add(row.at, kind, text)

    def _follow_ready(self, row: ProcessRecord) -> None:
        last = self.entries[-1] if self.entries else None
        if last is None or last.kind in ("error", "refused", "ready", "missing"):
            self.add(row.at, "ready", "was ready")
            return
        self._say(f"ready after {_span(row.at.timestamp() - last.at)}")

    def _say(self, outcome: str) -> None:
        self.entries[-1] = structs.replace(self.entries[-1], outcome=outcome)


def _grouped(entries: Sequence[TimelineEntry]) -> list[TimelineEntry]:
    """Return entries with runs of equal ones as one, which has the newest's outcome and lines."""
    found: list[TimelineEntry] = []
    for entry in entries:
        last = found[-1] if found else None
        if last is not None and _key(last) == _key(entry):
            found[-1] = structs.replace(
                entry, first_at=last.first_at, count=last.count + entry.count, lines=entry.lines or last.lines
            )
        else:
            found.append(entry)
    return found


def _key(entry: TimelineEntry) -> tuple[str, str, str]:
    return entry.kind, entry.actor, _VARYING.sub("N", entry.text)


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)
