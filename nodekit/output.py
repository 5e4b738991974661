"""A node's standard output and error: timestamps on lines, and a rate limit.

The streams write directly to the node's own files, so that neither a dead master nor a dead zygote can break them.
Foreign code that writes to the descriptors bypasses this; the master's log rotation bounds it.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import threading
import time
from collections.abc import Callable

_BURST_S = 8
"""Burst size in seconds of the rate: tracebacks come all at once."""
_BEGINS_WITH_TIME = re.compile(r"\[?\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}")
_FRACTION = re.compile(rb"[.,]\d")
_MAX_PARTIAL = 64 * 1024
_SECOND_US = 1_000_000


class OutputLimit:
    """A token bucket shared by both streams of a node.

    Parameters
    ----------
    bytes_s
        Sustained rate in bytes per second; 0 for no limit.
    clock
        Monotonic seconds.
    """

    def __init__(self, bytes_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._bytes_s = bytes_s
        self._clock = clock
        self._left = float(bytes_s * _BURST_S)
        self._at = clock()
        self.dropped_lines = 0
        self.dropped_bytes = 0

    def admits(self, size: int) -> bool:
        """Take ``size`` bytes from the bucket; False, and counted as a dropped line, when it has too few."""
        if not self._bytes_s:
            return True
        now = self._clock()
        self._left = min(self._left + (now - self._at) * self._bytes_s, self._bytes_s * _BURST_S)
        self._at = now
        # After a drop, wait for a second's worth of tokens: alternating lines would hide most of the flood.
        if size > self._left or (self.dropped_lines and self._left < self._bytes_s):
            self.dropped_lines += 1
            self.dropped_bytes += size
            return False
        self._left -= size
        return True

    def take_dropped(self) -> str:
        """Return a summary of the lines dropped since the last call; empty for none."""
        if not self.dropped_lines:
            return ""
        told = f"[fleet] {self.dropped_lines} lines ({self.dropped_bytes} bytes) of a flood dropped"
        self.dropped_lines = self.dropped_bytes = 0
        return told


class StreamOrder:
    """What tells the order of the lines of two streams, shared by both.

    Lines have the second in which they were written. Where the streams take turns within one, the first line of each
    turn has its microseconds too; the lines after it follow it. So most lines cost no byte more.
    """

    def __init__(self) -> None:
        self._last: LineStream | None = None
        self._at_us = 0

    def fraction(self, stream: LineStream, now: float) -> str:
        """Return what the stream's next line needs after its second; empty in most cases."""
        at_us = int(now * 1e6)
        same_second = at_us // _SECOND_US == self._at_us // _SECOND_US
        if same_second:
            # The clock is not finer than two writes in a row, always.
            at_us = min(max(at_us, self._at_us + 1), (at_us // _SECOND_US + 1) * _SECOND_US - 1)
        takes_turn = same_second and self._last is not stream
        self._last, self._at_us = stream, at_us
        return f".{at_us % _SECOND_US:06}" if takes_turn else ""


class LineStream(io.TextIOBase):
    """A text stream that writes complete lines to a descriptor, each with a timestamp.

    Lines that already start with a date and time (a logger's) get none, only what tells their order.

    Parameters
    ----------
    descriptor
        Kept open.
    limit
        Shared by the streams of a process.
    now
        Unix seconds.
    order
        Shared by the streams of a process.
    """

    def __init__(
        self,
        descriptor: int,
        limit: OutputLimit,
        now: Callable[[], float] = time.time,
        order: StreamOrder | None = None,
    ) -> None:
        super().__init__()
        self._order = StreamOrder() if order is None else order
        self._descriptor = descriptor
        self._limit = limit
        self._now = now
        self._partial = ""
        self._lock = threading.Lock()
        self.buffer = _Bytes(self)
        self.name = f"<fd {descriptor}>"

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """UTF-8, whatever the locale."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """The error handler for text that UTF-8 cannot encode."""
        return "backslashreplace"

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return False."""
        return False

    def write(self, text: str, /) -> int:
        """Write the complete lines of ``text``; an incomplete one is buffered until its end or :meth:`finish`."""
        with self._lock:
            *lines, self._partial = (self._partial + text).split("\n")
            if len(self._partial) > _MAX_PARTIAL:
                lines.append(self._partial)
                self._partial = ""
            if lines:
                self._write_lines(lines)
        return len(text)

    def flush(self) -> None:
        """Do nothing: complete lines are written at once, an incomplete one stays buffered."""

    def finish(self) -> None:
        """Write the buffered incomplete line."""
        with self._lock:
            lines = [self._partial] if self._partial else []
            self._partial = ""
            self._write_lines(lines, at_the_end=True)

    def _write_lines(self, lines: list[str], *, at_the_end: bool = False) -> None:
        now = self._now()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S ", time.localtime(now))
        unmarked = True
        out: list[bytes] = []
        for line in lines:
            stamped = line if not line or _BEGINS_WITH_TIME.match(line) else stamp + line
            encoded = stamped.encode("utf-8", "backslashreplace") + b"\n"
            before = self._limit.dropped_lines
            if not self._limit.admits(len(encoded)):
                continue
            if before:
                out.append((stamp + self._limit.take_dropped() + "\n").encode())
            if unmarked and line:
                unmarked = False
                if fraction := self._order.fraction(self, now):
                    encoded = _with_fraction(encoded, fraction, stamp)
            out.append(encoded)
        if at_the_end and self._limit.dropped_lines:
            # Written beyond the limit: this is the last chance to report it.
            out.append((stamp + self._limit.take_dropped() + "\n").encode())
        payload = b"".join(out)
        try:
            while payload:
                payload = payload[os.write(self._descriptor, payload) :]
        except OSError:
            # A full or read-only disk must not stop the bot.
            return


def _with_fraction(line: bytes, fraction: str, stamp: str) -> bytes:
    """Return a line with microseconds after its second; one whose own time is another, such as UTC, stays as it is."""
    end = len(stamp) - 1 + (line[:1] == b"[")
    own = line[end - len(stamp) + 1 : end].replace(b"T", b" ").decode("utf-8", "replace")
    if f"{own} " != stamp or _FRACTION.match(line, end):
        return line
    return line[:end] + fraction.encode() + line[end:]


class _Bytes(io.RawIOBase):
    """The ``buffer`` of the stream: bytes are written as lines too."""

    def __init__(self, stream: LineStream) -> None:
        super().__init__()
        self._stream = stream
        # A character may be split over two writes.
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._stream.fileno()

    def write(self, payload: bytes, /) -> int:  # type: ignore[override]
        """Write bytes as UTF-8."""
        self._stream.write(self._decoder.decode(bytes(payload)))
        return len(payload)
