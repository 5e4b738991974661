"""People who write and use commands all the time, and what became of each: handled once, twice, late, or never."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from master.demonstration.stage import Stage
from sandbox import ApplicationDidNotRespond, BotHandle, SandboxError

MESSAGES_A_SECOND = 10.0
"""Each is an event for every bot."""
COMMANDS_A_SECOND = 5.0
"""One bot after the other."""
CHANNEL = "events"
LATE_S = 5.0
"""How long after the last message a bot may still handle it."""


class Handled(NamedTuple):
    """A line of a bot's file ``handled``."""

    version: int
    message: int
    at: float


@dataclass(slots=True)
class Tally:
    """What became of the traffic of a stretch."""

    events: int = 0
    lost: int = 0
    doubled: int = 0
    slowest_s: float = 0.0
    """From the sending of an event until a bot handled it."""
    commands: int = 0
    unanswered: int = 0
    """Commands of which Discord says "The application did not respond"."""
    lost_by: dict[str, int] = field(default_factory=dict)


class Traffic:
    """Writes in a channel that all bots see, and uses their commands.

    Parameters
    ----------
    bots
        By name.
    folders
        Of the bots, by name.
    """

    def __init__(self, stage: Stage, bots: Mapping[str, BotHandle], folders: Mapping[str, Path]) -> None:
        self._stage = stage
        self._bots = bots
        self._folders = folders
        self._channel = stage.guild.create_channel(CHANNEL)
        self._sent: dict[int, float] = {}
        self._commands = 0
        self._unanswered: list[str] = []
        self._asking: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[Tally]:
        """Send throughout the block; the tally is filled in at its end."""
        self._sent.clear()
        self._unanswered.clear()
        self._commands, tally = 0, Tally()
        senders = [asyncio.create_task(self._write()), asyncio.create_task(self._ask_in_turn())]
        try:
            yield tally
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)
            await asyncio.gather(*self._asking, return_exceptions=True)
        await self._count(tally)

    async def until_handled_by(self, version: int, *, since: float, timeout_s: float) -> float:
        """Wait until each bot handled an event with that version of its code; returns when the last one did first.

        Parameters
        ----------
        since
            Unix time; what was handled before does not count.

        Raises
        ------
        TimeoutError
        """
        deadline = time.monotonic() + timeout_s
        while True:
            firsts = {name: self._first(name, version, since) for name in self._bots}
            known = [first for first in firsts.values() if first is not None]
            if len(known) == len(firsts):
                return max(known)
            if time.monotonic() > deadline:
                left = [name for name, first in firsts.items() if first is None]
                raise TimeoutError(f"not on version {version} after {timeout_s:g} s: {', '.join(left)}")
            await asyncio.sleep(0.1)

    def _first(self, name: str, version: int, since: float) -> float | None:
        lines = handled(self._folders[name])
        return next((line.at for line in lines if line.version == version and line.at >= since), None)

    async def _write(self) -> None:
        for number in itertools.count():
            began = time.monotonic()
            at = time.time()
            message = await self._stage.operator.sends(self._channel, f"event {number}")
            self._sent[message.id] = at
            await asyncio.sleep(max(0.0, began + 1 / MESSAGES_A_SECOND - time.monotonic()))

    async def _ask_in_turn(self) -> None:
        for name in itertools.cycle(self._bots):
            asking = asyncio.create_task(self._ask(name))
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
            await asyncio.sleep(1 / COMMANDS_A_SECOND)

    async def _ask(self, name: str) -> None:
        self._commands += 1
        try:
            await self._stage.operator.runs_command(self._stage.office, self._bots[name], "version")
        except (ApplicationDidNotRespond, SandboxError):
            self._unanswered.append(name)

    async def _count(self, tally: Tally) -> None:
        """Wait for the bots to handle what was sent last, then count."""
        deadline = time.monotonic() + LATE_S
        # Files of other processes have no event that counts for all contenders.
        while time.monotonic() < deadline and any(self._missing(name) for name in self._bots):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        for name in self._bots:
            lines = [line for line in handled(self._folders[name]) if line.message in self._sent]
            times = Counter(line.message for line in lines)
            tally.doubled += sum(count - 1 for count in times.values())
            tally.slowest_s = max([tally.slowest_s, *(line.at - self._sent[line.message] for line in lines)])
            if missing := len(self._sent) - len(times):
                tally.lost_by[name] = missing
        tally.events = len(self._sent) * len(self._bots)
        tally.lost = sum(tally.lost_by.values())
        tally.commands, tally.unanswered = self._commands, len(self._unanswered)

    def _missing(self, name: str) -> bool:
        return not self._sent.keys() <= {line.message for line in handled(self._folders[name])}


def handled(folder: Path) -> list[Handled]:
    """Return what a bot says that it handled; the last line may be half written."""
    try:
        lines = (folder / "handled").read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    words = [line.split() for line in lines if line.endswith("\n")]
    return [Handled(int(version), int(message), float(at)) for version, message, at in words]
