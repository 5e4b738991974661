"""Loads, replaces and unloads the cogs of one bot, each by itself.

discord.py's own extensions are not used: a setup that is cancelled leaves what it has added, cogs that a helper module
defines are not taken out with their extension, and an import that hangs stops the event loop.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import pkgutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import ModuleType, TracebackType
from typing import Any, Protocol

from discord import app_commands
from discord.ext.commands import Bot, Cog

from master.services.upkeep.cogs import CogBroken

log = logging.getLogger(__name__)

IMPORT_TIMEOUT_S, SETUP_TIMEOUT_S, UNLOAD_TIMEOUT_S = 10.0, 10.0, 5.0
IMPORTS_AT_ONCE = 2
"""Each is a thread: one that hangs does not hold up the others, and more cost memory and gain nothing."""
_PACKAGE = "master.cogs"
"""By its name alone: cogs import the bot."""
_TRACE_FRAMES = 3


def cog_names() -> tuple[str, ...]:
    """Return the names of all cogs: the modules of ``master.cogs`` that are not private."""
    found = (module.name for module in pkgutil.iter_modules(importlib.import_module(_PACKAGE).__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


class TooLate(Exception):
    """A setup that was given up went on, and wanted to add a cog."""


@dataclass(slots=True)
class _Part:
    """What one extension has added to the bot."""

    name: str
    module: ModuleType | None = None
    cogs: list[Cog] = field(default_factory=list)
    is_over: bool = False

    def modules(self) -> set[str]:
        """Return the modules whose code is its own."""
        return {f"{_PACKAGE}.{self.name}", *(type(cog).__module__ for cog in self.cogs)}


_loading: ContextVar[_Part | None] = ContextVar("loading", default=None)


def note_cog(cog: Cog) -> None:
    """Note that the extension that is being loaded adds a cog.

    Raises
    ------
    TooLate
        Its setup was given up.
    """
    part = _loading.get()
    if part is None:
        return
    if part.is_over:
        raise TooLate(f"the setup of {part.name} was given up")
    part.cogs.append(cog)


class Registering(Protocol):
    """Has Discord show commands."""

    def commands(self, cog: str) -> tuple[str, ...]:
        """Return the names of a cog's commands, also of one that was loaded once."""
        ...

    async def again(self) -> None:
        """Have Discord show those of the cogs that are there."""
        ...


