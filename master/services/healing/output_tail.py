"""What is added to a log of a node: whole lines, bounded, over rotations; whatever the node makes of its file."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from handshake.files import open_regular

PIECE_BYTES = 16 * 1024
"""Looked at in one go; between two the event loop gets its turn. Of a longer line the rest is passed by."""
MAX_HEAD_BYTES, MAX_TAIL_BYTES = 128 * 1024, 384 * 1024
"""Of a flood: what is read of its beginning and of its end in one round."""
_CHECK_BYTES = 64
_ROTATED_BYTES = 256 * 1024


class Piece(NamedTuple):
    """Whole lines that a node wrote."""

    content: bytes
    end: int
    """Where it ends in the file; 0 for what stands in a rotated one."""


class Tail:
    """How far one log has been read. All methods block.

    Parameters
    ----------
    path
        The log, which need not exist.
    offset
        What stands before it is not read.
    """

    def __init__(self, path: Path, offset: int) -> None:
        self.path = path
        self._offset = offset
        self._check = b""
        """What stands right before the offset: another content there means that it is another file by now."""
        self._read_at_ns = 0
        self._in_line = False
        """Whether the rest of a line that was cut is passed by."""
        self.is_unfinished = False
        """Whether something is there that was not yielded: a line without an end, or what somebody ceased to take."""
        self.skipped_bytes = 0

    @property
    def added_bytes(self) -> int:
        """Return how much there is to read; more than nothing if the log was rotated."""
        size = size_of(self.path)
        return size - self._offset if size >= self._offset else max(size, 1)

    def pass_by(self) -> None:
        """Go to the end without reading."""
        self._offset, self._check = size_of(self.path), b""
        self._in_line = self.is_unfinished = False

    def read(self, ends: Sequence[int] = ()) -> Generator[Piece, None, None]:
        """Yield what was added, in pieces. Whoever ceases to take them gets the rest with the next call.

        Parameters
        ----------
        ends
            Where processes ended: a line ends there too.
        """
        try:
            descriptor = open_regular(self.path, os.O_RDONLY)
        except FileNotFoundError:
            self._offset, self._check, self.is_unfinished = 0, b"", False
            return
        except OSError:
            # A pipe or a link in its place: it is removed with the node's next start.
            return
        size = os.fstat(descriptor).st_size
        try:
            if size < self._offset or not self._is_same(descriptor):
                yield from self._read_rotated()
                self._offset, self._check, self._in_line = 0, b"", False
            yield from self._read_to(descriptor, size, sorted(end for end in ends if self._offset < end <= size))
        finally:
            self._remember(descriptor)
            self.is_unfinished = self._offset < size
            os.close(descriptor)

    def _is_same(self, descriptor: int) -> bool:
        return os.pread(descriptor, len(self._check), self._offset - len(self._check)) == self._check

    def _remember(self, descriptor: int) -> None:
        begin = max(self._offset - _CHECK_BYTES, 0)
        self._check = os.pread(descriptor, self._offset - begin, begin)
        self._read_at_ns = time.time_ns()

    def _read_to(self, descriptor: int, size: int, ends: list[int]) -> Iterator[Piece]:
        if size - self._offset > MAX_HEAD_BYTES + MAX_TAIL_BYTES:
            yield from self._read_part(descriptor, self._offset + MAX_HEAD_BYTES, ends)
            self.skip(size - MAX_TAIL_BYTES - self._offset)
        yield from self._read_part(descriptor, size, ends)

    def skip(self, amount: int) -> None:
        """Pass by some bytes, and the rest of the line that they end in."""
        if amount > 0:
            self.skipped_bytes += amount
            self._offset += amount
            self._check, self._in_line = b"", True

    def _read_part(self, descriptor: int, until: int, ends: list[int]) -> Iterator[Piece]:
        while self._offset < until:
            end = next((end for end in ends if end > self._offset), until)
            content = os.pread(descriptor, min(PIECE_BYTES, end - self._offset), self._offset)
            is_last = self._offset + len(content) >= end
            cut = content.rfind(b"\n") + 1
            if not content:
                return
            if self._in_line:
                rest = content.find(b"\n") + 1
                self._in_line = not rest and not (is_last and end in ends)
                self._offset += rest or len(content)
                continue
            if is_last and end in ends:
                cut = len(content)
            elif not cut and (len(content) == PIECE_BYTES or not is_last):
                # A line without an end in sight: its beginning is enough.
                cut, self._in_line = len(content), True
            if not cut:
                return
            self._offset += cut
            yield Piece(content[:cut], self._offset)

    def take_unfinished(self) -> bytes:
        """Return a last line that has no end, which is passed by from here on."""
        try:
            descriptor = open_regular(self.path, os.O_RDONLY)
        except OSError:
            return b""
        try:
            content = (
                b""
                if self._in_line or not self._is_same(descriptor)
                else os.pread(descriptor, PIECE_BYTES, self._offset)
            )
            if not content or b"\n" in content:
                return b""
            self._offset += len(content)
            self._in_line, self.is_unfinished = True, False
            self._remember(descriptor)
        finally:
            os.close(descriptor)
        return content

    def _read_rotated(self) -> Iterator[Piece]:
        """Yield what was written between the last reading and the rotation."""
        if not self._check:
            return
        try:
            descriptor = open_regular(self.path.with_name(f"{self.path.name}.1"), os.O_RDONLY)
        except OSError:
            return
        try:
            status = os.fstat(descriptor)
            if status.st_mtime_ns < self._read_at_ns:
                # From an earlier rotation: the log was emptied.
                return
            content = os.pread(descriptor, _ROTATED_BYTES, max(status.st_size - _ROTATED_BYTES, 0))
        finally:
            os.close(descriptor)
        found = content.rfind(self._check)
        rest = content[found + len(self._check) :] if found >= 0 else content
        if self._in_line or found < 0:
            rest = rest[rest.find(b"\n") + 1 :]
        while rest:
            cut = rest.rfind(b"\n", 0, PIECE_BYTES) + 1 or rest.find(b"\n") + 1 or len(rest)
            yield Piece(rest[:cut], 0)
            rest = rest[cut:]


def size_of(path: Path) -> int:
    """Return a file's size; 0 if there is none."""
    try:
        return path.lstat().st_size
    except OSError:
        return 0
