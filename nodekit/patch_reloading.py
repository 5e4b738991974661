"""Loads cogs anew in the running bot once their files have changed, with the modules that they use; or as before."""

from __future__ import annotations

import ast
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from importlib.machinery import FileFinder
from pathlib import Path
from types import ModuleType

import discord
from discord.ext import commands

from nodekit.bot import HandshakeBot
from nodekit.patch_checking import has_main_guard, own_modules

log = logging.getLogger("node")

_COMMENT = re.compile(rb"#[^\n]*")
_IMPORT = rb"\b(?:from|import)\b(?:[^\n(]|\\\r?\n)*(?:\([^)]*)?\b"
"""What comes before a name in an import, over lines too. To parse a large module in order to find none takes 25 ms."""


class ReloadFailed(Exception):
    """A cog could not be loaded; the text is the end of its traceback."""


class Reloading:
    """One reload of some cogs of a bot.

    Parameters
    ----------
    client
        A HandshakeBot, or any ``commands.Bot``.
    folder
        The node's folder, with links followed.
    names
        Cogs as a patch names them: ``ranks`` or ``cogs.ranks``.
    paths
        The files that the patch changes: modules among them, and modules that import those, are imported anew.
    """

    def __init__(self, client: discord.Client, folder: Path, names: Iterable[str], paths: Sequence[str]) -> None:
        self._client = client
        self._folder = folder
        self._paths = set(paths)
        self.extensions = self._extensions_of(names)
        """Names of the extensions, as discord.py knows them."""
        self._forgotten: dict[str, ModuleType] = {}

    def _extensions_of(self, names: Iterable[str]) -> list[str]:
        """Return the extensions that are loaded anew: those that are named, and loaded ones whose files change."""
        known = set(self._client.extensions) if isinstance(self._client, commands.Bot) else set()
        changed = {_module_name(path) for path in self._paths if path.endswith(".py")}
        found = {self._extension_of(name, known, changed) for name in names}
        return sorted(found | (changed & known))

    def _extension_of(self, wanted: str, known: set[str], changed: set[str]) -> str:
        if isinstance(self._client, HandshakeBot):
            return f"cogs.{wanted.removeprefix('cogs.')}"
        for names in (known, changed):
            fitting = [name for name in sorted(names) if name == wanted or name.rpartition(".")[2] == wanted]
            if fitting:
                return fitting[0]
        return wanted

    def missing(self) -> list[str]:
        """Return the names of cogs that the bot neither has nor gets by the patch, before anything is changed."""
        if not isinstance(self._client, commands.Bot):
            return self.extensions
        files = {_module_name(path) for path in self._paths}
        if isinstance(self._client, HandshakeBot):
            files |= {f"cogs.{name}" for name in self._client.cog_files.find()}
        return [name for name in self.extensions if name not in files and name not in self._client.extensions]

    def will_be_there(self, name: str, files: Mapping[str, bytes]) -> bool:
        """Tell whether an extension's file exists once these files are there, and what else changes is gone."""
        inner = name.replace(".", "/")
        paths = (f"{inner}.py", f"{inner}/__init__.py")
        return any(path in files or (path not in self._paths and (self._folder / path).exists()) for path in paths)

    async def run(self) -> None:
        """Load the cogs.

        Raises
        ------
        ReloadFailed
            One could not be loaded. Call :meth:`undo` once the files are as they were.
        """
        loaded, stale = own_modules(str(self._folder)), self._stale()
        for name in stale:
            self._forget(name)
        self._look_again()
        log.info("loading anew: %s", ", ".join(self.extensions + sorted(stale & loaded.keys())))
        await self._load()

    async def undo(self) -> None:
        """Load the cogs of before, with the modules of before.

        Raises
        ------
        ReloadFailed
        """
        for name in self._stale():
            self._forget(name, keep=False)
        for name, module in self._forgotten.items():
            sys.modules[name] = module
            package, _, last = name.rpartition(".")
            if package in sys.modules:
                setattr(sys.modules[package], last, module)
        self._look_again()
        await self._load()

    async def _load(self) -> None:
        if isinstance(self._client, HandshakeBot):
            names = [name.removeprefix("cogs.") for name in self.extensions]
            changes = await self._client.load_cogs(names, reporting=False)
            if changes.failed:
                name, error = next(iter(changes.failed.items()))
                raise ReloadFailed(f"cog {name} could not be loaded\n{_tail(error)}") from error
        elif isinstance(self._client, commands.Bot):
            for name in self.extensions:
                await self._load_extension(self._client, name)

    async def _load_extension(self, bot: commands.Bot, name: str) -> None:
        path = self._folder / f"{name.replace('.', '/')}.py"
        try:
            if name not in bot.extensions:
                if path.exists():
                    await bot.load_extension(name)
            elif path.exists() or (path.with_suffix("") / "__init__.py").exists():
                await bot.reload_extension(name)
            else:
                await bot.unload_extension(name)
        except commands.ExtensionError as error:
            raise ReloadFailed(f"extension {name} could not be loaded\n{_tail(error.__cause__ or error)}") from error

    def _stale(self) -> set[str]:
        """Return the loaded modules that changed, and those that import such a one; extensions load by themselves."""
        modules = own_modules(str(self._folder))
        stale = {name for name, path in modules.items() if path in self._paths}
        sources = {name: _Source(self._folder / path, name) for name, path in modules.items() if name not in stale}
        while grown := {name for name in sources.keys() - stale if sources[name].imports_one_of(stale)}:
            stale |= grown
        loaded = self._client.extensions if isinstance(self._client, commands.Bot) else {}
        return stale - set(loaded)

    def _forget(self, name: str, *, keep: bool = True) -> None:
        module = sys.modules.pop(name, None)
        package, _, last = name.rpartition(".")
        # ``from package import module`` takes the package's attribute, and looks no further.
        if package in sys.modules and hasattr(sys.modules[package], last):
            delattr(sys.modules[package], last)
        if keep and module is not None:
            self._forgotten.setdefault(name, module)

    def _look_again(self) -> None:
        """Have Python look which files there are in the folders of those that changed, and in no others."""
        for inner in {os.path.dirname(path) for path in self._paths}:
            for place in {str(self._folder / inner), os.path.join(os.getcwd(), inner).rstrip("/")}:
                finder = sys.path_importer_cache.get(place)
                if isinstance(finder, FileFinder):
                    finder.invalidate_caches()


