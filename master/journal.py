"""The master's log: lines on standard error, with the fields of ``extra`` as key=value."""

from __future__ import annotations

import contextlib
import logging
import os
from itertools import pairwise
from pathlib import Path
from typing import TextIO

from master.durable import open_private
from master.wording import visible, visible_lines

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

JOURNAL_BYTES, JOURNAL_FILES = 4 * 2**20, 2
"""Of the file that `fleet up` has the master write to; and how many former ones are kept."""


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


class BoundedJournalHandler(JournalHandler):
    """A journal whose stream is a file, appended to: when it is full, it is copied aside and begun anew.

    It is not renamed: other processes, such as the zygote, write their last words to the same open file.

    Parameters
    ----------
    path
        The stream's file.
    most_bytes
        Its size from which it is begun anew. Nothing is lost but what others write in the moment of the copy.
    """

    def __init__(self, stream: TextIO, path: Path, most_bytes: int = JOURNAL_BYTES) -> None:
        super().__init__(stream)
        self._path = path
        self._most_bytes = most_bytes

    def _write(self, payload: bytes) -> None:
        super()._write(payload)
        descriptor = self._stream.fileno()
        size = os.fstat(descriptor).st_size
        if size >= self._most_bytes:
            try:
                self._copy(descriptor, size)
            finally:
                # Also where there was no room for the copy: it is the bound that keeps the box alive.
                os.ftruncate(descriptor, 0)

    def _copy(self, journal: int, size: int) -> None:
        former = [self._path.with_name(f"{self._path.name}.{number}") for number in range(JOURNAL_FILES, 0, -1)]
        for older, newer in pairwise(former):
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)
        # Appending needs no right to read, so the journal is opened once more for that.
        with self._path.open("rb") as source, open(former[-1], "wb", opener=open_private) as copy:
            copied = 0
            while sent := os.sendfile(copy.fileno(), source.fileno(), copied, size - copied):
                copied += sent


def set_up_logging(level: int, stream: TextIO, path: Path | None = None) -> None:
    """Log to ``stream``; libraries from WARNING on.

    Parameters
    ----------
    path
        The stream's own file, which is to be kept small; None if it is none, or others take care of it.
    """
    handler = JournalHandler(stream) if path is None else BoundedJournalHandler(stream, path)
    handler.setFormatter(KeyValueFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("master", "handshake"):
        logging.getLogger(name).setLevel(level)
