"""The wire of a T-SQL server, as far as the ledger's drivers use it: TDS 7.4 without encryption.

https://learn.microsoft.com/openspecs/windows_protocols/ms-tds
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

BATCH, RPC, REPLY, ATTENTION, TRANSACTION, LOGIN, PRELOGIN = 0x01, 0x03, 0x04, 0x06, 0x0E, 0x10, 0x12
ENCRYPT_OFF, ENCRYPT_ON, ENCRYPT_NOT_SUPPORTED, ENCRYPT_REQUIRED = 0, 1, 2, 3
_COLLATION = bytes.fromhex("0904d00034")
_NULL_2, _NULL_8 = 0xFFFF, 0xFFFFFFFFFFFFFFFF
_PROCEDURES = {10: "sp_executesql", 11: "sp_prepare", 12: "sp_execute", 13: "sp_prepexec", 15: "sp_unprepare"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value as it came over the wire, and the number of its type."""

    name: str
    type: int
    value: Any
    output: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A remote procedure call."""

    procedure: str
    parameters: tuple[Parameter, ...]


class Reader:
    """Reads the fields of one message."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        found = self.data[self.at : self.at + count]
        if len(found) < count:
            raise ValueError("the message ends too early")
        self.at += count
        return found

    def number(self, size: int) -> int:
        """Return a number, its lowest byte first."""
        return int.from_bytes(self.take(size), "little")

    def skip_headers(self) -> None:
        """Skip ALL_HEADERS, which holds the transaction."""
        self.take(max(self.number(4) - 4, 0))

    def rest(self) -> bytes:
        """Return what is left."""
        return self.take(len(self.data) - self.at)


def encryption_asked(prelogin: bytes) -> int:
    """Return the ENCRYPTION option of a pre-login message."""
    at = 0
    while prelogin[at] != 0xFF:
        token, offset, length = struct.unpack_from(">BHH", prelogin, at)
        if token == 1:
            return prelogin[offset : offset + length][0]
        at += 5
    raise ValueError("the pre-login says nothing of encryption")


def prelogin_reply(encryption: int) -> bytes:
    """Return the answer to a pre-login message."""
    values = [(0, bytes.fromhex("100003e80000")), (1, bytes([encryption])), (2, b"\0"), (3, b""), (4, b"\0")]
    offset, head, body = 5 * len(values) + 1, b"", b""
    for token, value in values:
        head += struct.pack(">BHH", token, offset + len(body), len(value))
        body += value
    return head + b"\xff" + body


def _short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode("utf-16-le")


def _environment(kind: int, new: bytes, old: bytes) -> bytes:
    return b"\xe3" + struct.pack("<HB", 1 + len(new) + len(old), kind) + new + old


def login_reply() -> bytes:
    """Return the answer to a login."""
    acknowledged = b"\x01" + bytes.fromhex("74000004") + _short("Microsoft SQL Server") + bytes.fromhex("100003e8")
    return (
        _environment(1, _short("LEDGER"), _short("master"))
        + _environment(7, b"\x05" + _COLLATION, b"\0")
        + _environment(4, _short("4096"), _short("4096"))
        + b"\xad"
        + struct.pack("<H", len(acknowledged))
        + acknowledged
        + done()
    )


def transaction_began(number: int) -> bytes:
    """Return the notice that a transaction began."""
    return _environment(8, b"\x08" + struct.pack("<Q", number), b"\0")


def transaction_ended(number: int, *, committed: bool) -> bytes:
    """Return the notice that a transaction ended."""
    return _environment(9 if committed else 10, b"\0", b"\x08" + struct.pack("<Q", number))


def done(rows: int | None = None, *, kind: int = 0xFD, failed: bool = False, more: bool = False) -> bytes:
    """Return the end of a statement (0xFD), of one within a procedure (0xFF), or of a procedure (0xFE)."""
    status = (0x10 if rows is not None else 0) | (0x02 if failed else 0) | (0x01 if more else 0)
    return struct.pack("<BHHQ", kind, status, 0, rows or 0)


def attention_reply() -> bytes:
    """Return the answer to a driver that wants no more of a result."""
    return struct.pack("<BHHQ", 0xFD, 0x20, 0, 0)


def error(number: int, text: str, *, severity: int = 16) -> bytes:
    """Return an error."""
    body = struct.pack("<IBBH", number, 1, severity, len(text)) + text.encode("utf-16-le") + b"\0\0"
    body += struct.pack("<I", 1)
    return b"\xaa" + struct.pack("<H", len(body)) + body


def handle_reply(handle: int) -> bytes:
    """Return the handle of a prepared statement, which is an output parameter."""
    return b"\xac" + struct.pack("<HBBIH", 0, 0, 1, 0, 0) + b"\x26\x04\x04" + struct.pack("<i", handle)


def status_reply() -> bytes:
    """Return a procedure's return status: 0."""
    return b"\x79" + bytes(4)