class CogLoader:
    """Loads cogs into one bot."""

    registration: Registering

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._parts: dict[str, _Part] = {}
        self._importing: dict[str, Future[ModuleType]] = {}
        self._turns = asyncio.Semaphore(IMPORTS_AT_ONCE)

    def names(self) -> tuple[str, ...]:
        """Return the names of all cogs that there are."""
        return cog_names()

    async def load(self, name: str) -> None:
        """Load a cog, whole or not at all.

        Raises
        ------
        CogBroken
        """
        # Tried again, it is read again: its file may have been mended.
        work = _import_anew if name in self._importing else importlib.import_module
        module = await self._import(name, lambda: work(f"{_PACKAGE}.{name}"))
        await self._set_up(name, module)

    async def unload(self, name: str) -> None:
        """Take a cog out, with its listeners, commands and tasks."""
        part = self._parts.pop(name, None)
        if part is not None:
            await self._take_out(part, logging.ERROR)

    async def reload(self, name: str) -> None:
        """Load a cog's code anew, with the private modules that no other cog uses.

        The new code is imported before the old is touched. If it cannot be set up, the old code is set up again.

        Raises
        ------
        CogBroken
        """
        old = self._parts[name]
        try:
            module = await self._import(name, lambda: _import_anew(f"{_PACKAGE}.{name}"))
        except CogBroken as error:
            raise CogBroken(name, error.why, old_runs=True, trace=error.trace) from error
        await self.unload(name)
        try:
            await self._set_up(name, module)
        except CogBroken as error:
            if old.module is None:
                raise
            await self._set_up(name, old.module)
            raise CogBroken(name, error.why, old_runs=True, trace=error.trace) from error

    def commands(self, name: str) -> tuple[str, ...]:
        """Return the names of a cog's slash commands, also of one that was loaded once."""
        return self.registration.commands(name)

    async def register(self) -> None:
        """Have Discord show the commands of the cogs that are there."""
        await self.registration.again()

    def commands_of(self, name: str) -> list[app_commands.Command[Any, ..., Any] | app_commands.Group]:
        """Return the top-level slash commands of a cog that is loaded."""
        part = self._parts.get(name)
        return [] if part is None else self._in_tree(part.cogs)

    def loaded(self) -> list[str]:
        """Return the cogs that are loaded."""
        return list(self._parts)

    def owner_of(self, error: BaseException, binding: object = None) -> str:
        """Return the cog whose code raised an error; empty if none of them did.

        Parameters
        ----------
        binding
            The cog or group that a command belongs to, if it was a command.
        """
        inside = {frame.f_globals.get("__name__", "") for frame in _frames(error.__traceback__)}
        for name, part in self._parts.items():
            if any(binding is cog for cog in part.cogs) or part.modules() & inside:
                return name
        return ""

    async def _import(self, name: str, work: Callable[[], ModuleType]) -> ModuleType:
        earlier = self._importing.get(name)
        if earlier is not None and not earlier.done():
            raise CogBroken(name, "its import has still not ended")
        async with self._turns:
            self._importing[name] = future = _in_thread(work)
            try:
                async with asyncio.timeout(IMPORT_TIMEOUT_S):
                    return await asyncio.wrap_future(future)
            except TimeoutError as error:
                if not future.done():
                    raise CogBroken(name, f"its import did not end within {IMPORT_TIMEOUT_S:g} s") from None
                raise _broken(name, error) from error
            except Exception as error:
                raise _broken(name, error) from error

    async def _set_up(self, name: str, module: ModuleType) -> None:
        part = _Part(name, module)
        token = _loading.set(part)
        task = asyncio.create_task(_call_setup(module, self._bot), name=f"setup of cog {name}")
        _loading.reset(token)
        try:
            done, _ = await asyncio.wait({task}, timeout=SETUP_TIMEOUT_S)
            if done:
                task.result()
                self._parts[name] = part
                return
            error: Exception = CogBroken(name, f"its setup did not end within {SETUP_TIMEOUT_S:g} s")
        except Exception as failed:
            error = _broken(name, failed)
        finally:
            part.is_over = True
            # Whoever ignores this is not waited for; it can add nothing more.
            task.cancel()
        # What was loaded in part may well not know how to end.
        await self._take_out(part, logging.DEBUG)
        raise error

    async def _take_out(self, part: _Part, level: int) -> None:
        part.is_over = True
        for cog in part.cogs:
            taking = asyncio.ensure_future(self._take_cog_out(cog))
            _, stuck = await asyncio.wait({taking}, timeout=UNLOAD_TIMEOUT_S)
            if stuck:
                taking.cancel()
                log.error("a cog was not unloaded in time", extra={"cog": part.name})
            elif (error := taking.exception()) is not None:
                log.log(level, "a cog was not unloaded well", extra={"cog": part.name}, exc_info=error)

    async def _take_cog_out(self, cog: Cog) -> None:
        # discord.py would remove a group by the name of its cog.
        for command in self._in_tree([cog]):
            self._bot.tree.remove_command(command.name)
        if self._bot.get_cog(cog.qualified_name) is cog:
            await self._bot.remove_cog(cog.qualified_name)
            return
        # It was added in part only, as when one of its commands has a name that is taken: discord.py undoes nothing.
        for event, listener in cog.get_listeners():
            self._bot.remove_listener(listener, event)
        await cog.cog_unload()

    def _in_tree(self, cogs: list[Cog]) -> list[app_commands.Command[Any, ..., Any] | app_commands.Group]:
        mine = {id(command) for cog in cogs for command in (*cog.get_app_commands(), cog.app_command)}
        return [
            command
            for command in self._bot.tree.get_commands()
            if id(command) in mine and not isinstance(command, app_commands.ContextMenu)
        ]


async def _call_setup(module: ModuleType, bot: Bot) -> None:
    try:
        await module.setup(bot)
    except (SystemExit, KeyboardInterrupt) as error:
        # In a task either would end the event loop.
        raise RuntimeError(f"it raised {type(error).__name__}") from error


def _broken(name: str, error: BaseException) -> CogBroken:
    if isinstance(error, CogBroken):
        return error
    frames = traceback.format_list(traceback.extract_tb(error.__traceback__)[-_TRACE_FRAMES:])
    why = f"{type(error).__name__}: {error}"[:400]
    log.debug("a cog failed", extra={"cog": name}, exc_info=error)
    return CogBroken(name, why, trace="".join([*frames, why]))


def _frames(trace: TracebackType | None) -> Iterator[Any]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _in_thread(work: Callable[[], ModuleType]) -> Future[ModuleType]:
    """Import in a daemon thread: unlike an executor's, one that hangs does not keep the process from ending."""
    future: Future[ModuleType] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)
        except BaseException as error:
            # Raised again in the event loop, it would end the master.
            future.set_exception(ImportError(f"it raised {type(error).__name__}"))

    threading.Thread(target=run, name="cog import", daemon=True).start()
    return future


def _import_anew(full: str) -> ModuleType:
    """Import a module and its own helpers from their files; on a failure what was there before stays."""
    importlib.invalidate_caches()
    old = {name: sys.modules.pop(name) for name in (full, *own_helpers(full)) if name in sys.modules}
    try:
        return importlib.import_module(full)
    except BaseException:
        sys.modules.update(old)
        raise


def own_helpers(full: str) -> set[str]:
    """Return the private modules of ``master.cogs`` that only this cog uses, directly or through one another."""
    uses = {name: _used_by(module) for name, module in list(sys.modules.items()) if name.startswith(f"{_PACKAGE}.")}
    own = {full}
    while True:
        more = {
            name
            for name in uses
            if name.startswith(f"{_PACKAGE}._")
            and name not in own
            and (users := {user for user, used in uses.items() if name in used and user != name})
            and users <= own
        }
        if not more:
            return own - {full}
        own |= more


def _used_by(module: ModuleType) -> set[str]:
    return {str(getattr(value, "__module__", "")) for value in list(vars(module).values())}
