"""The intake of errors over real log files: bus, watch over the files, monitor, and what they find."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from master.bus import EventBus
from master.events import NodeExited
from master.ledger.rows.records import Node, ReadinessKind
from master.services.core.directory import NodeDirectory
from master.services.healing.exit_output import ExitOutput
from master.services.healing.library import SolutionLibrary
from master.services.healing.monitor import ErrorMonitor, Finding
from master.services.healing.output_watch import OutputWatch
from master.services.healing.sighting import Sighting
from master.services.healing.sources import ErrorSources
from master.supervision.clock import SystemClock
from master.supervision.inotify import FolderWatch
from master.supervision.last_output import LastOutput
from master.supervision.logs import NodeLogs

SOLUTION = """\
id = "known"
title = "A known error"
applies_to = {seen_in}
patterns = ['''^TRIGGER (?P<what>\\w+)''', '''^ValueError: known (?P<what>\\w+)''']
action = {{name = "notify"}}
[samples]
match = ["TRIGGER this", "ValueError: known this"]
"""


class Grouped:
    """Groups that only remember."""

    def __init__(self) -> None:
        self.sightings: list[Sighting] = []
        self._more = asyncio.Event()

    def take(self, sighting: Sighting) -> str:
        self.sightings.append(sighting)
        self._more.set()
        return f"group{len(self.sightings)}"

    async def until(self, holds: Callable[[], bool], timeout_s: float = 30) -> None:
        async with asyncio.timeout(timeout_s):
            while not holds():
                self._more.clear()
                await self._more.wait()


class Intake:
    """All of it, in one folder."""

    def __init__(self, folder: Path, *, seen_in: str = '["stderr", "exit", "report"]', gather_s: float = 0.1) -> None:
        self.bus, self.clock = EventBus(), SystemClock()
        self.logs = NodeLogs(folder / "logs", max_bytes=5_000_000, files=3)
        (folder / "logs").mkdir()
        (folder / "solutions").mkdir()
        (folder / "solutions" / "known.toml").write_text(SOLUTION.format(seen_in=seen_in))
        self.directory = NodeDirectory(self.bus, self.clock)
        self.library = SolutionLibrary(folder / "solutions", folder / "none")
        self.folders = FolderWatch(gather_s=gather_s)
        self.grouped, self.findings = Grouped(), list[Finding]()
        self.exit_output = ExitOutput(self.bus, self.directory, LastOutput(self.logs))
        self.monitor = ErrorMonitor(self.library, self.grouped, clock=self.clock)
        self.sources = ErrorSources(self.bus, self.exit_output, self.monitor)
        self.watch = OutputWatch(
            bus=self.bus,
            clock=self.clock,
            logs=self.logs,
            directory=self.directory,
            folders=self.folders,
            exit_output=self.exit_output,
            library=self.library,
            monitor=self.monitor,
            unfinished_s=0.3,
        )
        self.monitor.follow(self.findings.append)
        self.library.load()

    def add(self, name: str, readiness: ReadinessKind = ReadinessKind.HANDSHAKE) -> Node:
        now = self.clock.now()
        node = Node(
            id=name, name=name, folder=name, bot_user_id=len(name), readiness=readiness, created_at=now, updated_at=now
        )
        self.directory.put(node)
        return node

    def write(self, name: str, content: str | bytes, *, stdout: bool = False) -> None:
        """Write as a node does: to the end of its own file."""
        with self.logs.paths(name)[0 if stdout else 1].open("ab") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)

    def exit(self, name: str, detail: str = "exit code 1") -> None:
        self.bus.publish(NodeExited(at=self.clock.now(), node_id=name, detail=detail, exit_code=1))

    @property
    def texts(self) -> list[str]:
        return [sighting.text for sighting in self.grouped.sightings]

    async def seen(self, text: str, timeout_s: float = 30) -> Sighting:
        """Wait until an error with this text in it was grouped."""
        await self.grouped.until(lambda: any(text in one for one in self.texts), timeout_s)
        return next(one for one in self.grouped.sightings if text in one.text)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work()) for work in (self.folders.run, self.monitor.run, self.watch.run)]
        await self.folders.watching.wait()
        await self.watch.begun.wait()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            for one in ended:
                if isinstance(one, Exception):
                    raise one
