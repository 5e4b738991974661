"""Restarts while developing (WATCH): a node whose files are changed is started anew, also out of a crash loop."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from master.bus import EventBus
from master.errors import FleetError
from master.events import DirectoryChanged, NodeEnded, NodeFileChanged, NodeVerified, TaskFailed
from master.ledger.rows.records import DesiredState, Node
from master.services.core.directory import NodeDirectory
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

DEBOUNCE_MS, STEP_MS = 500, 100
"""Changes are gathered for as long as they follow each other within a step, and no longer than the first."""
MISSING_RECHECK_S, RETRY_S = 5.0, 60.0
MAX_FOLDERS = 2_000
"""Of one node: each costs the kernel a watch."""
MAX_RESTARTS, WINDOW_S = 10, 60.0
"""A file that restarts its node more often than this is one that the node writes itself."""
_IGNORED = frozenset(
    {
        "__pycache__",
        "node_modules",
        ".git",
        ".hg",
        ".svn",
        ".venv",
        "venv",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        # What nodes of ours write into their folder.
        ".commands",
        ".disabled_cogs",
        ".releases",
        "data",
    }
)
_IGNORED_ENDINGS = (
    *(".log", ".pyc", ".pyo", ".swp", ".swx", ".tmp", "~"),
    *(".db", ".sqlite", ".sqlite3", "-wal", "-shm", "-journal"),
)
_NOT = "!"

Restart = Callable[[str], Awaitable[object]]
"""Restarts the node with that name, as an operator would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What is watched of one node."""

    folder: Path
    roots: tuple[Path, ...]
    ignored: tuple[Path, ...]

    def name_of(self, path: Path) -> str:
        """Return the name of a file whose change restarts the node, from its folder on; empty for any other."""
        if not any(path == root or root in path.parents for root in self.roots):
            return ""
        if any(path == one or one in path.parents for one in self.ignored):
            return ""
        inside = path.relative_to(self.folder) if path.is_relative_to(self.folder) else Path(path.name)
        if not _IGNORED.isdisjoint(inside.parts) or path.name.endswith(_IGNORED_ENDINGS):
            return ""
        return str(inside)


def watched_of(folder: Path, entries: Sequence[str]) -> Watched:
    """Read WATCH: names of files and folders from the node's folder on; those with ``!`` are left out."""
    return Watched(
        folder=folder,
        roots=tuple(Path(os.path.normpath(folder / entry)) for entry in entries if not entry.startswith(_NOT)),
        ignored=tuple(
            Path(os.path.normpath(folder / entry.removeprefix(_NOT))) for entry in entries if entry.startswith(_NOT)
        ),
    )


