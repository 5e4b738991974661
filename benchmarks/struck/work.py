"""The work of a bot that the benchmark ``heal`` strikes: a cog, copied into its ``cogs/``, the same for all contenders.

Five times a second it does its work, and touches the file ``beat`` if that went well. SIGUSR1 has it read ``fault`` and
break like that. What the work needs lies in the bot's folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from discord.ext import commands

BEAT_S = 0.2
LEAK_BYTES = 4 * 2**20
"""With each beat: 20 MB a second."""
MOST_LEAKS = 60
FOLDER = Path(__file__).resolve().parent.parent
BEAT, STRUCK, STALE, NEEDS = (FOLDER / name for name in ("beat", "struck", "stale", "needs"))


class CogBroken(Exception):
    """Its state in memory is broken: each command fails until the cog is loaded anew."""


class StaleSession(Exception):
    """What it has of this session is of no use: only another session helps."""


class Work(commands.Cog):
    """Works, and breaks when it is told to."""

    def __init__(self, bot: commands.Bot) -> None:
        self.bot = bot
        self._is_broken = False
        self._is_waiting = False
        self._leaked: list[bytearray] | None = None
        self._forgotten: sqlite3.Connection | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def cog_load(self) -> None:
        """Begin to work."""
        with contextlib.closing(_database()) as database:
            database.execute("CREATE TABLE IF NOT EXISTS work (at REAL)")
        (FOLDER / "pid").write_text(str(os.getpid()))
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._strike)
        self._keep(self._beat())

    async def cog_unload(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _beat(self) -> None:
        while True:
            self.bot.dispatch("work")
            await asyncio.sleep(BEAT_S)

    @commands.Cog.listener()
    async def on_work(self) -> None:
        """Do the work."""
        # Without a connection there is no work, and no session to be told from another.
        if self._is_waiting or self.bot.ws is None or not self._session():
            return
        if self._is_broken:
            raise CogBroken("the state of cogs.work is broken")
        if STALE.exists() and STALE.read_text() == self._session():
            raise StaleSession("what is known of this session is of no use")
        if NEEDS.exists():
            importlib.invalidate_caches()
            importlib.import_module("heal_extra")
        if self._leaked is not None:
            if len(self._leaked) >= MOST_LEAKS:
                raise MemoryError
            self._leaked.append(bytearray(b"x") * LEAK_BYTES)
        if self._forgotten is not None:
            with contextlib.closing(_database()) as database:
                database.execute("INSERT INTO work VALUES (?)", (time.time(),))
        BEAT.touch()

    @commands.Cog.listener()
    async def on_save(self) -> None:
        """Fail to save something: the disk is full."""
        raise OSError(28, "No space left on device", str(FOLDER / "saved.json"))

    def _session(self) -> str:
        return str(getattr(self.bot.ws, "session_id", None) or "")

    # Faults

    def _strike(self) -> None:
        fault, number = (FOLDER / "fault").read_text().split()
        faults: dict[str, Callable[[], None]] = {
            "exception": self._end_with_exception,
            "hang": self._hang,
            "stuck_shutdown": self._get_stuck,
            "memory_leak": self._leak,
            "broken_cog": self._break,
            "stale_session": self._spoil_session,
            "missing_module": NEEDS.touch,
            "sqlite_locked": self._lock,
            "disk_full": self._fill,
            "rate_limits": self._send,
        }
        STRUCK.write_text(number)
        faults[fault]()

    def _end_with_exception(self) -> None:
        try:
            raise ValueError("the shop has a price of None")
        except ValueError:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    def _hang(self) -> None:
        time.sleep(3600)

    def _get_stuck(self) -> None:
        """Hang as a bot does that waits for a thread at its end: SIGTERM is taken, and nothing comes of it."""
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(-1)
        while True:
            time.sleep(3600)

    def _leak(self) -> None:
        self._leaked = []

    def _break(self) -> None:
        self._is_broken = True

    def _spoil_session(self) -> None:
        STALE.write_text(self._session())
        self._end_with_exception()

    def _lock(self) -> None:
        self._forgotten = _database()
        self._forgotten.execute("BEGIN EXCLUSIVE")

    def _fill(self) -> None:
        for _ in range(5):
            self.bot.dispatch("save")

    def _send(self) -> None:
        """Send messages while Discord answers 429; it works again once all are sent."""
        self._is_waiting = True

        async def send() -> None:
            channel = self.bot.get_partial_messageable(int((FOLDER / "channel").read_text()))
            for number in range(3):
                await channel.send(f"news {number}")
            self._is_waiting = False

        self._keep(send())


def _database() -> sqlite3.Connection:
    return sqlite3.connect(FOLDER / "work.db", timeout=0.05, isolation_level=None)


async def setup(bot: commands.Bot) -> None:
    """Add the cog."""
    await bot.add_cog(Work(bot))
