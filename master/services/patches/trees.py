"""The files of a bot, before and after, as a patch is made from them. The functions block."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar

from handshake.files import read_regular
from handshake.patch_bundle import BundleError, check_path
from handshake.patch_document import MAX_UNPACKED_BYTES
from master.errors import ExitCode
from master.services.patches.errors import PatchError

MAX_FILES = 20_000
_DATA = (
    *("*.db", "*.db-*", "*.sqlite", "*.sqlite3", "*.sqlite-*", "*.sqlite3-*", "*.log", "*.log.*", "*.pid", "*.sock"),
    *("*.pickle", "*.pkl", "*.bak", "*.tmp", "*.swp", "*~"),
)
_FOLDERS = {
    **dict.fromkeys((".git", ".hg", ".svn"), "version control"),
    **dict.fromkeys((".releases", ".fleet"), "the node's own"),
    **dict.fromkeys((".venv", "venv", "node_modules"), "installed packages"),
    **dict.fromkeys(("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"), "cache"),
    "logs": "data",
}
_NAMES = {"node.json": "the node's identity", ".commands": "the node's own", ".disabled_cogs": "the node's own"}
_QUIET = frozenset(
    {"cache", "version control", "installed packages", "the node's own", "the node's identity", "a patch"}
)


class SourceRefused(PatchError):
    """A folder or a file that a patch is to be made from cannot be used."""

    code: ClassVar[str] = "source_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class SourceMissing(PatchError):
    """There is no such folder, file or commit."""

    code: ClassVar[str] = "source_missing"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


@dataclass(frozen=True)
class SourceFile:
    """One file, whose content is read when it is wanted.

    Parameters
    ----------
    length
        Bytes, as the folder or the commit says.
    identity
        Equal for files of equal content; empty: not known without reading them.
    """

    length: int
    executable: bool
    read: Callable[[], bytes]
    identity: str = ""

    @cached_property
    def content(self) -> bytes:
        """The whole content."""
        return self.read()

    @cached_property
    def sha256(self) -> str:
        """The content's digest."""
        return hashlib.sha256(self.content).hexdigest()

    def is_like(self, other: SourceFile) -> bool:
        """Tell whether two files have the same content and may be executed alike."""
        if self.length != other.length or self.executable != other.executable:
            return False
        if self.identity and other.identity:
            return self.identity == other.identity
        return self.content == other.content


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a bot by their paths, without what no patch should carry.

    Parameters
    ----------
    left_out
        Paths of files and folders that were left out, with the reason.
    is_tracked
        It is of a commit: what is missing in it was taken away on purpose.
    """

    files: Mapping[str, SourceFile]
    left_out: Mapping[str, str] = field(default_factory=dict)
    is_tracked: bool = False


def reason_to_leave_out(path: str) -> str:
    """Return why a file belongs into no patch; empty if it may."""
    pure = PurePosixPath(path)
    for part in pure.parts[:-1]:
        if part.casefold() in _FOLDERS:
            return _FOLDERS[part.casefold()]
    name = pure.name.casefold()
    if name in (".env.example", ".env.sample", ".env.template"):
        return "no patch may bring a file called .env*"
    if name.startswith(".env"):
        return "secrets"
    if name in _NAMES:
        return _NAMES[name]
    if name.endswith((".pyc", ".pyo")):
        return "cache"
    if name.endswith(".fleetpatch"):
        return "a patch"
    if any(fnmatch(name, pattern) for pattern in _DATA):
        return "data"
    try:
        check_path(path)
    except BundleError as error:
        return str(error)
    return ""


def is_worth_telling(reason: str) -> bool:
    """Tell whether somebody may wonder that such a file was left out."""
    return reason not in _QUIET


def folder_tree(folder: Path) -> Tree:
    """Return what a folder has now. Links are left out: they may lead out of it.

    Raises
    ------
    SourceMissing, SourceRefused
    OSError
        Something in it cannot be read.
    """
    if not folder.is_dir():
        raise SourceMissing(f"there is no folder {folder}", hint="give the folder of a bot, with its bot.py in it")
    files, left_out = dict[str, SourceFile](), dict[str, str]()

    def refuse(error: OSError) -> None:
        raise error

    for root, folders, names in os.walk(folder, onerror=refuse):
        at = Path(root).relative_to(folder)
        for name in sorted(folders):
            if name.casefold() in _FOLDERS or Path(root, name).is_symlink():
                folders.remove(name)
                left_out[(at / name).as_posix() + "/"] = _FOLDERS.get(name.casefold(), "a link")
        folders.sort()
        for name in sorted(names):
            path, source = (at / name).as_posix(), Path(root, name)
            status = source.lstat()
            reason = reason_to_leave_out(path) or ("" if stat.S_ISREG(status.st_mode) else _kind(status.st_mode))
            if reason:
                left_out[path] = reason
            elif len(files) >= MAX_FILES:
                raise SourceRefused(f"{folder} has more than {MAX_FILES} files", hint="give the folder of one bot")
            else:
                files[path] = _file(source, status)
    return Tree(files, left_out)


def with_files(base: Tree, folder: Path, paths: Iterable[Path]) -> Tree:
    """Return a bot's files with some of them replaced by, or added from, those of another folder.

    Parameters
    ----------
    paths
        Of files, from ``folder`` on; of a folder all files in it.

    Raises
    ------
    SourceMissing, SourceRefused
        One is not there, is outside of the folder, or belongs into no patch.
    OSError
    """
    files = dict(base.files)
    for given in paths:
        path = _relative(folder, given)
        source = folder / path
        if source.is_dir() and not source.is_symlink():
            within = folder_tree(source)
            prefix = "" if path == "." else f"{path}/"
            files.update({f"{prefix}{name}": file for name, file in within.files.items()})
            continue
        try:
            status = source.lstat()
        except (FileNotFoundError, NotADirectoryError) as error:
            hint = (
                "paths are those of the bot's folder: run it in the folder that has the changed files, or --remove PATH"
            )
            raise SourceMissing(f"there is no file {path} in {_shown(folder)}", hint=hint) from error
        reason = reason_to_leave_out(path) or ("" if stat.S_ISREG(status.st_mode) else _kind(status.st_mode))
        # Whoever names a data file means it.
        if reason and reason != "data":
            raise SourceRefused(f"{path} belongs into no patch: {reason}")
        files[path] = _file(source, status)
    return Tree(files, is_tracked=True)


def _relative(folder: Path, given: Path) -> str:
    """Return a path from the folder on, as a patch names it. Links in it are not followed."""
    whole = os.path.normpath(folder / given)
    path = os.path.relpath(whole, folder)
    if path == ".." or path.startswith("../"):
        raise SourceRefused(
            f"{given} is not within {_shown(folder)}", hint="run it in the folder that has the changed files"
        )
    return PurePosixPath(path).as_posix()


def _shown(folder: Path) -> str:
    return "this folder" if folder == Path() else str(folder)


def _file(path: Path, status: os.stat_result) -> SourceFile:
    def read() -> bytes:
        content = read_regular(path, MAX_UNPACKED_BYTES + 1)
        if len(content) > MAX_UNPACKED_BYTES:
            raise SourceRefused(f"{path} is larger than all of a patch may be ({MAX_UNPACKED_BYTES >> 20} MB)")
        return content

    return SourceFile(status.st_size, bool(status.st_mode & stat.S_IXUSR), read)


def _kind(mode: int) -> str:
    return "a link" if stat.S_ISLNK(mode) else "no regular file"