def rows_reply(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """Return a result set, each column of the type that its values are of."""
    kinds = [_kind_of([row[at] for row in rows]) for at in range(len(names))]
    out = b"\x81" + struct.pack("<H", len(names))
    for name, kind in zip(names, kinds, strict=True):
        out += struct.pack("<IH", 0, 1) + _TYPE_INFO[kind] + _short(name)
    for row in rows:
        out += b"\xd1" + b"".join(_value(kind, value) for kind, value in zip(kinds, row, strict=True))
    return out


_TYPE_INFO: dict[type, bytes] = {
    int: b"\x26\x08",
    float: b"\x6d\x08",
    datetime: b"\x2a\x03",
    bytes: b"\xa5" + struct.pack("<H", 8000),
    str: b"\xe7" + struct.pack("<H", 0xFFFF) + _COLLATION,
}


def _kind_of(values: Sequence[Any]) -> type:
    return next((type(value) for value in values if value is not None), str)


def _value(kind: type, value: Any) -> bytes:
    match value:
        case None if kind is bytes:
            return struct.pack("<H", _NULL_2)
        case None if kind is str:
            return struct.pack("<Q", _NULL_8)
        case None:
            return b"\0"
        case int():
            return b"\x08" + struct.pack("<q", value)
        case float():
            return b"\x08" + struct.pack("<d", value)
        case bytes():
            return struct.pack("<H", len(value)) + value
        case datetime():
            ticks = (value - value.replace(hour=0, minute=0, second=0, microsecond=0)) // timedelta(milliseconds=1)
            days = (value.date() - date(1, 1, 1)).days
            return b"\x07" + ticks.to_bytes(4, "little") + days.to_bytes(3, "little")
    data = str(value).encode("utf-16-le")
    return struct.pack("<QI", len(data), len(data)) + data + (bytes(4) if data else b"")


def read_call(data: bytes) -> Call:
    """Read a remote procedure call."""
    reader = Reader(data)
    reader.skip_headers()
    length = reader.number(2)
    if length == _NULL_2:
        number = reader.number(2)
        name = _PROCEDURES.get(number, f"#{number}")
    else:
        name = reader.take(2 * length).decode("utf-16-le")
    reader.number(2)
    parameters = []
    while reader.at < len(data):
        label = reader.take(2 * reader.number(1)).decode("utf-16-le")
        output = bool(reader.number(1) & 1)
        kind = reader.number(1)
        parameters.append(Parameter(label, kind, _read_value(reader, kind), output))
    return Call(name, tuple(parameters))


_FIXED = {0x30: 1, 0x32: 1, 0x34: 2, 0x38: 4, 0x7F: 8, 0x3E: 8, 0x3B: 4}


def _read_value(reader: Reader, kind: int) -> Any:
    if kind in _FIXED:
        return _decode(kind, reader.take(_FIXED[kind]))
    if kind in (0x26, 0x68, 0x6D, 0x6F, 0x6E, 0x24):
        reader.number(1)
        return _sized(reader, kind, 1)
    if kind in (0x6A, 0x6C):
        reader.take(3)
        return _sized(reader, kind, 1)
    if kind in (0x28, 0x29, 0x2A, 0x2B):
        if kind != 0x28:
            reader.number(1)
        return _sized(reader, kind, 1)
    if kind in (0xA5, 0xAD, 0xA7, 0xAF, 0xE7, 0xEF):
        most = reader.number(2)
        if kind not in (0xA5, 0xAD):
            reader.take(5)
        return _read_long(reader, kind) if most == _NULL_2 else _sized(reader, kind, 2)
    if kind in (0x22, 0x23, 0x63):
        reader.number(4)
        if kind != 0x22:
            reader.take(5)
        return _sized(reader, kind, 4)
    raise ValueError(f"a parameter is of the type {kind:#x}")


def _sized(reader: Reader, kind: int, size: int) -> Any:
    length = reader.number(size)
    if length == (0 if size == 1 else 2 ** (8 * size) - 1):
        return None
    return _decode(kind, reader.take(length))


def _read_long(reader: Reader, kind: int) -> Any:
    if reader.number(8) == _NULL_8:
        return None
    data = b""
    while length := reader.number(4):
        data += reader.take(length)
    return _decode(kind, data)


def _decode(kind: int, data: bytes) -> Any:
    if kind in (0x6D, 0x3E, 0x3B):
        return struct.unpack("<d" if len(data) == 8 else "<f", data)[0]
    if kind in (0xE7, 0xEF, 0x63):
        return data.decode("utf-16-le")
    if kind in (0xA7, 0xAF, 0x23):
        return data.decode("latin-1")
    if kind in (0xA5, 0xAD, 0x22):
        return data
    if kind == 0x2A:
        ticks, days = int.from_bytes(data[:-3], "little"), int.from_bytes(data[-3:], "little")
        # The scale is not kept: drivers send seven digits.
        return datetime(1, 1, 1, tzinfo=UTC) + timedelta(days=days, microseconds=ticks // 10)
    return int.from_bytes(data, "little", signed=True)
