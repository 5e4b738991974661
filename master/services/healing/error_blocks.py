"""A node's output, cut into errors: a traceback is one, and so is a line that looks like an error. Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from master.security.tokens import hide_tokens
from master.services.core.exit_meaning import without_stamp
from master.services.healing.matching import MAX_LINE_BYTES, Match

LINES_BEFORE = 10
MAX_BEFORE_CHARACTERS = 500
FIRST_LINES, LAST_LINES = 30, 120
"""Of a traceback that is longer: what stands between them is left out."""
MAX_FOLLOWING = 30
"""Indented lines that belong to the line before them, such as the ``at`` lines of Node's errors."""
JOINED_WITHIN = 3
"""A line that logs an exception stands right before its traceback: they are one error."""
_TAIL_BYTES = 4_096
_MARKS = (
    *(b"Error", b"Exception", b"ERROR", b"Traceback (most", b"CRITICAL", b"FATAL", b"Fatal", b"panic:"),
    *(b"fatal", b"error:", b"PANIC", b"SEVERE"),  # of programs in other languages
)
_TEXT_MARKS = tuple(mark.decode() for mark in _MARKS)
_HEADER = re.compile(r"[ |+]*(Exception Group )?Traceback \(most recent call last\):\s*\Z")
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_BEGINS_STAMP = frozenset("[0123456789")
_EXCEPTION = re.compile(r"[ |]*([A-Za-z_][\w.]*)(?::|\s*\Z)")


