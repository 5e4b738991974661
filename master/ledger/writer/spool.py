"""The spool: a bounded write-ahead file for writes while the database is away.

Records are on disk before they are acknowledged, and are replayed in order. Each session of a master has one file,
``<ULID of the session>.spool``, so that file names sort by age. A record is a header (payload length, CRC-32 of the
rest, priority, sequence number) and a msgpack payload. A record that a crash truncated was never acknowledged, and is
cut off. A damaged record is skipped and logged, and its file is kept.
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
_SPARE_DIVISOR = 8
"""A full spool frees an eighth of its size beyond what the next write needs."""


class SpoolFull(LedgerUnavailable):
    """The database is away, and the spool is full of records that must not be dropped."""

    code = "spool_full"


class SpoolFailed(LedgerUnavailable):
    """The database is away, and the spool cannot be written."""

    code = "spool_failed"


@dataclass(frozen=True, slots=True)
class Record:
    """Entries that are applied together, and their sequence number in the session."""

    sequence: int
    entries: tuple[Entry, ...]

    @property
    def bytes(self) -> int:
        """Its size in a spool."""
        return _HEADER.size + len(_encode(self.entries))


@dataclass(slots=True)
class SpoolStatistics:
    """What the spool holds, and what it dropped when it was full."""

    records: int = 0
    bytes: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """By priority."""


@dataclass(frozen=True, slots=True)
class _RawRecord:
    priority: Priority
    sequence: int
    payload: bytes
    intact: bool = True

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
        """Read the files of earlier sessions; truncates records that a crash left unfinished.

        Raises
        ------
        SpoolFailed
        """
        try:
            for path in self._files():
                self._recover_file(path)
        except OSError as error:
            raise self._explain(error) from error

    def _recover_file(self, path: Path) -> None:
        valid_bytes = 0
        for raw in _scan(path):
            valid_bytes += raw.bytes
            if raw.intact:
                self.statistics.records += 1
            else:
                self._damaged.add(path.stem)
        torn = path.stat().st_size - valid_bytes
        if torn:
            log.info("a spool's last record was truncated by a crash", extra={"file": path.name, "bytes": torn})
            os.truncate(path, valid_bytes)
        if path.stem in self._damaged:
            log.error(
                "a spool is damaged: its readable records are applied, and the file is kept", extra={"file": str(path)}
            )
        self.statistics.bytes += valid_bytes

    def sessions(self) -> list[str]:
        """Return the sessions that have a spool file, oldest first."""
        return [path.stem for path in self._files()]

    def records_of(self, session_id: str) -> Iterator[Record]:
        """Yield a session's records in order, with one record in memory at a time.

        A record of another version of the program that cannot be decoded counts as damaged.

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
                    "a spooled write cannot be decoded", extra={"sequence": raw.sequence, "why": str(error)[:200]}
                )
                continue
            yield Record(raw.sequence, entries)

    def entries(self) -> list[Entry]:
        """Return all spooled entries in order, without changing anything.

        Raises
        ------
        SpoolFailed
        """
        try:
            return [entry for name in self.sessions() for record in self.records_of(name) for entry in record.entries]
        except OSError as error:
            raise self._explain(error) from error

    def append(self, records: Sequence[Record]) -> None:
        """Append records durably, all or none of them: after this returns they survive a power cut.

        Raises
        ------
        SpoolFull
            All its records must not be dropped.
        SpoolFailed
            The disk is full or broken.
        """
        raws = [_RawRecord(priority_of(record.entries), record.sequence, _encode(record.entries)) for record in records]
        try:
            raws = self._make_room(raws)
            if raws:
                self._write(raws)
        except OSError as error:
            raise self._explain(error) from error

    def remove(self, session_id: str) -> None:
        """Remove the file of a session whose records are applied; a damaged one is renamed instead.

        Raises
        ------
        OSError
        """
        path = self._folder / f"{session_id}.spool"
        if session_id == self.session_id:
            self._close()
        self._subtract(sum(1 for _ in _read(path)), path.stat().st_size)
        if session_id in self._damaged:
            path.rename(path.with_suffix(".damaged"))
        else:
            path.unlink()
        sync_folder(self._folder)

    def save_refused(self, record: Record, why: str) -> None:
        """Append a record that the database refuses to ``refused.jsonl``, for an operator to read.

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
        """Close the file."""
        self._close()

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.spool") if path.is_file())

    def _write(self, raws: Sequence[_RawRecord]) -> None:
        stream = self._open_stream()
        begin = stream.tell()
        try:
            stream.write(b"".join(raw.encode() for raw in raws))
            stream.flush()
            os.fsync(stream.fileno())
        except OSError:
            # A record that was not acknowledged must not be applied either.
            self._close()
            with contextlib.suppress(OSError):
                os.truncate(self._path, begin)
            raise
        self.statistics.records += len(raws)
        self.statistics.bytes += sum(raw.bytes for raw in raws)

    def _open_stream(self) -> IO[bytes]:
        if self._stream is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._stream = open(self._path, "ab", buffering=0, opener=open_private)  # noqa: SIM115 - kept open
            sync_folder(self._folder)
        return self._stream

    def _close(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()

    def _subtract(self, records: int, size: int) -> None:
        self.statistics.records -= records
        self.statistics.bytes -= size

    def _explain(self, error: OSError) -> SpoolFailed:
        return SpoolFailed(
            f"the database is away, and {self._folder} cannot be written: {error.strerror or error}",
            hint="free some space, or repair the folder",
        )

    def _make_room(self, raws: list[_RawRecord]) -> list[_RawRecord]:
        """Drop the oldest records of the lowest priority until ``raws`` fit; returns those of them to write."""
        needed = sum(raw.bytes for raw in raws)
        if self.statistics.bytes + needed <= self._max_bytes:
            return raws
        for priority in (Priority.SNAPSHOT, Priority.HISTORY):
            self._drop_oldest(priority, needed + self._max_bytes // _SPARE_DIVISOR)
            if self.statistics.bytes + needed <= self._max_bytes:
                return raws
        kept = [raw for raw in raws if raw.priority is Priority.SECURITY]
        for raw in raws:
            if raw.priority is not Priority.SECURITY:
                self._count_dropped(raw.priority)
        if self.statistics.bytes + sum(raw.bytes for raw in kept) <= self._max_bytes:
            return kept
        raise SpoolFull(
            f"{self.statistics.records} writes are spooled, and none of them may be dropped",
            hint="bring the database back; `fleet doctor` looks closer",
        )

    def _drop_oldest(self, priority: Priority, wanted: int) -> None:
        for path in self._files():
            if wanted <= 0:
                return
            wanted -= self._compact(path, priority, wanted)

    def _compact(self, path: Path, priority: Priority, wanted: int) -> int:
        """Rewrite a file without its oldest records of one priority; returns the bytes freed."""
        freed = dropped = 0
        if path == self._path:
            self._close()
        compacted = path.with_suffix(".thinned")
        with open(compacted, "wb", opener=open_private) as stream:
            for raw in _read(path):
                if raw.priority is priority and freed < wanted:
                    freed += raw.bytes
                    dropped += 1
                else:
                    stream.write(raw.encode())
            stream.flush()
            os.fsync(stream.fileno())
        if dropped:
            self._subtract(dropped, path.stat().st_size - compacted.stat().st_size)
            compacted.replace(path)
            sync_folder(self._folder)
            self._count_dropped(priority, dropped)
        else:
            compacted.unlink()
        return freed

    def _count_dropped(self, priority: Priority, count: int = 1) -> None:
        name = priority.name.lower()
        self.statistics.dropped[name] = self.statistics.dropped.get(name, 0) + count


def _encode(entries: tuple[Entry, ...]) -> bytes:
    return msgspec.msgpack.encode(entries)


def _read(path: Path) -> Iterator[_RawRecord]:
    """Yield the intact records of a file."""
    return (raw for raw in _scan(path) if raw.intact)


def _scan(path: Path) -> Iterator[_RawRecord]:
    """Yield the complete records of a file, damaged ones included; ends at a truncated one."""
    with path.open("rb") as stream:
        while len(header := stream.read(_HEADER.size)) == _HEADER.size:
            length, checksum, priority, sequence = _HEADER.unpack(header)
            # A damaged length leads to the end of the file, or to a record whose checksum fails too.
            payload = stream.read(length)
            if len(payload) < length:
                return
            intact = zlib.crc32(payload, zlib.crc32(header[8:])) == checksum and priority in set(Priority)
            yield _RawRecord(Priority(priority) if intact else Priority.SECURITY, sequence, payload, intact)
