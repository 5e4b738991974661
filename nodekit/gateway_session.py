"""A node's gateway session on disk, for its successor: the data for RESUME, and the events that fill the cache.

A file that node and master share: one header page mapped into memory, and a log after it. The header has the last
sequence number, which costs one memory write for each event and survives a SIGKILL. The log has the events that built
the cache (READY, GUILD_CREATE, ...), compressed. https://discord.com/developers/docs/events/gateway#resuming
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from handshake.files import open_regular

log = logging.getLogger(__name__)

SESSION_FD_VARIABLE = "FLEET_SESSION_FD"
MAX_AGE_S = 180.0
"""An older session is not resumed: Discord drops a session after minutes without a connection."""
MAX_LOG_BYTES = 8 * 1024 * 1024
_HEADER = struct.Struct("<8sQQQQ8sQQII")
"""Magic, sequence, last sign of life (milliseconds, Unix), bytes of log, successor, boot of the box, milliseconds since
that boot (inside of one boot the age does not depend on how the clock is set), intents, shard id and count."""
_MAGIC = b"FLEETGS3"
_PROGRESS, _SUCCESSOR_AT, _ORIGIN, _ORIGIN_AT = struct.Struct("<8sQQQ"), 32, struct.Struct("<8sQQII"), 40
"""The same in the parts that the node writes: what is between them is written by the master, at any moment."""
_LENGTH = struct.Struct("<I")
_PAGE = 4096
_USES = struct.Struct("<Q")
_USES_AT = 256
"""Behind the header, whose form an older kit wrote: how often somebody used the bot, in all processes of the node."""

_USED = frozenset({"INTERACTION_CREATE", "MESSAGE_CREATE", "GUILD_MEMBER_ADD", "GUILD_MEMBER_REMOVE"})
"""What people do that bots act upon. Not presences, typing, or reactions, which nodes themselves add to a patch."""
_CACHED = ("GUILD_", "CHANNEL_CREATE", "CHANNEL_UPDATE", "CHANNEL_DELETE", "THREAD_", "STAGE_INSTANCE_", "USER_UPDATE")
_NOT_CACHED = ("GUILD_MEMBER_", "GUILD_MEMBERS_", "GUILD_BAN_", "GUILD_AUDIT_LOG_", "GUILD_SCHEDULED_EVENT_USER_")


@dataclass(frozen=True, slots=True)
class Identification:
    """What an IDENTIFY asks for, and a RESUME cannot change.

    Parameters
    ----------
    shard
        Id and count; None: the client is not sharded.
    """

    intents: int
    shard: tuple[int, int] | None = None


class _Frame(msgspec.Struct):
    t: str | None = None
    s: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None


class _Identity(msgspec.Struct):
    session_id: str
    resume_gateway_url: str


class _Ready(msgspec.Struct):
    d: _Identity


@dataclass(frozen=True, slots=True)
class SavedSession:
    """The state that a successor starts from.

    Parameters
    ----------
    identification
        What the session was begun with.
    events
        Complete gateway payloads (``{"t": ..., "d": ...}``) in order, READY first.
    answers
        Cached REST responses by path.
    """

    session_id: str
    resume_url: str
    sequence: int
    identification: Identification
    events: list[dict[str, Any]] = field(repr=False)
    answers: dict[str, Any] = field(repr=False)


class GatewaySession:
    """The shared file of one node.

    Parameters
    ----------
    descriptor
        Open for reading and writing; closed by :meth:`close`.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        clock: Callable[[], float] = time.time,
        since_boot: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._since_boot = since_boot
        self._boot = _boot_mark()
        # Allocated, not only made longer: writing into a hole of a full disk through the map would be a SIGBUS.
        os.posix_fallocate(descriptor, 0, _PAGE)
        self._header = mmap.mmap(descriptor, _PAGE)
        (self._uses,) = _USES.unpack_from(self._header, _USES_AT)
        self._decode = msgspec.json.Decoder(_Frame).decode
        self._sequence = 0
        self._log_bytes = 0
        self._identification = Identification(0)
        self._writing = False

    def saved(self) -> SavedSession | None:
        """Return the predecessor's session; None when there is none to resume."""
        magic, sequence, seen_ms, log_bytes, _, boot, since_boot_ms, *asked = _HEADER.unpack_from(self._header)
        same_boot = boot == self._boot
        age_s = self._since_boot() - since_boot_ms / 1000 if same_boot else self._clock() - seen_ms / 1000
        if magic != _MAGIC or not 0 < log_bytes <= MAX_LOG_BYTES or not -60 < age_s < MAX_AGE_S:
            return None
        try:
            payloads = list(self._payloads(log_bytes))
            identity = msgspec.json.decode(payloads[0], type=_Ready).d
            events = [msgspec.json.decode(payload) for payload in payloads]
        except (IndexError, ValueError, OSError, zlib.error, struct.error, msgspec.MsgspecError):
            return None
        # Further events of the same session are appended.
        self._sequence, self._log_bytes, self._writing = sequence, log_bytes, True
        intents, shard_id, shard_count = asked
        self._identification = Identification(intents, (shard_id, shard_count) if shard_count else None)
        answers = {event["path"]: event["answer"] for event in events if "path" in event}
        return SavedSession(
            identity.session_id,
            identity.resume_gateway_url,
            sequence,
            self._identification,
            [event for event in events if "path" not in event],
            answers,
        )

    def _payloads(self, log_bytes: int) -> Iterator[bytes]:
        log = os.pread(self._descriptor, log_bytes, _PAGE)
        if len(log) != log_bytes:
            raise ValueError("the log is cut off")
        at = 0
        while at < log_bytes:
            (length,) = _LENGTH.unpack_from(log, at)
            at += _LENGTH.size
            inflate = zlib.decompressobj()
            yield inflate.decompress(log[at : at + length], 64 * MAX_LOG_BYTES)
            at += length

    def begin_as(self, identification: Identification) -> None:
        """Record what the sessions of this process are begun with."""
        self._identification = identification

    def take(self, raw: str | bytes) -> bool:
        """Record one raw gateway payload, before it is handled; True when a new session starts."""
        try:
            frame = self._decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            # Not Discord's: what becomes of the connection is discord.py's to say.
            return False
        if frame.s is None or frame.t is None:
            return False
        began = frame.t == "READY"
        if began:
            self._log_bytes, self._writing = 0, True
            self._append(raw)
        elif self._writing and frame.t.startswith(_CACHED) and not frame.t.startswith(_NOT_CACHED):
            self._append(raw)
        self._sequence = frame.s
        self._note()
        if frame.t in _USED:
            self._count_use(raw)
        return began

    def _count_use(self, raw: str | bytes) -> None:
        text = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
        if '"bot":true' in text or '"bot": true' in text:
            return  # Messages of bots, this one's included, are no use of it.
        self._uses = (self._uses + 1) % 2**63
        _USES.pack_into(self._header, _USES_AT, self._uses)

    def keep_answer(self, path: str, answer: Any) -> None:
        """Cache a REST response that the successor would request again."""
        if self._writing:
            self._append(msgspec.json.encode({"path": path, "answer": answer}))
            self._note()

    def touch(self) -> None:
        """Update the time of the last activity, also without events."""
        if self._writing:
            self._note()

    def forget(self) -> None:
        """Invalidate the session: there is nothing to resume."""
        self._writing = False
        self._header[: _PROGRESS.size] = bytes(_PROGRESS.size)

    @property
    def successor_expected(self) -> bool:
        """Whether the master is about to start another process for this node."""
        return self._header[_SUCCESSOR_AT] != 0

    def _append(self, raw: str | bytes) -> None:
        packed = zlib.compress(raw.encode() if isinstance(raw, str) else raw, 1)
        record = _LENGTH.pack(len(packed)) + packed
        if self._log_bytes + len(record) > MAX_LOG_BYTES:
            self.forget()
            return
        try:
            os.pwrite(self._descriptor, record, _PAGE + self._log_bytes)
        except OSError:
            # A full disk only prevents the next RESUME.
            self.forget()
            return
        self._log_bytes += len(record)

    def _note(self) -> None:
        if self._writing:
            now_ms, since_boot_ms = max(int(self._clock() * 1000), 0), int(self._since_boot() * 1000)
            shard_id, shard_count = self._identification.shard or (0, 0)
            progress = _PROGRESS.pack(_MAGIC, self._sequence, now_ms, self._log_bytes)
            origin = _ORIGIN.pack(self._boot, since_boot_ms, self._identification.intents, shard_id, shard_count)
            # Copied, not packed into the map: that fills it with zeros first, and a SIGKILL may come between.
            self._header[: _PROGRESS.size] = progress
            self._header[_ORIGIN_AT : _ORIGIN_AT + _ORIGIN.size] = origin

    def close(self) -> None:
        """Close the file; its content stays."""
        self._header.close()
        os.close(self._descriptor)


