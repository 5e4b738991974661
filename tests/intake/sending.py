"""Requests to an intake, by hand: as an SDK makes them, and as none would."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    content: Any = None


def an_error(value: str = "no such table: xp", **more: Any) -> dict[str, Any]:
    """Return an event as sentry-sdk makes it of an exception."""
    frame = {"filename": "bot.py", "abs_path": "/srv/atlas/bot.py", "function": "on_message", "module": "bot"}
    exception = {
        "type": "OperationalError",
        "module": "sqlite3",
        "value": value,
        "stacktrace": {"frames": [{**frame, "lineno": 12, "context_line": "    rows = db.execute(QUERY)"}]},
    }
    return {"event_id": "f" * 32, "level": "error", "exception": {"values": [exception]}, **more}


def an_envelope(*items: tuple[str, Any]) -> bytes:
    """Return an envelope of items, given by kind and content."""
    lines = [b"{}"]
    for kind, content in items:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        lines += [json.dumps({"type": kind, "length": len(body)}).encode(), body]
    return b"\n".join(lines) + b"\n"


def a_request(dsn: str, body: bytes, *, kind: str = "envelope", headers: dict[str, str] | None = None) -> bytes:
    """Return a request to the address of a node; headers that are given replace those of an SDK."""
    parts = urlsplit(dsn)
    given = {
        "Host": f"{parts.hostname}:{parts.port}",
        "X-Sentry-Auth": f"Sentry sentry_key={parts.username}, sentry_version=7, sentry_client=test/1",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value)
    return f"POST /api{parts.path}/{kind}/ HTTP/1.1\r\n{head}\r\n".encode() + body


async def send(port: int, request: bytes) -> Answer:
    """Send bytes, and return what is answered until the connection ends; status 0 for nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(20):
            text = await reader.read()
    except ConnectionError:
        return Answer(0)
    finally:
        writer.close()
    # An interim answer has no body.
    head, _, body = text.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    if not first:
        return Answer(0)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split()[1]), headers, json.loads(body) if body else None)
