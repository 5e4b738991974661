"""Real servers on loopback in the shapes of Mastodon, ntfy, DEV.to and a webhook, and a real mail server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: str


@dataclass
class Town:
    """All places, and what came to each; ``answers`` is what a path answers next, in order."""

    port: int = 0
    came: list[Received] = field(default_factory=list)
    answers: dict[str, list[Callable[[web.Request], Any]]] = field(default_factory=dict)
    posted: dict[str, str] = field(default_factory=dict)
    """Statuses of Mastodon, by their keys: the same key is the same status."""

    def url(self, scheme: str, rest: str = "") -> str:
        """Return an address as apprise has it."""
        return {
            "mastodon": f"mastodon://s3cret-token@127.0.0.1:{self.port}",
            "ntfy": f"ntfy://127.0.0.1:{self.port}/fleet",
            "json": f"json://127.0.0.1:{self.port}/hook{rest}",
            "devto": f"devto://s3cret-key@127.0.0.1:{self.port}",
        }[scheme]

    def at(self, path: str) -> list[Received]:
        """Return what came to a path."""
        return [one for one in self.came if one.path == path]

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.came.append(Received(request.path, dict(request.headers), await request.text()))
        waiting = self.answers.get(request.path)
        if waiting:
            answer = waiting.pop(0)(request)
            return await answer if asyncio.iscoroutine(answer) else answer  # type: ignore[no-any-return]
        if request.path == "/api/v1/statuses":
            key = request.headers.get("Idempotency-Key", "")
            url = self.posted.setdefault(key, f"https://example.social/@fleet/{len(self.posted) + 1}")
            return web.json_response({"id": "1", "url": url})
        if request.path == "/api/articles":
            return web.json_response({"id": 7, "url": "https://dev.to/fleet/news-7"}, status=201)
        return web.json_response({"id": "x"})


@asynccontextmanager
async def town() -> AsyncIterator[Town]:
    """Serve all places until the context ends."""
    places = Town()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", places.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    places.port = int(runner.addresses[0][1])
    try:
        yield places
    finally:
        await runner.cleanup()


def status(code: int, **headers: str) -> Callable[[web.Request], web.Response]:
    """Return an answer with a status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _request: web.Response(status=code, headers=named)


def hangs_up(request: web.Request) -> web.Response:
    """Break the connection after the request was taken in."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _never(_request: web.Request) -> web.Response:
    await asyncio.sleep(3600)
    return web.Response()


stalls: Callable[[web.Request], Any] = _never
"""Takes a request, and never answers."""


class Mails:
    """What a mail server took; ``drops`` has it break the connection at the end of the next mail."""

    def __init__(self) -> None:
        self.taken: list[Envelope] = []
        self.drops = False

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take a mail."""
        if self.drops:
            self.drops = False
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            return "451 gone"
        self.taken.append(envelope)
        return "250 OK"


@asynccontextmanager
async def mail_server() -> AsyncIterator[tuple[int, Mails]]:
    """Serve mail until the context ends; the port, and what was taken."""
    mails = Mails()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mails, hostname="localhost", loop=loop), "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1]), mails
    finally:
        server.close()
