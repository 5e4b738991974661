"""Bodies as SDKs send them: unpacked within bounds, and the events in them. All of it blocks, and runs in a thread.

The format is Sentry's: a line of JSON, then items, each a line of JSON and its content.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from master.intake.events import Event
from master.intake.requests import RequestRefused, too_large

T = TypeVar("T")

MAX_UNPACKED_BYTES = 4 * 2**20
"""Of an envelope with all its items."""
MAX_EVENT_BYTES = 2**20
MAX_ITEMS = 100
MAX_EVENTS = 10
"""Of one envelope; SDKs put one into each."""
_ZLIB_WINDOWS = {"gzip": 31, "deflate": 15}
_RAW_DEFLATE = -15
BROTLI_MISSING = "Brotli is not installed here; pip install brotli in Fleetmaster's environment"


class _ItemHead(msgspec.Struct, frozen=True):
    type: str = ""
    length: int | None = None


class _Typed(msgspec.Struct, frozen=True):
    type: str | None = None


def read_envelope(body: bytes, encoding: str) -> list[Event]:
    """Return the events of an envelope; transactions, sessions, replays and the like are left out.

    Raises
    ------
    RequestRefused
        It cannot be unpacked or read, or is too large.
    """
    unpacked = unpack(body, encoding)
    found = list[Event]()
    for kind, content in _items(unpacked):
        if kind == "event":
            found.append(_event(content))
        if len(found) > MAX_EVENTS:
            raise too_large(f"more than {MAX_EVENTS} events in one envelope")
    return found


def read_store(body: bytes, encoding: str) -> list[Event]:
    """Return the event of a request in the older format, which is that event alone.

    Raises
    ------
    RequestRefused
        It cannot be unpacked or read, or is too large.
    """
    content = unpack(body, encoding)
    # Transactions came this way, too.
    is_event = _decode(content, _Typed).type in (None, "", "error", "default", "event")
    return [_event(content)] if is_event else []


def unpack(body: bytes, encoding: str) -> bytes:
    """Undo the compression of a body, up to a bound whatever it claims.

    Raises
    ------
    RequestRefused
        It is not compressed like that, or too large.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    try:
        if name == "br":
            return _unpack_brotli(body)
        if name not in _ZLIB_WINDOWS:
            raise RequestRefused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "this content encoding is not known")
        try:
            return _unpack_zlib(body, _ZLIB_WINDOWS[name])
        except zlib.error:
            if name != "deflate":
                raise
            # Some send deflate without zlib's two bytes around it.
            return _unpack_zlib(body, _RAW_DEFLATE)
    except zlib.error:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, f"the body is not {name}") from None


def _unpack_zlib(body: bytes, window: int) -> bytes:
    decompressor = zlib.decompressobj(window)
    found = decompressor.decompress(body, MAX_UNPACKED_BYTES)
    if decompressor.unconsumed_tail:
        raise too_large(f"more than {MAX_UNPACKED_BYTES} bytes, unpacked")
    if not decompressor.eof:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "the body is cut off")
    return found


def _unpack_brotli(body: bytes) -> bytes:
    """Unpack what SDKs send where Brotli is installed, as with ``discord.py[speed]``; it is no dependency of ours."""
    try:
        # With a bound on what a call returns, since 1.2.
        brotli: Any = importlib.import_module("brotli")
        decompressor = brotli.Decompressor()
        found = bytearray()
        given = body
        while len(found) <= MAX_UNPACKED_BYTES:
            part = decompressor.process(given, output_buffer_limit=2**16)
            found += part
            given = b""
            if decompressor.is_finished():
                return bytes(found)
            if not part:
                raise RequestRefused(HTTPStatus.BAD_REQUEST, "the body is cut off")
    except (ImportError, TypeError):
        raise RequestRefused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, BROTLI_MISSING) from None
    except brotli.error:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "the body is not br") from None
    raise too_large(f"more than {MAX_UNPACKED_BYTES} bytes, unpacked")


def _items(unpacked: bytes) -> Iterator[tuple[str, bytes]]:
    """Return the kind and the content of each item."""
    at = unpacked.find(b"\n") + 1 or len(unpacked)
    _decode(unpacked[:at], dict[str, msgspec.Raw])
    for _ in range(MAX_ITEMS):
        while unpacked[at : at + 1] == b"\n":
            at += 1
        if at >= len(unpacked):
            return
        end = _line_end(unpacked, at)
        head = _decode(unpacked[at:end], _ItemHead)
        at = min(end + 1, len(unpacked))
        end = _line_end(unpacked, at) if head.length is None else at + head.length
        if not at <= end <= len(unpacked):
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "an item is longer than its envelope")
        yield head.type, unpacked[at:end]
        at = end
    if unpacked[at:].strip():
        raise too_large(f"more than {MAX_ITEMS} items in one envelope")


def _line_end(text: bytes, begin: int) -> int:
    end = text.find(b"\n", begin)
    return len(text) if end < 0 else end


def _event(content: bytes) -> Event:
    if len(content) > MAX_EVENT_BYTES:
        raise too_large(f"an event of {len(content)} bytes")
    return _decode(content, Event)


def _decode(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, f"the JSON cannot be read: {error}"[:200]) from None
