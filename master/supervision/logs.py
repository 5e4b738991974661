"""The nodes' output: each node writes to its own two files, which are rotated here by size and count.

A node keeps its files open itself (O_APPEND), so neither a dead master nor a rotation can break its output. A rotation
copies the tail and truncates the file; what a flood wrote beyond the limit is counted and dropped.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from handshake.files import open_regular
from master.security.tokens import hide_tokens

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 16


class NodeLogs:
    """Name, rotate and read the log files of nodes. All methods block: call them from a worker thread.

    Parameters
    ----------
    folder
        The folder of the files.
    max_bytes
        Size at which a file is rotated.
    files
        Files kept for each stream, the current one included.
    """

    def __init__(self, folder: Path, *, max_bytes: int, files: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._files = max(files, 1)
        self.dropped_bytes: dict[str, int] = {}
        """Bytes of output dropped by rotation, by node."""
        self._warned = False

    def resize(self, *, max_bytes: int, files: int) -> None:
        """Rotate by other limits from the next look on; a file's surplus predecessors go when it is rotated next."""
        self._max_bytes, self._files = max_bytes, max(files, 1)

    def paths(self, name: str) -> tuple[Path, Path]:
        """Return the files of a node's standard output and standard error."""
        return self._folder / f"{name}.out.log", self._folder / f"{name}.err.log"

    def sizes(self, name: str) -> tuple[int, int]:
        """Return how many bytes a node's standard output and standard error have; 0 for what is not there."""
        out, err = map(_size_of, self.paths(name))
        return out, err

    def rotate(self, names: list[str]) -> None:
        """Rotate the files that exceed the limit; a disk error is logged, and costs old logs only."""
        for name in names:
            for path in self.paths(name):
                try:
                    self._rotate_file(name, path)
                    self._warned = False
                except FileNotFoundError:
                    continue
                except OSError as error:
                    self._truncate(path, error)

    def flush(self, name: str) -> None:
        """Empty a node's files, which it goes on writing to, and remove the rotated ones.

        Raises
        ------
        OSError
            A file cannot be emptied or removed.
        """
        for path in self.paths(name):
            try:
                current = open_regular(path, os.O_RDWR)
            except FileNotFoundError:
                continue
            try:
                os.ftruncate(current, 0)
            finally:
                os.close(current)
            self._remove_from(path, 1)
        self.dropped_bytes.pop(name, None)

    def _rotate_file(self, name: str, path: Path) -> None:
        size = path.lstat().st_size
        if size <= self._max_bytes:
            return
        current = open_regular(path, os.O_RDWR)
        try:
            self._rotate_open(name, path, current, os.fstat(current).st_size)
        finally:
            os.close(current)

    def _rotate_open(self, name: str, path: Path, current: int, size: int) -> None:
        dropped = size - self._max_bytes
        for number in range(self._files - 1, 1, -1):
            older = path.with_name(f"{path.name}.{number - 1}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number}"))
        self._remove_from(path, self._files)
        if self._files > 1:
            self._copy_tail(current, size, path.with_name(f"{path.name}.1"))
        os.ftruncate(current, 0)
        # A file slightly over its limit is normal; one far over it is a flood.
        if dropped > self._max_bytes // 10:
            self.dropped_bytes[name] = self.dropped_bytes.get(name, 0) + dropped
            os.pwrite(current, f"[fleet] {dropped / 1e6:.1f} MB of output dropped\n".encode(), 0)

    def _remove_from(self, path: Path, number: int) -> None:
        """Remove rotated files, from that number on: all, or those kept when more files were."""
        while (surplus := path.with_name(f"{path.name}.{number}")).exists():
            surplus.unlink()
            number += 1

    def _copy_tail(self, descriptor: int, size: int, target: Path) -> None:
        offset = max(size - self._max_bytes, 0)
        target.unlink(missing_ok=True)
        with open(open_regular(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as copy:
            while offset < size:
                chunk = os.pread(descriptor, min(_CHUNK_BYTES, size - offset), offset)
                if not chunk:
                    break
                copy.write(chunk)
                offset += len(chunk)

    def _truncate(self, path: Path, error: OSError) -> None:
        """Truncate a log that cannot be rotated (full or read-only disk), and log that once."""
        try:
            current = open_regular(path, os.O_RDWR)
        except OSError:
            remedy = "nor truncated"
        else:
            os.ftruncate(current, 0)
            os.close(current)
            remedy = "so it was truncated"
        if not self._warned:
            self._warned = True
            log.error("log %s cannot be rotated, %s", path.name, remedy, extra={"why": error.strerror})

    def tail(self, name: str, *, lines: int = 20, max_bytes: int = 8_192) -> list[str]:
        """Return the last lines of a node's standard error, or of its output when there are none.

        They go into the ledger and to Discord, so tokens are hidden in them.
        """
        for path in reversed(self.paths(name)):
            try:
                with open(open_regular(path, os.O_RDONLY), "rb") as stream:
                    stream.seek(0, os.SEEK_END)
                    stream.seek(max(stream.tell() - max_bytes, 0))
                    found = stream.read(max_bytes).decode("utf-8", "replace").splitlines()
            except OSError:
                continue
            if any(line.strip() for line in found):
                return list(map(hide_tokens, found[-lines:]))
        return []


def _size_of(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
