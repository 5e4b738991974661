"""An archive of a whole home: the ledger's own archive, and with it bots, config and, if asked for, the secrets.

Plain tar, so that a person can look into it. Only the ledger in it is sealed: keep it where nobody else can write.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar

from master.configuration.home import CONFIG_NAME
from master.configuration.settings import ENV_NAME
from master.durable import leave_to_owner, open_private
from master.errors import ExitCode, FleetError

LEDGER, BOTS, ENVIRONMENTS = "ledger.zip", "bots", "env"
_LEFT_OUT = ("__pycache__", "node_modules")
_IN_MEMORY_BYTES = 32 * 2**20
_PARTS = (LEDGER, BOTS, ENVIRONMENTS, CONFIG_NAME, ENV_NAME)


class HomeArchiveRefused(FleetError):
    """A file is no archive of a home, or not a whole one."""

    code: ClassVar[str] = "home_archive_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


@dataclass(slots=True)
class Packed:
    """What was put into an archive."""

    files: int = 0
    left_out: list[str] = field(default_factory=list)
    """Folders that are made anew on another box: environments and caches of packages."""


def pack_home(target: Path, ledger: Path, sources: dict[str, Path]) -> Packed:
    """Write an archive, whole or not at all, readable by its owner only. Blocks.

    Parameters
    ----------
    target
        A new file; the caller looked.
    ledger
        The ledger's archive.
    sources
        The other parts, by their names in the archive; those that are not there are passed over.

    Raises
    ------
    OSError
    """
    packed = Packed()
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with open(unfinished, "xb", opener=open_private) as stream:
            leave_to_owner(stream.fileno(), target)
            with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=6) as archive:
                for name, path in {LEDGER: ledger, **sources}.items():
                    for inner, found in _walk(name, path, packed):
                        packed.files += _add(archive, inner, found)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return packed


def _walk(name: str, path: Path, packed: Packed) -> Iterator[tuple[str, Path]]:
    """Yield each file, link and folder below a path, with its name in the archive."""
    if not path.exists() and not path.is_symlink():
        return
    yield name, path
    if path.is_symlink() or not path.is_dir():
        return
    for entry in sorted(path.iterdir()):
        inner = f"{name}/{entry.name}"
        is_folder = entry.is_dir() and not entry.is_symlink()
        if is_folder and (entry.name in _LEFT_OUT or (entry / "pyvenv.cfg").exists()):
            packed.left_out += [] if entry.name == "__pycache__" else [str(entry)]
        else:
            yield from _walk(inner, entry, packed)


def _add(archive: tarfile.TarFile, name: str, path: Path) -> bool:
    """Add one entry; returns whether it is a file. Sockets, pipes and devices are passed over."""
    status = path.lstat()
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    if stat.S_ISLNK(status.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
        archive.addfile(entry)
    elif stat.S_ISDIR(status.st_mode):
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
    elif stat.S_ISREG(status.st_mode):
        with path.open("rb") as source:
            if status.st_size <= _IN_MEMORY_BYTES:
                # At once: it may grow or shrink meanwhile, and the entry says its size first.
                content = source.read()
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            else:
                entry.size = status.st_size
                archive.addfile(entry, source)
        return True
    return False


@dataclass(slots=True)
class Plan:
    """What unpacking would do to the files of a home."""

    parts: set[str] = field(default_factory=set)
    new: list[Path] = field(default_factory=list)
    replaced: list[Path] = field(default_factory=list)
    """Other than in the archive, and not newer."""
    newer: list[Path] = field(default_factory=list)
    """Other than in the archive, and changed since it was made."""

    @property
    def overwritten(self) -> list[Path]:
        """Return all that is there and would be another."""
        return [*self.newer, *self.replaced]


def is_home_archive(path: Path) -> bool:
    """Tell whether a file is a compressed tar, which only such an archive is here."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def plan(path: Path, targets: dict[str, Path]) -> Plan:
    """Compare an archive with what is there. Blocks.

    Raises
    ------
    HomeArchiveRefused
    """
    found = Plan()
    with _opened(path) as archive:
        for entry in archive:
            part, target = _target_of(entry, targets)
            found.parts.add(part)
            if target is None or entry.isdir():
                continue
            if not target.exists() and not target.is_symlink():
                found.new.append(target)
            elif not _is_same(archive, entry, target):
                (found.newer if target.lstat().st_mtime > entry.mtime + 1 else found.replaced).append(target)
    if LEDGER not in found.parts:
        raise HomeArchiveRefused(f"{path} has no {LEDGER}: it is no backup of a fleet")
    return found


