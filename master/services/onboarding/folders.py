"""Atomic cloning of node folders. The functions block; call them in a worker thread."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from handshake.files import open_regular, read_regular
from handshake.manifest import MANIFEST_NAME, NodeManifest, write_manifest
from master.durable import replace_file, sync_folder
from master.services.core.errors import FilesFailed, FolderRefused, NameTaken, TemplateBroken

_CHUNK_BYTES = 1 << 20
HIDDEN_PREFIX = ".provisioning-"
MAX_FILES = 5_000
MAX_BYTES = 256 * 1024 * 1024

# Files of one node only, or created again when it runs.
_NEVER_CLONED = frozenset(
    {MANIFEST_NAME, ".env", ".git", ".venv", "venv", "__pycache__", "logs", ".commands", ".disabled_cogs", ".releases"}
)


_PROGRAMS = (".py", ".js", ".mjs", ".cjs", ".ts", ".sh")

_Stamp = tuple[int, int, int, int]
"""Inode, size, and both times of a file; an edit changes them."""

_compiled: dict[Path, _Stamp] = {}
"""Files that are known to compile, so that cloning one template often does not compile it each time."""
_MAX_COMPILED = 10_000


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    relative: Path
    size: int
    stamp: _Stamp


def _walk(source: Path) -> Iterator[_Entry]:
    """Yield the regular files to clone. Symbolic links are skipped: they may point outside of the folder."""
    for root, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if name not in _NEVER_CLONED)
        for name in sorted(files):
            path = Path(root, name)
            status = path.lstat()
            if name not in _NEVER_CLONED and stat.S_ISREG(status.st_mode):
                stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                yield _Entry(path, path.relative_to(source), status.st_size, stamp)


def check_source(source: Path, entry: str) -> list[Path]:
    """Check that ``source`` can be cloned and run: it exists, is not too large, and every Python file compiles.

    Returns
    -------
    list of Path
        The files to clone, relative to ``source``.

    Raises
    ------
    TemplateBroken
        The message names the file and the line.
    """
    if not source.is_dir():
        raise TemplateBroken(
            f"the template folder {source} does not exist",
            hint="set IDENTITY['TEMPLATE_PATH'] in config.py to a folder with a bot.py in it",
        )
    entries = list(_walk(source))
    if len(entries) > MAX_FILES or sum(file.size for file in entries) > MAX_BYTES:
        raise TemplateBroken(
            f"{source} holds {len(entries)} files, {sum(file.size for file in entries) >> 20} MB",
            hint=f"a node's folder may have up to {MAX_FILES} files and {MAX_BYTES >> 20} MB; move data elsewhere",
        )
    if Path(entry) not in {file.relative for file in entries}:
        raise TemplateBroken(f"{source} has no {entry}", hint="a node's folder needs the file that starts it")
    for file in entries:
        if file.path.suffix == ".py" and _compiled.get(file.path) != file.stamp:
            _check_compiles(file.path, file.relative)
            if len(_compiled) >= _MAX_COMPILED:
                _compiled.clear()
            _compiled[file.path] = file.stamp
    return [file.relative for file in entries]


def _check_compiles(path: Path, relative: Path) -> None:
    try:
        compile(read_regular(path, MAX_BYTES), str(relative), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"{relative}, line {line}" if line else str(relative)
        raise TemplateBroken(
            f"{where}: {getattr(error, 'msg', None) or error}",
            hint="fix the file in the template; nothing was cloned",
        ) from error


def clone_folder(
    source: Path, entry: str, base: Path, name: str, manifest: NodeManifest, env_text: bytes = b""
) -> Path:
    """Clone ``source`` to ``base/name``: copy to a hidden sibling, sync it to disk, then rename it.

    Parameters
    ----------
    env_text
        For its ``.env``, which is not copied; empty for none.

    Raises
    ------
    TemplateBroken, NameTaken, FilesFailed
        Nothing is left behind.
    """
    target = base / name
    hidden = base / f"{HIDDEN_PREFIX}{manifest.node_id}"
    files = check_source(source, entry)
    try:
        base.mkdir(parents=True, exist_ok=True)
        taken_by = _existing(base, name)
        if taken_by is not None:
            raise NameTaken(
                f"a folder called {taken_by!r} already exists",
                hint=f"choose another name, or register that folder: fleet register {name} --folder {taken_by}",
            )
        hidden.mkdir(mode=0o700)
        for relative in files:
            _copy(source / relative, hidden / relative)
        if env_text:
            replace_file(hidden / ".env", env_text)
        write_manifest(hidden, manifest)
        _sync_folders(hidden)
        # rename() replaces an empty folder that was created meanwhile, and fails on any other.
        hidden.rename(target)
        sync_folder(base)
    except OSError as error:
        remove_folder(hidden)
        raise FilesFailed(
            f"cloning to {target} failed: {error.strerror or error}",
            hint="check the free space (df -h) and the permissions of BOTS_BASE_PATH",
        ) from error
    except BaseException:
        remove_folder(hidden)
        raise
    return target


def _existing(base: Path, name: str) -> str | None:
    """Return the entry of ``base`` that ``name`` collides with, ignoring case as the ledger does."""
    wanted = name.casefold()
    return next((entry.name for entry in base.iterdir() if entry.name.casefold() == wanted), None)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The node that is cloned may be running: a file that was looked at can be a pipe, or much longer, by now.
    reading = open_regular(source, os.O_RDONLY)
    try:
        found = os.fstat(reading)
        writing = open_regular(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            left = found.st_size
            while left > 0 and (chunk := os.read(reading, min(left, _CHUNK_BYTES))):
                os.write(writing, chunk)
                left -= len(chunk)
            os.fchmod(writing, stat.S_IMODE(found.st_mode) & ~0o7000)
            os.fsync(writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _sync_folders(top: Path) -> None:
    for root, _, _ in os.walk(top):
        sync_folder(Path(root))


def remove_folder(folder: Path) -> None:
    """Remove a folder tree, if it exists.

    Raises
    ------
    FilesFailed
        Something in it could not be removed.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FilesFailed(
            f"{folder} could not be removed: {error.strerror or error}", hint="remove it by hand"
        ) from error


