"""The manager of solutions: shows them, and carries out what operators change. Every text that was is kept."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from master.configuration.settings import HealingSettings
from master.durable import replace_file, sync_folder
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.identifiers import new_ulid
from master.ledger.rows import solution_figures, solution_versions
from master.ledger.rows.records import SolutionRun, SolutionVersion
from master.ledger.rows.solution_figures import Figures
from master.services.core.directory import NodeDirectory
from master.services.core.solution_views import (
    DraftView,
    RefusedFileView,
    RunView,
    SolutionDetails,
    SolutionHistory,
    SolutionSaved,
    SolutionsView,
    SolutionTest,
    SolutionView,
    VersionView,
)
from master.services.healing.library import SHIPPED, Entry, SolutionLibrary
from master.services.healing.solution import Solution, SolutionMode
from master.services.repair.drafting import Drafting
from master.services.repair.errors import NoSuchSolution, SolutionRefused
from master.services.repair.modes import Modes
from master.services.repair.solution_text import read_solution
from master.services.repair.testing import SolutionTesting, Tell
from master.supervision.clock import Clock
from master.wording import encodable

log = logging.getLogger(__name__)

BY_HAND = "file"
"""Who wrote a text that was edited outside of Fleetmaster."""
_SHOWN_RUNS, _SHOWN_VERSIONS = 10, 10
_RETRY_S = 30.0
_TROUBLED_FIRST = {"suspended": 0, "detecting": 1, "on": 2, "off": 3}


class SolutionManager:
    """List, show, test, draft, switch and change solutions.

    Parameters
    ----------
    own
        The operator's folder, which need not exist.
    healing
        Returns the settings that are in effect.
    recent_lines
        Returns lines that nodes wrote lately, on which a new text's patterns are timed. It may block.
    """

    def __init__(
        self,
        *,
        own: Path,
        library: SolutionLibrary,
        modes: Modes,
        testing: SolutionTesting,
        drafting: Drafting,
        directory: NodeDirectory,
        ledger: Ledger,
        clock: Clock,
        healing: Callable[[], HealingSettings],
        recent_lines: Callable[[], Sequence[str]],
        shipped: Path = SHIPPED,
    ) -> None:
        self._recent_lines = recent_lines
        self._own, self._shipped = own, shipped
        self._library = library
        self._modes = modes
        self._testing = testing
        self._drafting = drafting
        self._directory = directory
        self._ledger = ledger
        self._clock = clock
        self._healing = healing
        self._changing = asyncio.Lock()
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.settled = asyncio.Event()
        """Set while all that was loaded has been taken in."""
        library.follow(self._on_loaded)

    # What is known

    async def list(self) -> SolutionsView:
        """Return all solutions, those in trouble first.

        Raises
        ------
        LedgerError
        """
        figures = await self._ledger.read(solution_figures.figures)
        views = [self._view(entry, figures.get(name, Figures())) for name, entry in self._library.entries.items()]
        return SolutionsView(
            solutions=tuple(sorted(views, key=_urgency)),
            refused=tuple(self._refused()),
            enabled=self._healing().enabled,
        )

    async def show(self, solution_id: str) -> SolutionDetails:
        """Return all that is known of one solution.

        Raises
        ------
        NoSuchSolution
        LedgerError
        """
        entry = self._find(solution_id)
        figures = await self._ledger.read(solution_figures.figures)
        history = await self._history(solution_id, versions=_SHOWN_VERSIONS, runs=_SHOWN_RUNS)
        state = self._modes.state_of(solution_id)
        return SolutionDetails(
            solution=self._view(entry, figures.get(solution_id, Figures())),
            path=entry.path,
            content=entry.content,
            since=None if state is None else state.since.timestamp(),
            changed_by="" if state is None else state.changed_by,
            versions=history.versions,
            last_runs=history.runs,
            refused=tuple(view for view in self._refused() if Path(view.path).stem == solution_id),
        )

    async def history(self, solution_id: str) -> SolutionHistory:
        """Return the versions and the runs of a solution, also of one that was removed.

        Raises
        ------
        NoSuchSolution
        LedgerError
        """
        found = await self._history(solution_id, versions=100, runs=100)
        if not found.versions and not found.runs:
            self._find(solution_id)
        return found

    def matching(self, typed: str) -> Iterable[SolutionView]:
        """Return the solutions whose id or title contains what was typed, without figures."""
        typed = typed.casefold()
        for name, entry in sorted(self._library.entries.items()):
            if typed in name or typed in entry.solution.title.casefold():
                yield self._view(entry, Figures())

    def text_of(self, solution_id: str) -> str:
        """Return the text of a solution.

        Raises
        ------
        NoSuchSolution
        """
        return self._find(solution_id).content

    async def test(self, solution_id: str, text: str, tell: Tell) -> SolutionTest:
        """Test a solution, or a text that is not saved, on all that the fleet has stored.

        Raises
        ------
        NoSuchSolution, SolutionRefused
        """
        solution = (
            await asyncio.to_thread(read_solution, text)
            if text or not solution_id
            else self._find(solution_id).solution
        )
        return await self._testing.test(solution, tell)

    async def draft(self, fingerprint: str) -> DraftView:
        """Propose a solution for a group of errors; nothing is saved.

        Raises
        ------
        NoSuchErrorGroup
        LedgerError
        """
        return await self._drafting.draft(fingerprint)

    # What operators change

    async def enable(self, solution_id: str, *, now: bool, why: str, actor: str) -> SolutionSaved:
        """Switch a solution on; one of the operator's only detects at first, unless ``now``.

        Raises
        ------
        NoSuchSolution
        LedgerError
        """
        entry = self._find(solution_id)
        before = self._modes.mode_of(solution_id)
        mode = SolutionMode.ON if now or entry.is_shipped else SolutionMode.DETECTING
        if before is mode or before is SolutionMode.ON:
            return self._saved(solution_id, notes=("nothing to change",))
        await self._modes.set(solution_id, mode, why or "switched on", actor)
        return self._saved(solution_id)

    async def disable(self, solution_id: str, *, why: str, actor: str) -> SolutionSaved:
        """Switch a solution off: it neither acts nor detects, until it is enabled.

        Raises
        ------
        NoSuchSolution
        LedgerError
        """
        self._find(solution_id)
        await self._modes.set(solution_id, SolutionMode.OFF, why or "switched off", actor)
        return self._saved(solution_id)

    async def save(self, text: str, *, why: str, actor: str) -> SolutionSaved:
        """Make a text the newest version of the solution whose id it has, new or not; it only detects at first.

        One that comes with Fleetmaster is not written: the operator's takes its place.

        Raises
        ------
        SolutionRefused
            It is none; nothing was changed.
        LedgerError
            Nothing was changed.
        OSError
            The file could not be written.
        """
        text = encodable(text) if text.endswith("\n") else f"{encodable(text)}\n"
        solution = await asyncio.to_thread(self._read, text)
        async with self._changing:
            await self._take_in_edited()
            before = self._library.entries.get(solution.id)
            if before is not None and before.content == text and not self._is_refused(before):
                return self._saved(solution.id, notes=("nothing to change",))
            version = await self._keep(solution.id, text, why=why, actor=actor)
            path = self._path_of(solution.id)
            await asyncio.to_thread(_write, path, text)
            await self._load()
        self._require_in_force(solution, text)
        notes = ["it takes the place of the one that comes with Fleetmaster"] if before and before.is_shipped else []
        return self._saved(solution.id, version=version.version, notes=notes)

    async def take_back(self, solution_id: str, version: int, *, why: str, actor: str) -> SolutionSaved:
        """Make an earlier text the newest version.

        Raises
        ------
        NoSuchSolution
            It never had that version, or was removed by it.
        SolutionRefused, LedgerError, OSError
        """
        found = await self._ledger.read(partial(solution_versions.find, solution_id=solution_id, version=version))
        if found is None or not found.content:
            what = "has no" if found is None else "was removed by"
            raise NoSuchSolution(
                f"{solution_id} {what} version {version}", hint=f"`fleet solutions history {solution_id}` shows them"
            )
        return await self.save(found.content, why=why or f"version {version} again", actor=actor)

    async def remove(self, solution_id: str, *, why: str, actor: str) -> SolutionSaved:
        """Remove a solution of the operator's; one that comes with Fleetmaster is back, if it had taken its place.

        Raises
        ------
        NoSuchSolution
        SolutionRefused
            It comes with Fleetmaster.
        LedgerError, OSError
        """
        entry = self._find(solution_id)
        if entry.is_shipped:
            raise SolutionRefused(
                f"{solution_id} comes with Fleetmaster, and cannot be removed",
                hint=f"`fleet solutions disable {solution_id}` switches it off",
            )
        async with self._changing:
            await self._take_in_edited()
            version = await self._keep(solution_id, "", why=why or "removed", actor=actor)
            await asyncio.to_thread(_remove, Path(entry.path))
            await self._load()
        if solution_id in self._library.entries:
            return self._saved(
                solution_id, version=version.version, notes=("the one that comes with Fleetmaster is back",)
            )
        return SolutionSaved(id=solution_id, mode="removed", why=version.why, version=version.version)

    # Texts that were edited by hand

    async def run(self) -> None:
        """Take in what the library loads, and keep texts that are edited outside of Fleetmaster, until cancelled."""
        self._loop = asyncio.get_running_loop()
        await self._modes.load()
        while True:
            self._news.clear()
            self._modes.meet(self._library.entries.values())
            try:
                async with self._changing:
                    await self._keep_edited()
            except LedgerError as error:
                log.warning("versions of solutions could not be kept", extra={"why": error.message})
                await asyncio.sleep(_RETRY_S)
                continue
            self.settled.set()
            await self._news.wait()
            self.settled.clear()

    async def _take_in_edited(self) -> None:
        """Keep what an editor wrote a moment ago, before it is replaced."""
        await self._load()
        await self._keep_edited()

    def _is_refused(self, entry: Entry) -> bool:
        """Tell whether a solution's file is wrong by now, so that an earlier text of it is in force."""
        return any(refused.path == entry.path for refused in self._library.refused)

    def _on_loaded(self) -> None:
        # The library may be loaded in another thread.
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._news.set)

    async def _keep_edited(self) -> None:
        kept = {version.solution_id: version.content for version in await self._ledger.read(solution_versions.newest)}
        own = {name: entry.content for name, entry in self._library.entries.items() if not entry.is_shipped}
        refused = {Path(view.path).stem for view in self._library.refused}
        for solution_id, content in own.items():
            if kept.get(solution_id, "") != content:
                await self._keep(solution_id, content, why="edited in its file", actor=BY_HAND)
        for solution_id, content in kept.items():
            if content and solution_id not in own and solution_id not in refused:
                await self._keep(solution_id, "", why="its file was removed", actor=BY_HAND)

    # Internals

    async def _keep(self, solution_id: str, content: str, *, why: str, actor: str) -> SolutionVersion:
        """Add a version to the ledger."""
        add = partial(
            solution_versions.add,
            id=new_ulid(self._clock),
            solution_id=solution_id,
            at=self._clock.now(),
            actor=encodable(actor)[:120],
            why=encodable(why)[:400],
            content=content,
        )
        return await self._ledger.write(add)

    def _read(self, text: str) -> Solution:
        return read_solution(text, self._recent_lines())

    async def _load(self) -> None:
        await self._library.reload()
        self._modes.meet(self._library.entries.values())

    def _path_of(self, solution_id: str) -> Path:
        """Return where the operator's text of a solution is, or will be."""
        entry = self._library.entries.get(solution_id)
        return Path(entry.path) if entry is not None and not entry.is_shipped else self._own / f"{solution_id}.toml"

    def _require_in_force(self, solution: Solution, text: str) -> None:
        """Check that the library took what was saved: it may know of faults that no text alone has."""
        entry = self._library.entries.get(solution.id)
        if entry is not None and entry.content == text:
            return
        path = self._path_of(solution.id)
        reasons = [refused.reason for refused in self._library.refused if Path(refused.path).name == path.name]
        raise SolutionRefused(
            f"it is saved, and not in force: {'; '.join(reasons) or 'another file has the same id'}",
            hint=f"the text is in {path}",
        )

    def _find(self, solution_id: str) -> Entry:
        entry = self._library.entries.get(solution_id)
        if entry is None:
            refused = next((view for view in self._refused() if Path(view.path).stem == solution_id), None)
            if refused is not None:
                raise NoSuchSolution(
                    f"the file of {solution_id} is refused: {refused.reason}", hint=f"it is {refused.path}"
                )
            import difflib

            near = difflib.get_close_matches(solution_id[:64], self._library.entries, n=1)
            hint = f"did you mean {near[0]}?" if near else "`fleet solutions list` shows them"
            raise NoSuchSolution(f"there is no solution {solution_id[:64]!r}", hint=hint)
        return entry

    def _refused(self) -> Iterable[RefusedFileView]:
        for file in self._library.refused:
            yield RefusedFileView(path=file.path, line=file.line, reason=file.reason)

    def _view(self, entry: Entry, figures: Figures) -> SolutionView:
        solution = entry.solution
        replaces = not entry.is_shipped and (self._shipped / f"{solution.id}.toml").exists()
        return SolutionView(
            id=solution.id,
            title=solution.title,
            mode=self._modes.mode_of(solution.id).value,
            why=self._modes.why_of(solution.id),
            risk=solution.risk.value,
            action=solution.action_name,
            origin="shipped" if entry.is_shipped else "replaced" if replaces else "own",
            runs=figures.runs,
            cures=figures.cures,
            failures=figures.failures,
            detected=figures.detected,
            last_run=None if figures.last_run is None else figures.last_run.timestamp(),
        )

    def _saved(self, solution_id: str, *, version: int = 0, notes: Iterable[str] = ()) -> SolutionSaved:
        return SolutionSaved(
            id=solution_id,
            mode=self._modes.mode_of(solution_id).value,
            why=self._modes.why_of(solution_id),
            version=version,
            path=self._find(solution_id).path,
            notes=tuple(notes),
        )

    async def _history(self, solution_id: str, *, versions: int, runs: int) -> SolutionHistory:
        kept = await self._ledger.read(partial(solution_versions.list_of, solution_id=solution_id, limit=versions))
        done = await self._ledger.read(partial(solution_figures.recent, solution_id=solution_id, limit=runs))
        return SolutionHistory(
            id=solution_id, versions=tuple(map(_version_view, kept)), runs=tuple(map(self._run_view, done))
        )

    def _run_view(self, run: SolutionRun) -> RunView:
        return RunView(
            at=run.at.timestamp(),
            node=self._directory.name_of(run.node_id),
            seen_in=run.seen_in,
            line=run.line,
            action=run.action,
            outcome=run.outcome,
            detail=run.detail,
            actor=run.actor,
            ready_ms=run.ready_ms,
        )


def _version_view(version: SolutionVersion) -> VersionView:
    return VersionView(
        version=version.version,
        at=version.at.timestamp(),
        actor=version.actor,
        why=version.why,
        content=version.content,
    )


def _urgency(view: SolutionView) -> tuple[int, float, bool, str]:
    """Return what sorts troubled solutions first: suspended ones, then those whose runs do not help."""
    rate = view.cure_rate
    fails = rate is not None and rate < 0.5 and view.mode != "off"
    rank = 0 if view.mode == "suspended" else 1 if fails else 1 + _TROUBLED_FIRST[view.mode]
    return rank, -(view.last_run or 0), view.origin == "shipped", view.id


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    replace_file(path, text.encode())


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    sync_folder(path.parent)
