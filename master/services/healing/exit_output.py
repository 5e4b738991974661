"""What processes wrote last, read once for all who tell of their ends: crash watch and error monitor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from master.bus import EventBus
from master.events import NodeEnded, NodeExited
from master.services.core.directory import NodeDirectory
from master.supervision.last_output import LastOutput, OutputMark

READ_AFTER_S = 0.02
"""A successor that is due at once has been started by then: nothing on its way waits for a file."""
Ended = Callable[[NodeEnded, OutputMark], None]


class ExitOutput:
    """Mark where each process's output ends, and read the end of it after an exit that nobody asked for.

    Build it before those that ask it: who subscribes first is called first.
    """

    def __init__(self, bus: EventBus, directory: NodeDirectory, last_output: LastOutput) -> None:
        self._directory = directory
        self._last_output = last_output
        self._marks: dict[str, OutputMark] = {}
        self._reading: dict[str, asyncio.Task[list[str]]] = {}
        self._followers = list[Ended]()
        bus.on(NodeEnded, self._on_ended)

    def follow(self, ended: Ended) -> None:
        """Call ``ended``, which must not block, with each end of a process and the sizes of its logs by then."""
        self._followers.append(ended)

    def reading_of(self, event: NodeExited) -> asyncio.Task[list[str]]:
        """Return what reads the last lines of the process that ended, tokens hidden. For handlers of that event."""
        return self._reading[event.node_id]

    def _on_ended(self, event: NodeEnded) -> None:
        # On the restart path: the sizes are asked for, and nothing is read.
        name = self._directory.name_of(event.node_id)
        begin, end = self._marks.get(event.node_id), self._last_output.mark(name)
        self._marks[event.node_id] = end
        for ended in self._followers:
            ended(event, end)
        if isinstance(event, NodeExited):
            reading = asyncio.get_running_loop().create_task(self._read(name, begin, end))
            self._reading[event.node_id] = reading
            reading.add_done_callback(lambda done: self._forget(event.node_id, done))

    async def _read(self, name: str, begin: OutputMark | None, end: OutputMark) -> list[str]:
        await asyncio.sleep(READ_AFTER_S)
        return await asyncio.to_thread(self._last_output.read, name, begin, end)

    def _forget(self, node_id: str, done: asyncio.Task[list[str]]) -> None:
        if self._reading.get(node_id) is done:
            del self._reading[node_id]
