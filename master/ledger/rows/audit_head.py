"""The audit log's last row, remembered in a file outside of the ledger: without it a log that was cut looks whole."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from handshake.files import read_regular
from master.durable import replace_file

log = logging.getLogger(__name__)

_MAX_BYTES = 1024


class AuditHead(msgspec.Struct, frozen=True):
    """The last row of the log; sequence 0 stands for a log without rows."""

    sequence: int
    chain: bytes


class _SealedHead(msgspec.Struct, frozen=True, array_like=True):
    sequence: int
    chain: bytes
    seal: bytes


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the file says: a head, or why there is none."""

    head: AuditHead | None = None
    trouble: str = ""


class HeadFile:
    """The file of one state folder, sealed with a key of its own.

    Parameters
    ----------
    key
        The audit chain's key.
    older
        Returns the head as an earlier version remembered it; asked when there is no file yet.
    """

    def __init__(self, path: Path, key: bytes, *, older: Callable[[], AuditHead | None] = lambda: None) -> None:
        self._path = path
        self._key = hmac.digest(key, b"the remembered head", "sha256")
        self._older = older

    def load(self) -> Remembered:
        """Read the file."""
        try:
            content = read_regular(self._path, _MAX_BYTES)
        except FileNotFoundError:
            head = self._older()
            return Remembered(head, "" if head else f"{self._path.name} is missing")
        except OSError as error:
            return Remembered(trouble=f"{self._path.name} cannot be read: {error.strerror}")
        try:
            found = msgspec.msgpack.decode(content, type=_SealedHead)
        except msgspec.MsgspecError:
            return Remembered(trouble=f"{self._path.name} was altered")
        head = AuditHead(found.sequence, found.chain)
        if not hmac.compare_digest(found.seal, self._seal(head)):
            return Remembered(trouble=f"{self._path.name} was altered")
        return Remembered(head)

    def save(self, head: AuditHead) -> None:
        """Replace the file; a failure is logged, and the older head that stays is still a true one."""
        content = msgspec.msgpack.encode(_SealedHead(head.sequence, head.chain, self._seal(head)))
        try:
            replace_file(self._path, content)
        except OSError as error:
            log.error("the end of the audit log could not be remembered", extra={"why": error.strerror})

    def _seal(self, head: AuditHead) -> bytes:
        return hmac.digest(self._key, head.sequence.to_bytes(8, "big", signed=True) + head.chain, "sha256")