def hidden_leftovers(base: Path) -> list[Path]:
    """Return the hidden folders that interrupted clones left below ``base``."""
    if not base.is_dir():
        return []
    return sorted(base.glob(f"{HIDDEN_PREFIX}*"))


def unregistered_folders(base: Path, known: set[str]) -> list[str]:
    """Return the names of folders below ``base`` that contain Python files and belong to no node."""
    if not base.is_dir():
        return []
    return sorted(
        entry.name
        for entry in base.iterdir()
        if entry.is_dir()
        and not entry.name.startswith(".")
        and entry.name not in known
        and next(entry.glob("*.py"), None) is not None
    )


def require_entry(folder: Path, entry: str) -> None:
    """Check that an existing folder has the file that starts its program.

    Raises
    ------
    FolderRefused
        The folder or the entry file is missing, or the entry is not inside it.
    """
    if not folder.is_dir():
        raise FolderRefused(
            f"the folder {folder} does not exist",
            hint="a name alone is a folder in BOTS_BASE_PATH; give any other by its path, such as ./site",
        )
    inside = Path(entry)
    if inside.is_absolute() or ".." in inside.parts or not (folder / entry).is_file():
        candidates = ", ".join(_candidates(folder))
        raise FolderRefused(
            f"{folder.name} has no file {entry[:60]!r}",
            hint=f"name the file that starts it with --entry, or give a --command; it has {candidates or 'no program'}",
        )


def _candidates(folder: Path) -> list[str]:
    """Return a few files of a folder that look like programs."""
    return sorted(path.name for path in folder.iterdir() if path.suffix in _PROGRAMS)[:5]
