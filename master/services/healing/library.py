"""The solutions that there are: those that come with Fleetmaster, and the operator's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from master.services.healing.matching import Matcher
from master.services.healing.solution_reading import (
    CheckAction,
    Entry,
    RefusedFile,
    TextRefused,
    accept_action,
    check_text,
    read_text,
)
from master.supervision.inotify import FolderWatch

__all__ = ["SHIPPED", "Entry", "RefusedFile", "SolutionLibrary"]

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).resolve().parents[3] / "solutions"
"""The folder of those that come with Fleetmaster."""
MOST_FILES = 500
"""In one folder."""


RecentLines = Callable[[], Sequence[str]]


class _Loaded(NamedTuple):
    """What was found in both folders."""

    entries: Mapping[str, Entry]
    refused: tuple[RefusedFile, ...]
    matcher: Matcher
    by_path: Mapping[str, Entry]
    """The last good one of each file."""


def _no_lines() -> Sequence[str]:
    return ()


class SolutionLibrary:
    """Load solutions; the operator's take the place of shipped ones with the same id.

    Parameters
    ----------
    own
        The operator's folder, which need not exist.
    check_action
        Returns why a solution's action is wrong; empty if it is not.
    recent_lines
        Returns lines that nodes wrote lately, on which an own solution's patterns are timed. It may block.
    """

    def __init__(
        self,
        own: Path,
        shipped: Path = SHIPPED,
        *,
        check_action: CheckAction = accept_action,
        recent_lines: RecentLines = _no_lines,
    ) -> None:
        self._own, self._shipped = own, shipped
        self._check_action, self._recent_lines = check_action, recent_lines
        self.entries: Mapping[str, Entry] = {}
        """By id, in the order of their ids."""
        self.refused: tuple[RefusedFile, ...] = ()
        self.matcher = Matcher()
        """Of all solutions that there are, whether they may act or not."""
        self._by_path: Mapping[str, Entry] = {}
        self._followers = list[Callable[[], None]]()
        self._changed = asyncio.Event()
        self.watching = asyncio.Event()
        """Set while it runs: a change from now on is taken up."""
        self._loading = asyncio.Lock()

    def follow(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after solutions were loaded anew."""
        self._followers.append(changed)

    def load(self) -> None:
        """Read both folders; a file that is wrong is refused alone. Blocks; followers are called in this thread."""
        self._take(self._read())

    async def reload(self) -> None:
        """Read both folders in another thread; the event loop goes on meanwhile."""
        async with self._loading:
            self._take(await asyncio.to_thread(self._read))

    async def run(self, folders: FolderWatch) -> None:
        """Load solutions again whenever one of the files changes, until cancelled.

        Parameters
        ----------
        folders
            Runs as long as this does.
        """
        await asyncio.to_thread(self._make_folder)
        for folder in (self._shipped, self._own):
            folders.watch(folder, self._note_change)
        self.watching.set()
        # What changed since the master began, and before the folders were watched.
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.reload()

    def _note_change(self, names: frozenset[str]) -> None:
        if not names or any(_is_solution(name) for name in names):
            self._changed.set()

    def _take(self, loaded: _Loaded) -> None:
        before, told = self.entries, set(self.refused)
        self.entries, self.refused, self.matcher, self._by_path = loaded
        for refused in self.refused:
            if refused not in told:
                log.warning("a solution is refused", extra={"file": refused.path, "why": str(refused)})
        if before != self.entries:
            log.info("solutions are loaded", extra={"count": len(self.entries), "refused": len(self.refused)})
        for changed in self._followers:
            changed()

    # In another thread

    def _make_folder(self) -> None:
        """Make the operator's folder: one that is not there would have to be looked for every two seconds."""
        try:
            self._own.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            log.warning("the folder of solutions cannot be made", extra={"folder": str(self._own), "why": str(error)})

    def _read(self) -> _Loaded:
        shipped, shipped_refused = self._read_folder(self._shipped, _no_lines, is_shipped=True)
        # Once for all files, and not at all if none has changed.
        own, own_refused = self._read_folder(self._own, cache(self._recent_lines), is_shipped=False)
        entries = {entry.solution.id: entry for entry in (*shipped, *own)}
        entries = dict(sorted(entries.items()))
        by_path = {entry.path: entry for entry in (*shipped, *own)}
        # The patterns that were compiled stay so while nothing changed.
        same = entries == self.entries
        matcher = self.matcher if same else Matcher(entry.solution for entry in entries.values())
        return _Loaded(entries, (*shipped_refused, *own_refused), matcher, by_path)

    def _read_folder(
        self, folder: Path, recent_lines: RecentLines, *, is_shipped: bool
    ) -> tuple[list[Entry], list[RefusedFile]]:
        entries, refused = dict[str, Entry](), list[RefusedFile]()
        try:
            paths = sorted(path for path in folder.iterdir() if _is_solution(path.name))
        except FileNotFoundError:
            return [], []
        except OSError as error:
            # What was read before stays in force: the folder may be back in a moment.
            reason = f"the folder cannot be read: {error.strerror or error}"
            refused.append(RefusedFile(path=str(folder), line=0, reason=reason, last_stays=bool(self._by_path)))
            return [entry for entry in self._by_path.values() if entry.is_shipped == is_shipped], refused
        if len(paths) > MOST_FILES:
            reason = f"{len(paths)} files; the first {MOST_FILES} are read"
            refused.append(RefusedFile(path=str(folder), line=0, reason=reason))
        for path in paths[:MOST_FILES]:
            found = self._read_file(path, recent_lines, is_shipped=is_shipped)
            if isinstance(found, Entry) and (first := entries.get(found.solution.id)):
                reason = f"{Path(first.path).name} has the id `{found.solution.id}` too"
                refused.append(RefusedFile(path=str(path), line=0, reason=reason))
            elif isinstance(found, Entry):
                entries[found.solution.id] = found
            else:
                last = self._by_path.get(str(path))
                stays = last is not None and last.solution.id not in entries
                if last is not None and stays:
                    entries[last.solution.id] = last
                refused.append(RefusedFile(path=found.path, line=found.line, reason=found.reason, last_stays=stays))
        return list(entries.values()), refused

    def _read_file(self, path: Path, recent_lines: RecentLines, *, is_shipped: bool) -> Entry | RefusedFile:
        try:
            text = read_text(path)
        except TextRefused as refused:
            return RefusedFile(path=str(path), line=refused.line, reason=refused.reason)
        last = self._by_path.get(str(path))
        if last is not None and last.content == text:
            return last
        return check_text(text, str(path), is_shipped=is_shipped, check_action=self._check_action, lines=recent_lines())


def _is_solution(name: str) -> bool:
    # Editors write hidden files beside the one that is edited.
    return name.endswith(".toml") and not name.startswith(".")
