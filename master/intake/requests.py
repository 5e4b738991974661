"""One HTTP request of an SDK, read within bounds, and its answer.

By hand, since aiohttp.web costs 2.9 MB beside discord.py and 11.5 MB without it, and bounds neither connections nor
the time that a head may take. One request a connection: 100 nodes need no 100 idle ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl

import msgspec

MAX_HEAD_BYTES = 16_384
MAX_BODY_BYTES = 2**20
"""As it is sent; Sentry's own limit for one event, unpacked."""
HEAD_TIMEOUT_S = 5.0
BODY_TIMEOUT_S = 10.0
_LINGER_S = 2.0
_LINGER_BYTES = 4 * 2**20
_MAX_CHUNK_LINE = 1_024
_MAX_HEADERS = 100
_END_OF_HEAD = b"\r\n\r\n"


class RequestRefused(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    status
        Of the answer.
    reason
        For the SDK's log; goes into ``X-Sentry-Error``.
    headers
        Further headers of the answer.
    """

    def __init__(self, status: HTTPStatus, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What stands before a request's body; names of headers in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Read the head of a request; None if the connection ends without one.

    Raises
    ------
    RequestRefused
        It is too long, comes too slowly, or is no HTTP/1.
    """
    try:
        async with asyncio.timeout(HEAD_TIMEOUT_S):
            found = await reader.readuntil(_END_OF_HEAD)
    except asyncio.IncompleteReadError:
        return None
    except TimeoutError:
        raise RequestRefused(HTTPStatus.REQUEST_TIMEOUT, "no request came") from None
    except asyncio.LimitOverrunError:
        raise RequestRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too long") from None
    return _parse_head(found)


def _parse_head(found: bytes) -> Head:
    first, *lines = found.removesuffix(_END_OF_HEAD).decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or len(lines) > _MAX_HEADERS:
        raise _malformed("this is no HTTP/1.1 request")
    headers = dict[str, str]()
    for line in lines:
        name, colon, value = line.partition(":")
        # Two lengths would be two ends of one body.
        if not colon or not name or name != name.strip() or name.lower() in headers:
            raise _malformed("a header is malformed, or there twice")
        headers[name.lower()] = value.strip()
    path, _, query = parts[1].partition("?")
    try:
        found_query = dict(parse_qsl(query, max_num_fields=20))
    except ValueError:
        raise _malformed("the query is malformed") from None
    return Head(method=parts[0], path=path, query=found_query, headers=headers)


async def read_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Head) -> bytes:
    """Read the body of a request.

    Raises
    ------
    RequestRefused
        It is too long, comes too slowly, or has no length.
    ConnectionError
        The connection ended within it.
    """
    if head.headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            if "transfer-encoding" not in head.headers:
                return await reader.readexactly(_length_of(head))
            if head.headers["transfer-encoding"].lower() != "chunked" or "content-length" in head.headers:
                raise RequestRefused(HTTPStatus.NOT_IMPLEMENTED, "this transfer encoding is not known")
            return await _read_chunks(reader)
    except asyncio.IncompleteReadError:
        raise ConnectionResetError("the connection ended within a body") from None
    except asyncio.LimitOverrunError:
        raise _malformed("a chunk is malformed") from None
    except TimeoutError:
        raise RequestRefused(HTTPStatus.REQUEST_TIMEOUT, "the body came too slowly") from None


def _length_of(head: Head) -> int:
    text = head.headers.get("content-length")
    if text is None:
        raise RequestRefused(HTTPStatus.LENGTH_REQUIRED, "the body has no length")
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise _malformed("the body's length is no number")
    if int(text) > MAX_BODY_BYTES:
        raise too_large(f"{text} bytes")
    return int(text)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    """Read a body in chunks, as Node's SDK sends what it compresses (RFC 9112, section 7.1)."""
    found = bytearray()
    while size := await _read_chunk_size(reader):
        if len(found) + size > MAX_BODY_BYTES:
            raise too_large(f"more than {len(found)} bytes")
        found += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise _malformed("a chunk is malformed")
    # Trailers, which nobody sends: the end is all that is taken.
    if await reader.readuntil(b"\r\n") != b"\r\n":
        raise _malformed("trailers are not taken")
    return bytes(found)


async def _read_chunk_size(reader: asyncio.StreamReader) -> int:
    line = await reader.readuntil(b"\r\n")
    digits = line[:_MAX_CHUNK_LINE].partition(b";")[0].strip()
    if (
        len(line) > _MAX_CHUNK_LINE
        or not 0 < len(digits) <= 8
        or not all(one in b"0123456789abcdefABCDEF" for one in digits)
    ):
        raise _malformed("a chunk is malformed")
    return int(digits, 16)


async def send_answer(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    status: HTTPStatus,
    content: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
) -> None:
    """Answer, and end the connection.

    Raises
    ------
    ConnectionError, TimeoutError
        The caller is gone, or does not read.
    """
    body = msgspec.json.encode(content)
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    lines += ["Connection: close", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    async with asyncio.timeout(_LINGER_S):
        writer.write("\r\n".join(lines).encode("latin-1", "replace") + _END_OF_HEAD + body)
        writer.write_eof()
        # What is closed while something of a body is unread is reset, and the caller would not get to read the answer.
        rest = _LINGER_BYTES
        while rest > 0 and (part := await reader.read(65_536)):
            rest -= len(part)


def too_large(what: str) -> RequestRefused:
    """Return the refusal of something that is larger than what is taken."""
    return RequestRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"too large: {what}")


def _malformed(reason: str) -> RequestRefused:
    return RequestRefused(HTTPStatus.BAD_REQUEST, reason)
