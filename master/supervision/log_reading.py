"""Reading the logs of nodes from their ends: both streams in the order of time, rotated files included."""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from handshake.files import open_regular

Stream = Literal["stdout", "stderr"]

_BLOCK = 64 * 1024
_LONGEST_GROUP = 2000
"""Lines without a time that are kept together; a program that writes none at all is read in such pieces."""
_TIME = re.compile(
    r"\[?(\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2})(?:[.,](\d{1,9}))?(Z|[+-]\d{2}:?\d{2})?(?![\d:])",
)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a node's log.

    Parameters
    ----------
    at
        Unix seconds, from the line itself or from one before it; None if those have no time.
    order
        What tells the order among lines of several files: the same, or the next best.
    """

    at: float | None
    order: float
    stream: Stream
    text: str


@dataclass(frozen=True, slots=True)
class LogFile:
    """One stream of a node.

    Parameters
    ----------
    end
        Read up to this byte of the current file; None for all of it.
    """

    path: Path
    stream: Stream
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Stamp:
    """The time that a line begins with.

    Parameters
    ----------
    second
        Unix seconds.
    fraction
        Of a second; None if the line has none, and so may belong behind one that has.
    """

    second: float
    fraction: float | None = None

    @property
    def at(self) -> float:
        """Unix seconds."""
        return self.second + (self.fraction or 0.0)


def stamp_of(line: str) -> Stamp | None:
    """Return the time that a line begins with, in local time unless it says otherwise; None without one."""
    found = _TIME.match(line)
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat(found[1] + (found[3] or "")).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return Stamp(moment, None if found[2] is None else float(f"0.{found[2]}"))


def read_back(files: Sequence[LogFile]) -> Iterator[LogLine]:
    """Yield the lines of a node, newest first, from both streams and their rotated files.

    Raises
    ------
    OSError
        A file cannot be read, or is no regular one; a missing one has no lines.
    """
    # Of two with the same time standard error comes later: what it complains of was most likely printed before.
    ordered = sorted(files, key=lambda file: file.stream)
    for group in heapq.merge(*map(_groups, ordered), key=lambda group: group.order, reverse=True):
        for text in group.lines:
            yield LogLine(group.at, group.order, group.stream, text)


@dataclass(frozen=True, slots=True)
class _Group:
    """Lines that belong together, newest first: one with a time of its own, and what followed it."""

    at: float | None
    order: float
    stream: Stream
    lines: list[str]


def _groups(file: LogFile) -> Iterator[_Group]:
    """Yield the groups of one stream, newest first.

    A line without a fraction belongs to the one before it if both are of the same second: which one is first is known
    only when that was read.
    """
    written_last = _changed_at(file.path)
    held: list[str] = []
    held_second: float | None = None
    untimed: list[str] = []
    for line in lines_back(file.path, file.end):
        stamp = stamp_of(line)
        if stamp is None:
            untimed.append(line)
            if len(untimed) >= _LONGEST_GROUP:
                if held_second is not None:
                    yield _Group(held_second, held_second, file.stream, held)
                    written_last, held, held_second = held_second, [], None
                yield _Group(None, written_last, file.stream, untimed)
                untimed = []
            continue
        if held_second is not None and held_second != stamp.second:
            yield _Group(held_second, held_second, file.stream, held)
            held = []
        held += [*untimed, line]
        untimed, held_second, written_last = [], stamp.second, stamp.at
        if stamp.fraction is not None:
            yield _Group(stamp.at, stamp.at, file.stream, held)
            held, held_second = [], None
    if held_second is not None:
        yield _Group(held_second, held_second, file.stream, held)
    if untimed:
        yield _Group(None, written_last, file.stream, untimed)


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def lines_back(path: Path, end: int | None = None) -> Iterator[str]:
    """Yield the lines of a log and of its rotated predecessors, newest first.

    Raises
    ------
    OSError
        As :func:`read_back`.
    """
    number, current = 0, path
    while True:
        try:
            descriptor = open_regular(current, os.O_RDONLY)
        except FileNotFoundError:
            if number:
                return
        else:
            try:
                yield from _lines_of(descriptor, end if number == 0 else None)
            finally:
                os.close(descriptor)
        number += 1
        current = path.with_name(f"{path.name}.{number}")


def _lines_of(descriptor: int, end: int | None) -> Iterator[str]:
    size = os.fstat(descriptor).st_size
    at = size if end is None else min(end, size)
    rest, first = b"", True
    while at > 0:
        begin = max(at - _BLOCK, 0)
        block = os.pread(descriptor, at - begin, begin) + rest
        at = begin
        if first:
            block, first = block.removesuffix(b"\n"), False
        rest, *lines = block.split(b"\n")
        for line in reversed(lines):
            yield line.decode("utf-8", "replace")
    if not first:
        yield rest.decode("utf-8", "replace")
