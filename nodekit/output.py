"""A node's standard output and error: a time before each line, and a bound on what a flood may write.

The streams write straight to the node's own files, so that neither a dead master nor a dead zygote can break them.
Foreign code that writes to the descriptors itself goes past this; the master's rotation bounds that.
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
"""A burst of this many seconds' worth passes: tracebacks come at once."""
_BEGINS_WITH_TIME = re.compile(r"\[?\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}")
_MAX_PARTIAL = 64 * 1024


class OutputLimit:
    """A token bucket over both streams of a node.

    Parameters
    ----------
    bytes_s
        Bytes a second that may be written for long; 0 for no limit.
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
        """Take ``size`` bytes out of the bucket; False, and counted as a dropped line, when they are not there."""
        if not self._bytes_s:
            return True
        now = self._clock()
        self._left = min(self._left + (now - self._at) * self._bytes_s, self._bytes_s * _BURST_S)
        self._at = now
        # After a drop, wait for room worth a second: one line in, one line out would hide most of the flood.
        if size > self._left or (self.dropped_lines and self._left < self._bytes_s):
            self.dropped_lines += 1
            self.dropped_bytes += size
            return False
        self._left -= size
        return True

    def take_dropped(self) -> str:
        """Return a line about what was dropped since the last time; empty when nothing was."""
        if not self.dropped_lines:
            return ""
        told = f"[fleet] {self.dropped_lines} lines ({self.dropped_bytes} bytes) of a flood dropped"
        self.dropped_lines = self.dropped_bytes = 0
        return told


class LineStream(io.TextIOBase):
    """A text stream that writes whole lines to a descriptor, each with its time.

    Lines that begin with a date and time of their own (a logger's) are left as they are.

    Parameters
    ----------
    descriptor
        Kept open.
    limit
        Shared by the streams of a process.
    now
        Unix seconds.
    """

    def __init__(self, descriptor: int, limit: OutputLimit, now: Callable[[], float] = time.time) -> None:
        super().__init__()
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
        """What is done with what UTF-8 cannot hold."""
        return "backslashreplace"

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def writable(self) -> bool:
        """Say yes."""
        return True

    def isatty(self) -> bool:
        """Say no."""
        return False

    def write(self, text: str, /) -> int:
        """Write the whole lines of ``text``; the rest waits for its end of line, or for the end of the process."""
        with self._lock:
            *lines, self._partial = (self._partial + text).split("\n")
            if len(self._partial) > _MAX_PARTIAL:
                lines.append(self._partial)
                self._partial = ""
            if lines:
                self._write_lines(lines)
        return len(text)

    def flush(self) -> None:
        """Do nothing while a line is incomplete; lines are written at once."""

    def finish(self) -> None:
        """Write what has no end of line yet."""
        with self._lock:
            lines = [self._partial] if self._partial else []
            self._partial = ""
            self._write_lines(lines, at_the_end=True)

    def _write_lines(self, lines: list[str], *, at_the_end: bool = False) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S ", time.localtime(self._now()))
        out: list[bytes] = []
        for line in lines:
            stamped = line if not line or _BEGINS_WITH_TIME.match(line) else stamp + line
            encoded = stamped.encode("utf-8", "backslashreplace") + b"\n"
            before = self._limit.dropped_lines
            if not self._limit.admits(len(encoded)):
                continue
            if before:
                out.append((stamp + self._limit.take_dropped() + "\n").encode())
            out.append(encoded)
        if at_the_end and self._limit.dropped_lines:
            # Told beyond the limit: nobody would tell it later.
            out.append((stamp + self._limit.take_dropped() + "\n").encode())
        payload = b"".join(out)
        try:
            while payload:
                payload = payload[os.write(self._descriptor, payload) :]
        except OSError:
            # A full or read-only disk costs the log, never the bot.
            return


class _Bytes(io.RawIOBase):
    """What ``sys.stdout.buffer`` is for: bytes go through the same lines."""

    def __init__(self, stream: LineStream) -> None:
        super().__init__()
        self._stream = stream
        # A character may come in two writes.
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def writable(self) -> bool:
        """Say yes."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._stream.fileno()

    def write(self, payload: bytes, /) -> int:  # type: ignore[override]
        """Write bytes as UTF-8."""
        self._stream.write(self._decoder.decode(bytes(payload)))
        return len(payload)