class Watching:
    """Restart nodes when their files change.

    Parameters
    ----------
    watched
        Returns what is watched of a node; None for nothing.
    """

    def __init__(
        self, *, directory: NodeDirectory, watched: Callable[[Node], Watched | None], bus: EventBus, clock: Clock
    ) -> None:
        self._directory = directory
        self._watched = watched
        self._bus = bus
        self._clock = clock
        self._changed = asyncio.Event()
        """Who is watched may be others by now."""
        self.armed = asyncio.Event()
        """Whether changes are noticed at present."""
        self._waiting: dict[str, str] = {}
        """Nodes that are to be restarted, and the file that was changed."""
        self._restarts: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)
        self._reload_cogs: set[str] = set()
        """Nodes whose process loads its changed cogs by itself, without a restart."""
        bus.on(DirectoryChanged, lambda _event: self._changed.set())
        bus.on(NodeVerified, self._on_verified)
        bus.on(NodeEnded, lambda event: self._reload_cogs.discard(event.node_id))

    def look_again(self) -> None:
        """Look again who is watched: the settings were changed."""
        self._changed.set()

    def _on_verified(self, event: NodeVerified) -> None:
        if event.reloads_cogs:
            self._reload_cogs.add(event.node_id)

    async def run(self, restart: Restart) -> None:
        """Watch until cancelled; nothing is loaded or waited for but a change, while no node has WATCH."""
        busy: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                watched = self._find_watched()
                if not watched:
                    await self._changed.wait()
                    continue
                async for paths in self._changes(watched):
                    self._note(watched, paths)
                    for node_id in self._waiting.keys() - {one for one, task in busy.items() if not task.done()}:
                        busy[node_id] = group.create_task(self._restart(node_id, restart))

    def _find_watched(self) -> dict[str, Watched]:
        found = {node.id: self._watched(node) for node in self._directory}
        return {node_id: watched for node_id, watched in found.items() if watched is not None}

    async def _changes_now(self, watched: Mapping[str, Watched]) -> AsyncIterator[list[Path]]:
        folders, whole = await asyncio.to_thread(_folders_of, list(watched.values()))
        if not folders:
            await self._pause()
            return
        # Imported where it is used, which is nowhere in most fleets.
        from watchfiles import Change, awatch

        stop = asyncio.Event()
        stopping = asyncio.create_task(self._stop_when_changed(stop, whole=whole))
        try:
            self.armed.set()
            async for changes in awatch(
                *folders, watch_filter=None, debounce=DEBOUNCE_MS, step=STEP_MS, stop_event=stop, recursive=False
            ):
                added = [path for change, path in changes if change is Change.added]
                folder_came, passing = await asyncio.to_thread(_look_at_added, added)
                yield [Path(path) for _, path in changes if path not in passing]
                if folder_came:
                    return
        finally:
            self.armed.clear()
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(MISSING_RECHECK_S):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _changes(self, watched: Mapping[str, Watched]) -> AsyncIterator[list[Path]]:
        """Yield the paths that changed, until who is watched changes, or there are other folders to watch."""
        try:
            async for paths in self._changes_now(watched):
                yield paths
        except FileNotFoundError:
            await self._pause()  # A folder that went while it was looked at.
        except OSError as error:
            # The kernel has no watch left, say: an alert, and another try.
            self._bus.publish(TaskFailed(at=self._clock.now(), task="watching", error=str(error)[:400]))
            await asyncio.sleep(RETRY_S)

    async def _stop_when_changed(self, stop: asyncio.Event, *, whole: bool) -> None:
        """Set ``stop`` when who is watched changed, or it is time to look for what was not there."""
        if whole:
            await self._changed.wait()
        else:
            await self._pause()
        stop.set()

    def _note(self, watched: Mapping[str, Watched], paths: Sequence[Path]) -> None:
        for node_id, one in watched.items():
            names = sorted(filter(None, map(one.name_of, paths)))
            if node_id in self._reload_cogs:
                names = [name for name in names if not _is_cog(name)]
            name = next((name for name in names if not self._is_its_own(node_id, name)), "")
            if name:
                self._waiting[node_id] = name + (f" and {len(names) - 1} more" if len(names) > 1 else "")

    def _is_its_own(self, node_id: str, name: str) -> bool:
        """Tell whether a file changes whenever its node was restarted, and say so."""
        times, now = self._restarts[node_id, name], self._clock.monotonic()
        if len(times) == MAX_RESTARTS and now - times[0] < WINDOW_S:
            self._tell(node_id, f"{name} changes whenever it starts, and does not restart it: add '!{name}' to WATCH")
            return True
        times.append(now)
        while len(times) > MAX_RESTARTS:
            times.popleft()
        return False

    def _tell(self, node_id: str, detail: str) -> None:
        self._bus.publish(NodeFileChanged(at=self._clock.now(), node_id=node_id, detail=detail))

    async def _restart(self, node_id: str, restart: Restart) -> None:
        """Restart a node; changes meanwhile have it restarted once more."""
        while (name := self._waiting.pop(node_id, "")) and (node := self._directory.get(node_id)) is not None:
            if node.desired_state is not DesiredState.RUNNING:
                return
            self._tell(node_id, name)
            try:
                await restart(node.name)
            except FleetError as error:
                log.error("a node could not be restarted", extra={"node": node.name, "why": error.message})


def _is_cog(name: str) -> bool:
    """Tell whether a file of a node is a cog, as nodekit loads them."""
    folder, _, file = name.rpartition("/")
    return folder == "cogs" and file.endswith(".py") and not file.startswith("_")


def _folders_of(watched: Sequence[Watched]) -> tuple[list[Path], bool]:
    """Return the folders to watch, and whether all that is to be watched is there. Blocks."""
    found: dict[Path, None] = {}
    whole = True
    for one in watched:
        for root in one.roots:
            if root.is_dir():
                found.update(dict.fromkeys(_below(root, one.ignored)))
            elif root.parent.is_dir():
                # Editors replace a file: its folder tells of that, the file itself would be another one.
                found[root.parent] = None
            whole = whole and root.exists()
    return list(found), whole


def _below(root: Path, ignored: Sequence[Path]) -> Iterator[Path]:
    for count, (top, names, _) in enumerate(os.walk(root), 1):
        folder = Path(top)
        names[:] = [name for name in names if name not in _IGNORED and folder / name not in ignored]
        yield folder
        if count == MAX_FOLDERS:
            log.warning("too many folders to watch", extra={"folder": str(root), "watched": count})
            return


def _look_at_added(paths: Sequence[str]) -> tuple[bool, frozenset[str]]:
    """Tell whether a folder is among new paths, and which are gone again: editors and ``sed -i`` save by such files."""
    has_folder = any(os.path.isdir(path) and os.path.basename(path) not in _IGNORED for path in paths)
    return has_folder, frozenset(path for path in paths if not os.path.lexists(path))
