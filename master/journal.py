"""The master's log: lines on standard error, with the fields of ``extra`` as key=value."""

from __future__ import annotations

import logging
import os
from typing import TextIO

from master.wording import visible, visible_lines

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class KeyValueFormatter(logging.Formatter):
    """``2026-11-21 12:00:00 INFO master.main: master up nodes=8``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Append the extra fields to the first line."""
        text = super().format(record)
        extra = " ".join(
            f"{key}={_quoted(value)}"
            for key, value in vars(record).items()
            if key not in _STANDARD and value not in (None, "")
        )
        first, newline, rest = text.partition("\n")
        return visible_lines(f"{first} {extra}{newline}{rest}" if extra else text)


def _quoted(value: object) -> str:
    text = str(value)
    return repr(text) if " " in text or visible(text) != text else text


class JournalHandler(logging.Handler):
    """Write each line at once to the stream's descriptor; a full disk costs lines, which are counted, and nothing else.

    Not through the stream: it would keep what it cannot write, and the interpreter would fail over that at its end.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        line = self.format(record) + "\n"
        if self.lost:
            line = f"{self.lost} lines of the log could not be written\n{line}"
        try:
            self._write(line.encode("utf-8", "backslashreplace"))
        except OSError:
            self.lost += 1
        else:
            self.lost = 0

    def _write(self, payload: bytes) -> None:
        descriptor = self._stream.fileno()
        while payload:
            payload = payload[os.write(descriptor, payload) :]


def set_up_logging(level: int, stream: TextIO) -> None:
    """Log to ``stream``; libraries from WARNING on."""
    handler = JournalHandler(stream)
    handler.setFormatter(KeyValueFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("master", "handshake"):
        logging.getLogger(name).setLevel(level)
