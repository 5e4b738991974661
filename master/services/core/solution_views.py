"""Views of solutions: what there is, what each did, and what a test of one found. Imports nothing heavy."""

from __future__ import annotations

import msgspec


class SolutionView(msgspec.Struct, frozen=True, kw_only=True):
    """One solution, in a list."""

    id: str
    title: str
    mode: str
    """``detecting``, ``on``, ``off`` or ``suspended``."""
    why: str
    """Why it has that mode."""
    risk: str
    """``auto``, ``ask`` or ``manual``."""
    action: str
    origin: str
    """``shipped``; ``own``: the operator's; ``replaced``: the operator's, in the place of a shipped one."""
    runs: int = 0
    """How often it acted."""
    cures: int = 0
    """How often that helped."""
    failures: int = 0
    """How often it did not: the error came back, or the action failed."""
    detected: int = 0
    """How often it would have acted, while it only detected."""
    last_run: float | None = None
    """Unix time in seconds."""

    @property
    def cure_rate(self) -> float | None:
        """Return which part of its runs that have come to an end helped; None before the first."""
        ended = self.cures + self.failures
        return self.cures / ended if ended else None


class RefusedFileView(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is no solution, and why."""

    path: str
    line: int
    """0 if it is not known."""
    reason: str


class SolutionsView(msgspec.Struct, frozen=True, kw_only=True):
    """All solutions, those in trouble first."""

    solutions: tuple[SolutionView, ...] = ()
    refused: tuple[RefusedFileView, ...] = ()
    enabled: bool = True
    """False: HEALING is switched off in config.py, and none acts."""


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """A text that a solution of the operator's had."""

    version: int
    at: float
    actor: str
    """``file``: it was edited outside of Fleetmaster."""
    why: str
    content: str
    """Empty if it was removed."""


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """One time that a solution knew an error, and what came of it."""

    at: float
    node: str
    seen_in: str
    line: str
    action: str
    outcome: str
    detail: str = ""
    actor: str = ""
    ready_ms: int | None = None


class SolutionDetails(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one solution."""

    solution: SolutionView
    path: str
    content: str
    since: float | None = None
    """When it got its mode."""
    changed_by: str = ""
    versions: tuple[VersionView, ...] = ()
    """Newest first."""
    last_runs: tuple[RunView, ...] = ()
    """Newest first."""
    refused: tuple[RefusedFileView, ...] = ()
    """Files of that name that were refused: then it is not what its file says."""


class SolutionHistory(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one solution; newest first."""

    id: str
    versions: tuple[VersionView, ...] = ()
    runs: tuple[RunView, ...] = ()


class ReadingProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a test is."""

    files: int
    read_bytes: int
    all_bytes: int
    matched: int


class MatchedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that the solution knows."""

    node: str
    seen_in: str
    """``stderr`` and ``stdout``: a log; ``exit``, ``report`` and the like: the ledger."""
    at: float | None
    """Unix time in seconds; None if no line before it has a time."""
    line: str
    captures: dict[str, str] = {}


class PatternCost(msgspec.Struct, frozen=True, kw_only=True):
    """One pattern, and what it costs."""

    pattern: str
    matched: int
    ms_per_mb: float


class SolutionTest(msgspec.Struct, frozen=True, kw_only=True):
    """What a solution found in what the fleet has stored."""

    id: str
    title: str
    nodes: int
    """Whose logs were read."""
    files: int
    read_bytes: int
    unread_bytes: int
    """Older logs, for which there was no time or no room."""
    seconds: float
    matched: int
    matched_by_node: dict[str, int] = {}
    lines: tuple[MatchedLine, ...] = ()
    """The first of them, newest first."""
    patterns: tuple[PatternCost, ...] = ()
    would_run: int = 0
    """How often it would have acted, within its limits."""
    held_back: int = 0
    """How often its limits, or the fleet's, would have held it back."""
    others: dict[str, int] = {}
    """Other solutions that know some of these lines, and how many."""
    notes: tuple[str, ...] = ()


class DraftView(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal, which is not active until it is saved."""

    id: str
    fingerprint: str
    content: str
    notes: tuple[str, ...] = ()


class SolutionSaved(msgspec.Struct, frozen=True, kw_only=True):
    """A solution after a change."""

    id: str
    mode: str
    why: str
    version: int = 0
    """0: its text was not changed."""
    path: str = ""
    notes: tuple[str, ...] = ()


class RepairView(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a solution, as ``fleet repairs`` lists it."""

    id: str
    at: float
    """Unix time in seconds."""
    node: str
    """The node's name now, or the one that it had when it was removed."""
    solution: str
    action: str
    outcome: str
    """running, watching, helped, did_not_help, failed, skipped, interrupted, detected, asked, declined, told."""
    detail: str = ""
    seen_in: str = ""
    line: str = ""
    fingerprint: str = ""
    """Of the group of errors; empty if it has none."""
    actor: str = ""
    ready_ms: int | None = None
    """From the action to the node's being ready."""
    finished_at: float | None = None
