"""What a process wrote last: the part of its node's log files that is its own, not its predecessor's or successor's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from handshake.files import open_regular
from master.security.tokens import hide_tokens
from master.supervision.logs import NodeLogs

_MAX_BYTES = 8_192


class OutputMark(NamedTuple):
    """The sizes of a node's log files when a process ended: nobody writes until the next one starts."""

    stdout_bytes: int
    stderr_bytes: int


class LastOutput:
    """Read what a node wrote between two marks."""

    def __init__(self, logs: NodeLogs) -> None:
        self._logs = logs

    def mark(self, name: str) -> OutputMark:
        """Return where a node's log files end now; takes microseconds."""
        return OutputMark(*self._logs.sizes(name))

    def read(self, name: str, begin: OutputMark | None, end: OutputMark, *, lines: int = 20) -> list[str]:
        """Return the last lines on standard error between two marks, or else on standard output. Blocks.

        Parameters
        ----------
        begin
            None if it is not known: then older lines may be among them.
        """
        for index in (1, 0):
            path, first = self._logs.paths(name)[index], 0 if begin is None else begin[index]
            found = _lines_between(path, first if first <= end[index] else 0, end[index])
            if found:
                return found[-lines:]
        return []


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _lines_between(path: Path, begin: int, end: int) -> list[str]:
    """Return the lines between two offsets; a file that was rotated meanwhile ends its predecessor there."""
    if _size(path) < end:
        path, begin, end = (older := path.with_name(f"{path.name}.1")), 0, _size(older)
    first = max(begin, end - _MAX_BYTES)
    try:
        with open(open_regular(path, os.O_RDONLY), "rb") as stream:
            stream.seek(first)
            content = stream.read(max(end - first, 0)).decode("utf-8", "replace")
    except OSError:
        return []
    found = content.splitlines()[1 if first > begin else 0 :]
    # They go into the ledger and to Discord.
    return list(map(hide_tokens, found)) if any(line.strip() for line in found) else []