def unpack(path: Path, targets: dict[str, Path], *, aside: Path) -> int:
    """Put the files of some parts in place; returns how many. Blocks.

    Parameters
    ----------
    targets
        Where each part goes; others are left in the archive.
    aside
        A folder for what is replaced, by its absolute path.

    Raises
    ------
    HomeArchiveRefused
    OSError
    """
    count = 0
    with _opened(path) as archive:
        for entry in archive:
            _, target = _target_of(entry, targets)
            if target is None:
                continue
            if entry.isdir():
                target.mkdir(parents=True, exist_ok=True, mode=entry.mode & 0o755 | 0o700)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists() or target.is_symlink():
                if _is_same(archive, entry, target):
                    continue
                _put_aside(target, aside)
            _write(archive, entry, target)
            count += 1
    return count


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:gz")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise HomeArchiveRefused(f"{path} cannot be read as a backup: {error}") from error


def _target_of(entry: tarfile.TarInfo, targets: dict[str, Path]) -> tuple[str, Path | None]:
    """Return an entry's part, and where it goes; None if its part is not wanted.

    Raises
    ------
    HomeArchiveRefused
        It leads out of its part, or is of a kind that no backup has.
    """
    name = PurePosixPath(entry.name)
    if (
        name.is_absolute()
        or ".." in name.parts
        or not name.parts
        or name.parts[0] not in _PARTS
        or not (entry.isfile() or entry.isdir() or entry.issym())
    ):
        raise HomeArchiveRefused(f"{entry.name!r} does not belong into a backup", hint="nothing of it was taken")
    part = name.parts[0]
    if part not in targets:
        return part, None
    base = targets[part]
    target = base.joinpath(*name.parts[1:])
    # A link that is there, or came before it, must not lead it elsewhere.
    if len(name.parts) > 1 and not target.parent.resolve().is_relative_to(base.resolve()):
        raise HomeArchiveRefused(f"{target} leads out of {base}, by a link", hint="look at that link")
    return part, target


def _is_same(archive: tarfile.TarFile, entry: tarfile.TarInfo, target: Path) -> bool:
    if entry.issym() or target.is_symlink():
        return entry.issym() and target.is_symlink() and os.readlink(target) == entry.linkname
    if not target.is_file() or target.stat().st_size != entry.size:
        return False
    return target.read_bytes() == _content(archive, entry)


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    source = archive.extractfile(entry)
    return b"" if source is None else source.read()


def _put_aside(target: Path, aside: Path) -> None:
    kept = aside.joinpath(*target.parts[1:])
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.replace(kept)


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, target: Path) -> None:
    if entry.issym():
        target.symlink_to(entry.linkname)
        return
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        leave_to_owner(descriptor, target)
        stream.write(_content(archive, entry))
        os.fchmod(descriptor, entry.mode & 0o777)
    os.utime(target, (entry.mtime, entry.mtime))


def ledger_of(path: Path, target: Path) -> None:
    """Write the ledger's archive out of a home's. Blocks.

    Raises
    ------
    HomeArchiveRefused
    OSError
    """
    with _opened(path) as archive, open(target, "xb", opener=open_private) as stream:
        stream.write(_content(archive, archive.getmember(LEDGER)))


def keep_newest(folder: Path, pattern: str, count: int) -> Sequence[Path]:
    """Delete the oldest of some files; returns which."""
    old = sorted(folder.glob(pattern))[:-count]
    for path in old:
        path.unlink(missing_ok=True)
    return old