def _module_name(path: str) -> str:
    parts = path.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class _Source:
    """The source of a module, parsed only where it names what is looked for: parsing all of a bot's takes it long."""

    def __init__(self, path: Path, name: str) -> None:
        self._package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        try:
            self._content = path.read_bytes()
        except OSError:
            self._content = b""
        self._imports: set[str] | None = None

    def imports_one_of(self, names: set[str]) -> bool:
        """Tell whether it imports one of these modules, as far as the source says it."""
        if not any(self._may_name(name) for name in names):
            return False
        if self._imports is None:
            self._imports = self._read()
        return not self._imports.isdisjoint(names)

    def _may_name(self, name: str) -> bool:
        # An identifier that is not ASCII can be written in several ways.
        last = name.rpartition(".")[2]
        if not last.isascii() or not self._content.isascii():
            return True
        naming = _IMPORT + re.escape(last.encode()) + rb"\b"
        # A comment may have what ends a list of names.
        return any(re.search(naming, text) is not None for text in (self._content, _COMMENT.sub(b"", self._content)))

    def _read(self) -> set[str]:
        try:
            tree = ast.parse(self._content)
        except (SyntaxError, ValueError):
            return set()
        found: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                package = self._package.split(".")
                above = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                found |= {base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)}
        return found


def _tail(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-2_500:]


def modules_to_try(client: discord.Client, folder: Path, reloading: Reloading, files: Mapping[str, bytes]) -> list[str]:
    """Return the modules that an import check imports: cogs that change or are loaded anew, and what is loaded now.

    The entry file too, where it does its work below ``if __name__ == "__main__"``.
    """
    entry = os.path.relpath(os.path.realpath(getattr(sys.modules["__main__"], "__file__", None) or ""), folder)
    loaded = {path: name for name, path in own_modules(str(folder)).items()}
    changed = [path for path in files if path.endswith(".py")]
    found = [name for name in reloading.extensions if reloading.will_be_there(name, files)]
    found += [loaded[path] for path in changed if path in loaded]
    if isinstance(client, HandshakeBot):
        inner = (Path(path) for path in changed)
        found += [f"cogs.{path.stem}" for path in inner if path.parts[:-1] == ("cogs",) and path.stem[0] != "_"]
    if entry in files and has_main_guard(files[entry]):
        found.append(_module_name(entry))
    return list(dict.fromkeys(found))