def _boot_mark() -> bytes:
    """Return what tells this boot of the box from others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes()[:8]
    except OSError:
        return bytes(8)


def expect_successor(path: Path, expected: bool) -> None:
    """Tell a node whether a successor takes over; if so, it leaves its session open at exit.

    Before a start too: a process that said so to itself, when it opens the file, could do it after the master's word.
    """
    with contextlib.suppress(FileNotFoundError):
        shared = open_regular(path, os.O_RDWR)
        try:
            if os.fstat(shared).st_size >= _PAGE:
                os.pwrite(shared, bytes([expected]), _SUCCESSOR_AT)
        finally:
            os.close(shared)


def read_uses(path: Path) -> int | None:
    """Return how often people used a bot, as its node counts it; None where no node has counted."""
    try:
        shared = open_regular(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        content = os.pread(shared, _USES_AT + _USES.size, 0)
    except OSError:
        return None
    finally:
        os.close(shared)
    if len(content) < _USES_AT + _USES.size:
        return None
    (uses,) = _USES.unpack_from(content, _USES_AT)
    return int(uses)


def read_intents(path: Path) -> int | None:
    """Return the intents that a node's gateway session was begun with; None where there is no session."""
    try:
        shared = open_regular(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        content = os.pread(shared, _HEADER.size, 0)
    except OSError:
        return None
    finally:
        os.close(shared)
    if len(content) < _HEADER.size or not content.startswith(_MAGIC):
        return None
    *_, intents, _shard_id, _shard_count = _HEADER.unpack(content)
    return int(intents)


def inherited_session(environment: MutableMapping[str, str]) -> GatewaySession | None:
    """Return the session whose descriptor ``environment`` names; None when it names none."""
    number = environment.pop(SESSION_FD_VARIABLE, None)
    if number is None or not number.isdecimal():
        return None
    try:
        return GatewaySession(int(number))
    except OSError as error:
        # A full disk only prevents the next RESUME.
        log.warning("the gateway session cannot be kept: %s", error.strerror)
        os.close(int(number))
        return None
