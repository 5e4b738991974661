"""The cogs of a HandshakeBot: one file each in ``cogs/``, loaded at its start and again when a file has changed."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.machinery import FileFinder
from pathlib import Path

import msgspec
from discord.ext import commands

from handshake.files import read_regular

log = logging.getLogger("node")

_Stamp = tuple[int, int]
"""Size, and time of the last change in nanoseconds."""
DISABLED_NAME = ".disabled_cogs"
"""In the bot's folder: the cogs that are kept off, each with its file's stamp of then."""
_MAX_DISABLED_BYTES = 64 * 1024


@dataclass(slots=True)
class CogChanges:
    """What was loaded, unloaded, and could not be loaded, by the names of the files without ``.py``."""

    loaded: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: dict[str, BaseException] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.loaded or self.removed or self.failed)


class CogFiles:
    """Loads the cogs of one bot.

    Parameters
    ----------
    folder
        The folder ``cogs/``.
    """

    def __init__(self, bot: commands.Bot, folder: Path) -> None:
        self._bot = bot
        self._folder = folder
        self._stamps: dict[str, _Stamp] = {}
        """Of each file as it was when it was last loaded, or failed to."""
        self._disabled_path = folder.parent / DISABLED_NAME
        self._disabled = self._read_disabled()

    def find(self) -> dict[str, _Stamp]:
        """Return the cogs that are there now; names with an underscore in front are helpers."""
        found = {}
        for path in sorted(self._folder.glob("[!_]*.py")):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # An editor replaces files: the next look finds the new one.
            found[path.stem] = (status.st_size, status.st_mtime_ns)
        return found

    def changed(self) -> set[str]:
        """Return the names of those that are new, changed or gone since they were loaded."""
        found = self.find()
        names = (found.keys() | self._stamps.keys()) - self.disabled()
        return {name for name in names if found.get(name) != self._stamps.get(name)}

    def disabled(self) -> set[str]:
        """Return the names of those that are kept off: until their file changes, or somebody loads them by name."""
        if not self._disabled:
            return set()
        found = self.find()
        return {name for name, stamp in self._disabled.items() if found.get(name) == stamp}

    async def disable(self, name: str) -> str:
        """Unload a cog, and keep it off, also in the processes to come; returns why only in this one, or nothing.

        Raises
        ------
        KeyError
            There is no such cog.
        """
        self._disabled[name] = self.find()[name]
        extension = f"cogs.{name}"
        if extension in self._bot.extensions:
            await self._bot.unload_extension(extension)
        self._stamps.pop(name, None)
        return self._write_disabled()

    def _enable(self, name: str) -> None:
        if self._disabled.pop(name, None) is not None:
            problem = self._write_disabled()
            if problem:
                log.warning("cog %s is loaded, and will be off again in the next process: %s", name, problem)

    def _read_disabled(self) -> dict[str, _Stamp]:
        try:
            content = read_regular(self._disabled_path, _MAX_DISABLED_BYTES)
            return msgspec.json.decode(content, type=dict[str, _Stamp])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s cannot be read, so no cog is kept off: %s", self._disabled_path, error)
            return {}

    def _write_disabled(self) -> str:
        """Replace the note; returns what is wrong, or nothing."""
        beside = self._disabled_path.with_name(f"{DISABLED_NAME}.new")
        try:
            if not self._disabled:
                self._disabled_path.unlink(missing_ok=True)
                return ""
            beside.write_bytes(msgspec.json.encode(self._disabled))
            beside.replace(self._disabled_path)
        except OSError as error:
            return f"{DISABLED_NAME} cannot be written: {error.strerror}"
        return ""

    async def load(self, names: Iterable[str]) -> CogChanges:
        """Load cogs, again if they are loaded, and unload those whose file is gone.

        One that cannot be loaded does not affect the others. If it was loaded before, its old code stays.
        """
        changes, found, at_start = CogChanges(), self.find(), not self._stamps
        for name in sorted(names):
            extension = f"cogs.{name}"
            if name not in found:
                self._stamps.pop(name, None)
                if extension in self._bot.extensions:
                    await self._bot.unload_extension(extension)
                    changes.removed.append(name)
                continue
            self._stamps[name] = found[name]
            self._enable(name)
            try:
                await self._load(name, extension, at_start=at_start)
            except Exception as error:
                # Whatever it is: it is the cog's, and for its author to know.
                cause = error.__cause__ or error
                # Where it was compiled is of no interest; the error itself names file and line.
                changes.failed[name] = cause.with_traceback(None) if isinstance(cause, SyntaxError) else cause
            else:
                changes.loaded.append(name)
        return changes

    async def _load(self, name: str, extension: str, *, at_start: bool) -> None:
        if at_start:
            await self._bot.load_extension(extension)
            return
        path = self._folder / f"{name}.py"
        _forget_bytecode(path)
        _look_again("cogs")
        if extension not in self._bot.extensions:
            await self._bot.load_extension(extension)
            return
        # What does not compile leaves the old cog in peace: discord.py would unload it, and load it anew.
        compile(path.read_bytes(), f"cogs/{path.name}", "exec", dont_inherit=True)
        await self._bot.reload_extension(extension)


def _forget_bytecode(path: Path) -> None:
    """Remove a file's cached bytecode: Python takes it for current if the second and the size are the same."""
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)


def _look_again(package: str) -> None:
    """Have Python look which files a package has now. Only there: all of its caches are a megabyte of each node."""
    for entry in getattr(sys.modules.get(package), "__path__", ()):
        finder = sys.path_importer_cache.get(entry)
        if isinstance(finder, FileFinder):
            finder.invalidate_caches()
