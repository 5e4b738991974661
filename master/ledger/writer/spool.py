"""Where writes wait while the database is away: bounded, on disk before they are acknowledged, read back in order.

One file for each session of a master, ``<ULID of the session>.spool``, so that the files' names sort by age. A record
is a header (length of its payload, CRC-32 of the rest, priority, number) and a msgpack payload. A record cut short by a
crash was not acknowledged, and is cut off. One that is damaged is passed over, told, and the file kept.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from master.durable import open_private, sync_folder
from master.ledger.errors import LedgerUnavailable
from master.ledger.writer.entries import Entry, Priority, priority_of

log = logging.getLogger(__name__)

MAX_BYTES = 32 * 2**20
_HEADER = struct.Struct(">IIBQ")
_TAIL = struct.Struct(">BQ")
"""The part of the header that the checksum covers."""
_ROOM = 8
"""A full spool makes room for more than the write at hand: an eighth of it."""


class SpoolFull(LedgerUnavailable):
    """The database is away, and what waits for it may not be dropped."""

    code = "spool_full"


class SpoolFailed(LedgerUnavailable):
    """The database is away, and the disk does not take what should wait for it."""

    code = "spool_failed"


@dataclass(frozen=True, slots=True)
class Record:
    """Entries that are applied together, with their number in the session."""

    sequence: int
    entries: tuple[Entry, ...]


@dataclass(slots=True)
class SpoolStatistics:
    """What waits, and what a full spool gave up."""

    records: int = 0
    bytes: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """By priority."""


@dataclass(frozen=True, slots=True)
class _Raw:
    priority: Priority
    sequence: int
    payload: bytes
    sound: bool = True

    def encode(self) -> bytes:
        tail = _TAIL.pack(self.priority, self.sequence)
        return struct.pack(">II", len(self.payload), zlib.crc32(self.payload, zlib.crc32(tail))) + tail + self.payload

    @property
    def bytes(self) -> int:
        return _HEADER.size + len(self.payload)


class Spool:
    """The spool of one state folder; used by the ledger's writer alone.

    Parameters
    ----------
    folder
        Made when it is first needed, readable by its owner only.
    session_id
        The ULID of this run of the master.
    max_bytes
        Of all files together.
    """

    def __init__(self, folder: Path, session_id: str, *, max_bytes: int = MAX_BYTES) -> None:
        self.session_id = session_id
        self._folder = folder
        self._path = folder / f"{session_id}.spool"
        self._max_bytes = max_bytes
        self._stream: IO[bytes] | None = None
        self._damaged: set[str] = set()
        self.statistics = SpoolStatistics()

    def open(self) -> None:
        """See what waits from earlier sessions; cuts off what a crash left unfinished.

        Raises
        ------
        SpoolFailed
        """
        try:
            for path in self._files():
                self._look_at(path)
        except OSError as error:
            raise self._failed(error) from error

    def _look_at(self, path: Path) -> None:
        whole = 0
        for raw in _scan(path):
            whole += raw.bytes
            if raw.sound:
                self.statistics.records += 1
            else:
                self._damaged.add(path.stem)
        torn = path.stat().st_size - whole
        if torn:
            log.info("a spool's last record was cut short by a crash", extra={"file": path.name, "bytes": torn})
            os.truncate(path, whole)
        if path.stem in self._damaged:
            log.error(
                "a spool is damaged: what can be read of it is applied, and it is kept", extra={"file": str(path)}
            )
        self.statistics.bytes += whole

    def sessions(self) -> list[str]:
        """Return the sessions of which something waits, the oldest first."""
        return [path.stem for path in self._files()]

    def records_of(self, session_id: str) -> Iterator[Record]:
        """Read what waits of a session, in order; a record at a time is in memory.

        One that another version of the program wrote, and this one does not understand, counts as damaged.

        Raises
        ------
        OSError
        """
        for raw in _read(self._folder / f"{session_id}.spool"):
            try:
                entries = msgspec.msgpack.decode(raw.payload, type=tuple[Entry, ...])
            except msgspec.MsgspecError as error:
                self._damaged.add(session_id)
                log.error(
                    "a write that waited cannot be read", extra={"sequence": raw.sequence, "why": str(error)[:200]}
                )
                continue
            yield Record(raw.sequence, entries)

    def entries(self) -> list[Entry]:
        """Read all that waits, in order; does not change anything.

        Raises
        ------
        SpoolFailed
        """
        try:
            return [entry for name in self.sessions() for record in self.records_of(name) for entry in record.entries]
        except OSError as error:
            raise self._failed(error) from error

    def append(self, records: Sequence[Record]) -> None:
        """Put records on disk, all or none of them; when this returns they survive a power cut.

        Raises
        ------
        SpoolFull
            Only what must not be dropped waits already.
        SpoolFailed
            The disk is full or broken.
        """
        raws = [_Raw(priority_of(record.entries), record.sequence, _encode(record.entries)) for record in records]
        try:
            raws = self._make_room(raws)
            if raws:
                self._write(raws)
        except OSError as error:
            raise self._failed(error) from error

    def remove(self, session_id: str) -> None:
        """Drop the file of a session whose records are applied; a damaged one is put aside.

        Raises
        ------
        OSError
        """
        path = self._folder / f"{session_id}.spool"
        if session_id == self.session_id:
            self._close()
        self._forget(sum(1 for _ in _read(path)), path.stat().st_size)
        if session_id in self._damaged:
            path.rename(path.with_suffix(".damaged"))
        else:
            path.unlink()
        sync_folder(self._folder)

    def set_aside(self, record: Record, why: str) -> None:
        """Keep a record that the database will never take where an operator can read it.

        Raises
        ------
        OSError
        """
        line = msgspec.json.encode({"why": why, "sequence": record.sequence, "entries": record.entries})
        with open(self._folder / "refused.jsonl", "ab", opener=open_private) as stream:
            stream.write(line + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._close()

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.spool") if path.is_file())

    def _write(self, raws: Sequence[_Raw]) -> None:
        stream = self._opened()
        begin = stream.tell()
        try:
            stream.write(b"".join(raw.encode() for raw in raws))
            stream.flush()
            os.fsync(stream.fileno())
        except OSError:
            # What was not acknowledged must not be applied either.
            self._close()
            with contextlib.suppress(OSError):
                os.truncate(self._path, begin)
            raise
        self.statistics.records += len(raws)
        self.statistics.bytes += sum(raw.bytes for raw in raws)

    def _opened(self) -> IO[bytes]:
        if self._stream is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._stream = open(self._path, "ab", buffering=0, opener=open_private)  # noqa: SIM115 - kept open
            sync_folder(self._folder)
        return self._stream

    def _close(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()

    def _forget(self, records: int, size: int) -> None:
        self.statistics.records -= records
        self.statistics.bytes -= size

    def _failed(self, error: OSError) -> SpoolFailed:
        return SpoolFailed(
            f"the database is away, and {self._folder} takes nothing: {error.strerror or error}",
            hint="free some space, or mend the folder",
        )

    def _make_room(self, raws: list[_Raw]) -> list[_Raw]:
        """Drop the oldest of the lowest priority until the new records fit; returns those of them that are kept."""
        needed = sum(raw.bytes for raw in raws)
        if self.statistics.bytes + needed <= self._max_bytes:
            return raws
        for priority in (Priority.SNAPSHOT, Priority.HISTORY):
            self._drop_oldest(priority, needed + self._max_bytes // _ROOM)
            if self.statistics.bytes + needed <= self._max_bytes:
                return raws
        kept = [raw for raw in raws if raw.priority is Priority.SECURITY]
        for raw in raws:
            if raw.priority is not Priority.SECURITY:
                self._count_dropped(raw.priority)
        if self.statistics.bytes + sum(raw.bytes for raw in kept) <= self._max_bytes:
            return kept
        raise SpoolFull(
            f"{self.statistics.records} writes wait for the database, and none of them may be dropped",
            hint="bring the database back; `fleet doctor` looks closer",
        )

    def _drop_oldest(self, priority: Priority, wanted: int) -> None:
        for path in self._files():
            if wanted <= 0:
                return
            wanted -= self._thin(path, priority, wanted)

    def _thin(self, path: Path, priority: Priority, wanted: int) -> int:
        """Write a file anew without its oldest records of one priority; returns the bytes won."""
        won = dropped = 0
        if path == self._path:
            self._close()
        thinned = path.with_suffix(".thinned")
        with open(thinned, "wb", opener=open_private) as stream:
            for raw in _read(path):
                if raw.priority is priority and won < wanted:
                    won += raw.bytes
                    dropped += 1
                else:
                    stream.write(raw.encode())
            stream.flush()
            os.fsync(stream.fileno())
        if dropped:
            self._forget(dropped, path.stat().st_size - thinned.stat().st_size)
            thinned.replace(path)
            sync_folder(self._folder)
            self._count_dropped(priority, dropped)
        else:
            thinned.unlink()
        return won

    def _count_dropped(self, priority: Priority, count: int = 1) -> None:
        name = priority.name.lower()
        self.statistics.dropped[name] = self.statistics.dropped.get(name, 0) + count


def _encode(entries: tuple[Entry, ...]) -> bytes:
    return msgspec.msgpack.encode(entries)


def _read(path: Path) -> Iterator[_Raw]:
    """Read the sound records of a file."""
    return (raw for raw in _scan(path) if raw.sound)


def _scan(path: Path) -> Iterator[_Raw]:
    """Read the whole records of a file, those that are damaged included; ends at one that is cut short."""
    with path.open("rb") as stream:
        while len(header := stream.read(_HEADER.size)) == _HEADER.size:
            length, checksum, priority, sequence = _HEADER.unpack(header)
            # A length that is damaged leads to the end of the file, or to a record that is damaged too.
            payload = stream.read(length)
            if len(payload) < length:
                return
            sound = zlib.crc32(payload, zlib.crc32(header[8:])) == checksum and priority in set(Priority)
            yield _Raw(Priority(priority) if sound else Priority.SECURITY, sequence, payload, sound)
