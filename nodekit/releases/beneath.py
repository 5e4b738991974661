"""File operations below one folder, whose owner may be hostile: no link is followed, and nothing outside is touched.

Each component of a path is opened by itself, relative to the folder before it, with ``O_NOFOLLOW``: that needs no
``openat2``, which older kernels and sandboxes lack. Whatever is replaced is written beside its place and renamed there:
a node under Landlock's first version may not rename from one folder to another.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from nodekit.releases.errors import NotNow, ReleaseError, UnsafeFolder
from nodekit.releases.records import Version

OnStep = Callable[[str, str], None]
"""Called before each change of the disk with what is done, and to which path: tests kill the process there."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK_BYTES = 1 << 20
_LOCK_EVERY_S = 0.05
_MAX_DEPTH = 64
_FUTURE_S = 86_400.0
"""A file that is dated later than this is dated wrongly."""


def _nothing(action: str, path: str) -> None:
    """Do nothing before a step."""


def temporary_name(path: str) -> str:
    """Return the name beside a file's under which its successor is written; always the same, so that it is found."""
    return f".fleet-{hashlib.sha256(path.encode()).hexdigest()[:16]}.tmp"


class Beneath:
    """A folder, and what is done below it.

    Paths are relative to it, with ``/``; the empty path is the folder itself.

    Parameters
    ----------
    folder
        The folder; a link to it is followed, since it is the operator's.
    on_step
        Called before each change.

    Raises
    ------
    OSError
        The folder cannot be opened.
    """

    def __init__(self, folder: Path, on_step: OnStep | None = None) -> None:
        self._on_step = on_step or _nothing
        self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.device = os.fstat(self._root).st_dev

    def close(self) -> None:
        """Close the folder."""
        os.close(self._root)

    @contextlib.contextmanager
    def _opened(self, folder: str) -> Iterator[int]:
        """Open a folder by its path.

        Raises
        ------
        UnsafeFolder
            The path leads over something that is no folder.
        FileNotFoundError
        """
        descriptor, walked = os.dup(self._root), ""
        try:
            for part in PurePosixPath(folder).parts:
                walked = f"{walked}/{part}".lstrip("/")
                inner = self._enter(descriptor, part, walked)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    @staticmethod
    def _enter(descriptor: int, part: str, walked: str) -> int:
        if part in ("..", "/"):
            raise UnsafeFolder(f"{walked} leads out of the folder", paths=[walked])
        try:
            return os.open(part, _DIRECTORY, dir_fd=descriptor)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise OSError(error.errno, error.strerror, walked) from error
            mode = os.stat(part, dir_fd=descriptor, follow_symlinks=False).st_mode
            raise UnsafeFolder(
                f"{walked} is {kind_of(mode)}: a patch changes files in real folders only, by the path that they have",
                paths=[walked],
            ) from error

    @contextlib.contextmanager
    def _beside(self, path: str) -> Iterator[tuple[int, str]]:
        """Open the folder that a path is in; yields it with the path's last part."""
        pure = PurePosixPath(path)
        with self._opened("" if str(pure.parent) == "." else str(pure.parent)) as descriptor:
            try:
                yield descriptor, pure.name
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from error

    # Looking

    def look(self, path: str) -> os.stat_result | None:
        """Return what is at a path, without following a link; None if there is nothing."""
        try:
            with self._beside(path) as (folder, name):
                return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """Return what is in a folder, in order; nothing if it does not exist."""
        try:
            with self._opened(folder) as descriptor:
                return sorted(os.listdir(descriptor))
        except FileNotFoundError:
            return []

    def mode(self, folder: str) -> int:
        """Return the permissions of a folder."""
        with self._opened(folder) as descriptor:
            return stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o777

    def read(self, path: str, most: int) -> bytes:
        """Return the content of a regular file.

        Raises
        ------
        UnsafeFolder
            It is something else, or larger than ``most`` bytes.
        OSError
        """
        with self._file(path) as descriptor, open(descriptor, "rb", closefd=False) as stream:
            content = stream.read(most + 1)
        if len(content) > most:
            raise UnsafeFolder(f"{path} is larger than {most} bytes", paths=[path])
        return content

    def version(self, path: str, most: int) -> Version | None:
        """Return what is known of a file by its content; None if there is none.

        Raises
        ------
        UnsafeFolder
            It is something else, or larger than ``most`` bytes.
        OSError
        """
        try:
            with self._file(path) as descriptor:
                digest, length = hashlib.sha256(), 0
                while chunk := os.read(descriptor, _CHUNK_BYTES):
                    length += len(chunk)
                    if length > most:
                        raise UnsafeFolder(f"{path} is larger than {most} bytes", paths=[path])
                    digest.update(chunk)
                mode = stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o777
        except FileNotFoundError:
            return None
        return Version(sha256=digest.hexdigest(), length=length, mode=mode)

    @contextlib.contextmanager
    def _file(self, path: str) -> Iterator[int]:
        with self._beside(path) as (folder, name):
            try:
                descriptor = os.open(name, os.O_RDONLY | _FILE, dir_fd=folder)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENXIO):
                    raise
                descriptor = -1
            try:
                if descriptor < 0 or not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
                    raise UnsafeFolder(f"{path} is {kind_of(mode)}, not a file", paths=[path])
                yield descriptor
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

    # Changing

    def write(self, path: str, content: bytes, mode: int) -> None:
        """Put a file in its place, atomically; its folder is not synced yet.

        Raises
        ------
        OSError
            What was there is unchanged.
        """
        with self._beside(path) as (folder, name):
            new = temporary_name(path)
            try:
                self._write_beside(folder, name, new, content, mode)
                self._on_step("rename", path)
                os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                # On a full disk a part of it would stay.
                with contextlib.suppress(OSError):
                    os.unlink(new, dir_fd=folder)
                raise

    def _write_beside(self, folder: int, name: str, new: str, content: bytes, mode: int) -> None:
        self._on_step("create", new)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=folder)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o600, dir_fd=folder)
        try:
            self._on_step("write", new)
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fchmod(descriptor, mode)
            replaced = _status(folder, name)
            _leave_to_owner(descriptor, replaced or os.fstat(folder))
            if replaced is not None and 0 <= replaced.st_mtime - time.time() + 1 < _FUTURE_S:
                # Python takes bytecode for current whose source has the same size and second.
                os.utime(descriptor, times=(int(replaced.st_mtime) + 1,) * 2)
            self._on_step("sync", new)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def reserve(self, path: str, size: int) -> None:
        """Make a file that only takes up room."""
        with self._beside(path) as (folder, name):
            self._on_step("reserve", path)
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | _FILE, 0o600, dir_fd=folder)
            try:
                _fill(descriptor, size)
            finally:
                os.close(descriptor)

    def remove(self, path: str) -> None:
        """Remove whatever is at a path, except for a folder; nothing happens if there is nothing."""
        with contextlib.suppress(FileNotFoundError), self._beside(path) as (folder, name):
            self._on_step("remove", path)
            os.unlink(name, dir_fd=folder)

    def move_aside(self, path: str, name: str) -> None:
        """Rename what is at a path, within its folder."""
        with self._beside(path) as (folder, old):
            self._on_step("rename", path)
            os.rename(old, name, src_dir_fd=folder, dst_dir_fd=folder)

    def make_folder(self, path: str, mode: int) -> None:
        """Make a folder with these permissions; one that is there already stays.

        Raises
        ------
        UnsafeFolder
            Something else is there.
        OSError
        """
        with self._beside(path) as (folder, name):
            self._on_step("mkdir", path)
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=folder)
            descriptor = self._enter(folder, name, path)
            try:
                # Also of one that is there: whoever made it may have been cut off here.
                self._on_step("chmod", path)
                os.fchmod(descriptor, mode)
                _leave_to_owner(descriptor, os.fstat(folder))
            finally:
                os.close(descriptor)

    def remove_folder(self, path: str) -> None:
        """Remove a folder if it is empty."""
        with contextlib.suppress(FileNotFoundError), self._beside(path) as (folder, name):
            self._on_step("rmdir", path)
            try:
                os.rmdir(name, dir_fd=folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise

    def remove_tree(self, path: str) -> None:
        """Remove whatever is at a path, with all that is below it."""
        with contextlib.suppress(FileNotFoundError), self._beside(path) as (folder, name):
            self._on_step("remove tree", path)
            _remove_tree(folder, name, _MAX_DEPTH)

    def sync(self, folder: str) -> None:
        """Sync a folder: renames and new names in it are durable then. One that is gone needs none."""
        with contextlib.suppress(FileNotFoundError), self._opened(folder) as descriptor:
            self._on_step("sync folder", folder)
            os.fsync(descriptor)

    @contextlib.contextmanager
    def locked(self, path: str, within_s: float) -> Iterator[None]:
        """Hold a lock: nodes, and helpers of the master, change the same folder.

        Raises
        ------
        NotNow
            Somebody else has it for longer than this.
        OSError
        """
        with self._beside(path) as (folder, name):
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | _FILE, 0o600, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnsafeFolder(f"{path} is no plain file", paths=[path])
            until = time.monotonic() + within_s
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > until:
                        raise NotNow(
                            f"another process is changing this folder, for more than {within_s:g} s"
                        ) from error
                time.sleep(_LOCK_EVERY_S)
            try:
                yield
            finally:
                # By its own word: a process that was forked meanwhile has the descriptor too.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)


def parents_of(path: str) -> list[str]:
    """Return the folders that lead to a path, the outermost first, without the one that all is relative to."""
    return [str(parent) for parent in reversed(PurePosixPath(path).parents)][1:]


def beside(path: str) -> str:
    """Return where the successor of a file is written."""
    return str(PurePosixPath(path).parent / temporary_name(path))


def kind_of(mode: int) -> str:
    """Return what something is, by its mode, in words."""
    for check, words in (
        (stat.S_ISLNK, "a link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISREG, "a file"),
    ):
        if check(mode):
            return words
    return "a device"


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _leave_to_owner(descriptor: int, like: os.stat_result) -> None:
    """Let what root writes belong to whom the folder belongs to: the node that runs there could not read it."""
    if os.geteuid() == 0 and (like.st_uid, like.st_gid) != (0, 0):
        # A file system without owners, or root of a container that is not allowed to: it is root's then.
        with contextlib.suppress(OSError):
            os.fchown(descriptor, like.st_uid, like.st_gid)


def _fill(descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        # A file system that cannot, with a C library (musl's) that does not make up for it.
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        left = size
        while left > 0:
            left -= os.write(descriptor, bytes(min(left, _CHUNK_BYTES)))


def _remove_tree(folder: int, name: str, depth: int) -> None:
    status = _status(folder, name)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=folder)
        return
    if not depth:
        raise ReleaseError(f"{name} has folders in folders without end")
    inner = os.open(name, _DIRECTORY, dir_fd=folder)
    try:
        for entry in os.listdir(inner):
            _remove_tree(inner, entry, depth - 1)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=folder)