def _text_of(raw: bytes) -> str:
    """Return a line without the time at its beginning."""
    line = raw[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip("\r")
    return without_stamp(line) if line[:1] in _BEGINS_STAMP else line


def _matches_of(line: str, known: dict[str, list[Match]], *, is_cut: bool) -> list[Match]:
    """Return the matches of a line, which has its tokens hidden there, and may have been cut sooner."""
    shown = hide_tokens(line).rstrip()
    found = known.get(shown)
    if found is None and is_cut:
        found = next((matches for start, matches in known.items() if shown.startswith(start)), None)
    return found or []


def _is_header(line: str) -> bool:
    return "Traceback (most" in line and _HEADER.match(line) is not None


def looks_like_errors(chunk: bytes) -> bool:
    """Tell whether a chunk has a line that may be an error's; quick, and generous."""
    return any(mark in chunk for mark in _MARKS)


@dataclass(slots=True, kw_only=True)
class Block:
    """An error in a node's output. Its text is raw until it is asked for."""

    lines: list[str]
    before: tuple[str, ...] = ()
    matches: list[Match] = field(default_factory=list)
    exception: str = ""
    """The type that a traceback ends with."""
    count: int = 1

    @property
    def text(self) -> str:
        """Return its lines, tokens hidden."""
        return hide_tokens("\n".join(self.lines))

    @property
    def lines_before(self) -> tuple[str, ...]:
        """Return what stands before it, tokens hidden."""
        return tuple(hide_tokens(line[:MAX_BEFORE_CHARACTERS]) for line in self.before)


class ErrorBlocks:
    """Cut what one stream of one node writes; what is not finished waits for the next chunk, or for :meth:`flush`."""

    def __init__(self) -> None:
        self._before: deque[str] = deque(maxlen=LINES_BEFORE)
        self._unread = b""
        """The end of what was passed by: its lines are looked at if an error follows."""
        self._waiting: deque[tuple[int, Block]] = deque()
        """Single lines, by number: a traceback may follow."""
        self._number = 0
        self._open: _Traceback | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether an error may go on in the next chunk."""
        return self._open is not None or bool(self._waiting)

    def feed(self, chunk: bytes, matches: Sequence[Match]) -> Iterator[Block]:
        """Yield the errors that end in a chunk of whole lines.

        Parameters
        ----------
        matches
            What solutions know of this chunk.
        """
        if not matches and not self.is_open and not looks_like_errors(chunk):
            self._unread = chunk[-_TAIL_BYTES:] if len(chunk) >= _TAIL_BYTES else (self._unread + chunk)[-_TAIL_BYTES:]
            return
        self._look_back()
        known = dict[str, list[Match]]()
        for match in matches:
            known.setdefault(match.line.rstrip(), []).append(match)
        for raw in chunk.removesuffix(b"\n").split(b"\n"):
            line = _text_of(raw)
            found = _matches_of(line, known, is_cut=len(raw) >= MAX_LINE_BYTES) if known else []
            yield from self._take(line, found)

    def flush(self) -> Iterator[Block]:
        """Yield what is not finished: nothing follows it."""
        if self._open is not None:
            yield self._end_traceback()
        while self._waiting:
            yield self._waiting.popleft()[1]

    def _look_back(self) -> None:
        if self._unread:
            lines = self._unread.removesuffix(b"\n").split(b"\n")[-LINES_BEFORE:]
            self._before.extend(map(_text_of, lines))
            self._unread = b""

    def _take(self, line: str, found: list[Match]) -> Iterator[Block]:
        self._number += 1
        if self._open is not None:
            if self._open.takes(line):
                self._open.matches += found
                return
            yield self._end_traceback()
        if _is_header(line):
            self._begin_traceback(line, found)
            return
        while self._waiting and self._waiting[0][0] < self._number - JOINED_WITHIN:
            yield self._waiting.popleft()[1]
        if not self._follows(line, found) and (found or any(mark in line for mark in _TEXT_MARKS)):
            self._waiting.append((self._number, Block(lines=[line], before=tuple(self._before), matches=list(found))))
        self._before.append(line)

    def _follows(self, line: str, found: list[Match]) -> bool:
        """Add an indented line to the line that it belongs to; False if it belongs to none."""
        if not line[:1].isspace() or not self._waiting:
            return False
        number, block = self._waiting[-1]
        if number + 1 != self._number or len(block.lines) > MAX_FOLLOWING:
            return False
        block.lines.append(line)
        block.matches += found
        self._waiting[-1] = (self._number, block)
        return True

    def _begin_traceback(self, line: str, found: list[Match]) -> None:
        joined = [match for _, block in self._waiting for match in block.matches]
        self._waiting.clear()
        self._open = _Traceback(line, tuple(self._before), joined + found)

    def _end_traceback(self) -> Block:
        if self._open is None:
            raise RuntimeError("there is no traceback")
        block, self._open = self._open.as_block(), None
        self._before.extend(block.lines[-LINES_BEFORE:])
        return block


class _Traceback:
    """A traceback that is being read, with those that it is chained to."""

    def __init__(self, header: str, before: tuple[str, ...], matches: list[Match]) -> None:
        self._before, self.matches = before, matches
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._left_out = 0
        self._has_ended = False
        self._is_chained = False
        self._is_group = False
        self._exception = ""
        self._begin(header)

    def _begin(self, header: str) -> None:
        self._has_ended = self._is_chained = False
        self._is_group = header[:1] in " |+"
        self._add(header)

    def takes(self, line: str) -> bool:
        """Add a line; False if it does not belong to it any more."""
        if not self._is_group and _is_header(line):
            if not self._is_chained:
                return False
            self._begin(line)
        elif self._has_ended:
            return self._takes_after_end(line)
        elif line[:1].isspace() or not line:
            self._add(line)
        elif self._is_group and line[0] not in "|+":
            return self._takes_after_end(line)
        else:
            self._add(line)
            if not self._is_group:
                self._has_ended = True
        self._note_exception(line)
        return True

    def _takes_after_end(self, line: str) -> bool:
        self._is_chained = self._is_chained or line.startswith(_CHAINED)
        belongs = line.startswith(_CHAINED) or not line.strip()
        if belongs:
            self._add(line)
        return belongs

    def _note_exception(self, line: str) -> None:
        is_last = self._has_ended or (self._is_group and line.startswith("  | ") and not line.startswith("  |  "))
        if is_last and (found := _EXCEPTION.match(line)):
            self._exception = found[1]

    def _add(self, line: str) -> None:
        if len(self._first) < FIRST_LINES:
            self._first.append(line)
            return
        self._left_out += len(self._last) == LAST_LINES
        self._last.append(line)

    def as_block(self) -> Block:
        """Return it as far as it was read."""
        middle = [f"  ... {self._left_out} lines left out ..."] if self._left_out else []
        lines = [*self._first, *middle, *self._last]
        while lines and not lines[-1].strip():
            lines.pop()
        return Block(lines=lines, before=self._before, matches=self.matches, exception=self._exception)
