"""What the fleet has stored of its errors: the nodes' logs, rotated ones too, and what the ledger holds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from handshake.files import open_regular
from master.ledger.rows import error_events, process_events
from master.ledger.rows.records import Node
from master.services.core.exit_meaning import without_stamp
from master.services.healing.matching import MAX_LINE_BYTES
from master.services.healing.sighting import SeenIn
from master.supervision.log_reading import stamp_of
from master.supervision.logs import NodeLogs

BLOCK_BYTES = 1 << 16
_ROWS = 500
"""Error reports that are read from the ledger."""
_ROWS_OF_NODE = 100
_RECENT_LINES = 1_000


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A log of a node."""

    node: str
    seen_in: SeenIn
    path: Path
    modified: float
    size: int


@dataclass(frozen=True, slots=True)
class StoredText:
    """An error of which the ledger holds the text."""

    node: str
    seen_in: SeenIn
    at: float
    text: str


def stored_files(logs: NodeLogs, names: Iterable[str], wanted: Iterable[SeenIn]) -> list[StoredFile]:
    """Return the logs in which a solution that applies to ``wanted`` can find something, newest first. Blocks.

    The end of a process is its last lines on standard error, so those logs stand for ends too.
    """
    streams = set(wanted)
    found = list[StoredFile]()
    for name in names:
        out, err = logs.paths(name)
        if streams & {SeenIn.STDERR, SeenIn.EXIT}:
            seen_in = SeenIn.STDERR if SeenIn.STDERR in streams else SeenIn.EXIT
            found += _with_rotated(name, seen_in, err)
        if SeenIn.STDOUT in streams:
            found += _with_rotated(name, SeenIn.STDOUT, out)
    return sorted(found, key=lambda file: file.modified, reverse=True)


def _with_rotated(name: str, seen_in: SeenIn, current: Path) -> Iterator[StoredFile]:
    path, number = current, 0
    while True:
        try:
            status = path.lstat()
        except FileNotFoundError:
            if number:
                return
        else:
            yield StoredFile(name, seen_in, path, status.st_mtime, status.st_size)
        number += 1
        path = current.with_name(f"{current.name}.{number}")


def whole_lines(file: StoredFile, *, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield a log in chunks of whole lines, and how many bytes were read for each; of a long one only the end.

    Raises
    ------
    OSError
    """
    with open(open_regular(file.path, os.O_RDONLY), "rb") as stream:
        left, rest = most_bytes, b""
        begin = max(0, os.fstat(stream.fileno()).st_size - most_bytes)
        if begin:
            stream.seek(begin)
            # It begins within a line, which is not read.
            left -= len(stream.readline(BLOCK_BYTES))
        while left > 0 and (block := stream.read(min(BLOCK_BYTES, left))):
            left -= len(block)
            lines, newline, rest = (rest + block).rpartition(b"\n")
            if newline:
                yield len(block), lines
            # Of a line that has no end only the beginning is looked at.
            rest = rest[:MAX_LINE_BYTES] if len(rest) > BLOCK_BYTES else rest
        if rest:
            yield 0, rest


def recent_lines(logs: NodeLogs, names: Iterable[str]) -> list[str]:
    """Return up to a thousand lines that nodes wrote last, without the times before them. Blocks."""
    found = list[str]()
    for file in stored_files(logs, names, (SeenIn.STDERR, SeenIn.STDOUT)):
        with contextlib.suppress(OSError):
            for _, chunk in whole_lines(file, most_bytes=BLOCK_BYTES):
                lines = chunk.decode("utf-8", "replace").split("\n")
                found += [without_stamp(line[:MAX_LINE_BYTES]) for line in lines]
        if len(found) >= _RECENT_LINES:
            break
    return found[:_RECENT_LINES]


def time_of_line(line: bytes) -> float | None:
    """Return the time that a line of a log begins with."""
    found = stamp_of(line[:64].decode("utf-8", "replace"))
    return None if found is None else found.at


def stored_texts(connection: Connection, nodes: Sequence[Node], wanted: Iterable[SeenIn]) -> list[StoredText]:
    """Return what the ledger holds of errors, for a solution that applies to ``wanted``."""
    streams = set(wanted)
    names = {node.id: node.name for node in nodes}
    texts = list[StoredText]()
    for event in error_events.recent(connection, limit=_ROWS):
        seen_in = SeenIn.GATEWAY_CLOSE if event.source == "gateway" else SeenIn.REPORT
        # The last lines before an end are in the node's log.
        if event.source == "exit" or seen_in not in streams or event.node_id not in names:
            continue
        text = f"{event.source} {event.summary}\n{event.detail}"
        texts.append(StoredText(names[event.node_id], seen_in, (event.last_at or event.at).timestamp(), text))
    if streams & {SeenIn.EXIT, SeenIn.STATE}:
        for node in nodes:
            texts += _changes_of(connection, node, streams)
    return texts


def _changes_of(connection: Connection, node: Node, streams: set[SeenIn]) -> Iterator[StoredText]:
    for record in process_events.recent(connection, node.id, limit=_ROWS_OF_NODE):
        if record.kind == "exited" and SeenIn.EXIT in streams:
            yield StoredText(node.name, SeenIn.EXIT, record.at.timestamp(), record.detail)
        elif record.kind != "exited" and SeenIn.STATE in streams:
            yield StoredText(node.name, SeenIn.STATE, record.at.timestamp(), f"{record.kind}: {record.detail}")
