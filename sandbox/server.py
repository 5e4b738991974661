"""The local Discord: one aiohttp server with REST under /api/v10 and the gateway under /gateway."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web

from sandbox.bodies import MAX_BODY_BYTES
from sandbox.command_store import CommandStore
from sandbox.composing import as_json
from sandbox.conformance import Conformance
from sandbox.errors import DiscordError, RateLimitedEdit, not_found, unauthorized
from sandbox.faults import Faults
from sandbox.gateway import Gateway
from sandbox.interactions import Interactions
from sandbox.people import BotHandle, GuildHandle, People, Person
from sandbox.ratelimits import RateLimits
from sandbox.records import BotAccount
from sandbox.rest import (
    applications,
    audit_logs,
    channels,
    guilds,
    messages,
    roles,
    threads,
    users,
    webhooks,
)
from sandbox.rest.call import NO_CONTENT, Call, Created, Route
from sandbox.sparse import thinned
from sandbox.world import World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_VERSIONS = ("v9", "v10")


class Sandbox:
    """A local Discord; an async context manager.

    Parameters
    ----------
    clock
        Returns Unix time in seconds; deadlines and rate limits follow it.
    heartbeat_interval_s
        The heartbeat interval that the gateway sends to clients.
    rate_limits
        False: count requests, but never refuse them.
    sparse
        Leave out every field that Discord's document does not require.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        seed: int = 1,
        port: int = 0,
        heartbeat_interval_s: float = 41.25,
        rate_limits: bool = True,
        sparse: bool = False,
    ) -> None:
        self.world = World(clock=clock, seed=seed)
        self.gateway = Gateway(self.world, url=lambda: self.gateway_url, heartbeat_interval_s=heartbeat_interval_s)
        self.gateway.sparse = self._sparse = sparse
        self.interactions = Interactions(self.world)
        self.commands = CommandStore(self.world)
        self.rate_limits = RateLimits(clock)
        self.rate_limits.enabled = rate_limits
        self.faults = Faults(self.gateway, self._go_away, self._come_back)
        self.conformance = Conformance.from_environment()
        self.people = People(self.world, self.interactions, self.commands)
        self.requests: dict[str, int] = {}
        """Number of requests by ``METHOD route``."""
        self._port = port
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    # Set-up of tests and the demo

    def create_human(self, username: str) -> Person:
        """Add a person."""
        return self.people.person(self.world.create_user(username))

    def create_bot(self, username: str, *, privileged_intents: int = 0, owner: Person | None = None) -> BotHandle:
        """Add an application with its bot."""
        account = self.world.create_bot(
            username, privileged_intents=privileged_intents, owner_id=owner.id if owner else 0
        )
        return BotHandle(account)

    def create_guild(self, name: str, owner: Person) -> GuildHandle:
        """Add a guild."""
        return GuildHandle(self.people, self.world.create_guild(name, owner.user))

    # Lifecycle

    async def start(self) -> None:
        """Start serving on the loopback interface."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/gateway", self.gateway.handle)
        app.router.add_get("/gateway/", self.gateway.handle)
        app.router.add_get("/attachments/{channel_id}/{attachment_id}/{filename}", self._attachment)
        app.router.add_get("/ephemeral-attachments/{application_id}/{attachment_id}/{filename}", self._upload)
        for module in (users, guilds, roles, audit_logs, channels, threads, messages, webhooks, applications):
            for method, route, function in module.ROUTES:
                self._add(app, method, route, function, needs_token=True)
        for method, route, function in (*applications.WITHOUT_TOKEN, *webhooks.WITHOUT_TOKEN):
            self._add(app, method, route, function, needs_token=False)
        app.router.add_route("*", "/{rest:.*}", self._unknown)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0, handle_signals=False)
        await self._runner.setup()
        await self._come_back()
        self._port = int(self._runner.addresses[0][1])
        self.world.attachments_base = f"http://127.0.0.1:{self._port}"

    async def _come_back(self) -> None:
        """Listen; at the end of an outage on the port of before."""
        if self._runner is None or self._site is not None:
            return
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=1024)
        await self._site.start()

    async def _go_away(self) -> None:
        """Stop listening, and break all connections."""
        site, self._site = self._site, None
        if self._runner is None or self._runner.server is None or site is None:
            return
        await site.stop()
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def close(self) -> None:
        """Stop serving."""
        await self.gateway.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def api_base(self) -> str:
        """The base URL of REST v10."""
        return f"http://127.0.0.1:{self._port}/api/v10"

    @property
    def gateway_url(self) -> str:
        """The URL of the gateway."""
        return f"ws://127.0.0.1:{self._port}/gateway"

    # Serving

    def _add(self, app: web.Application, method: str, route: str, function: Route, *, needs_token: bool) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            instead = await self.faults.before(request)
            if instead is not None:
                return instead
            answer = await self._serve(request, method, route, function, needs_token=needs_token)
            return await self.faults.after(request, answer)

        for version in _VERSIONS:
            app.router.add_route(method, f"/api/{version}{route}", handle)

    async def _serve(
        self, request: web.Request, method: str, route: str, function: Route, *, needs_token: bool
    ) -> web.Response:
        name = f"{method} {route}"
        self.requests[name] = self.requests.get(name, 0) + 1
        path = request.path.split("/", 3)[3]
        headers: dict[str, str] = {}
        try:
            fault = await self.faults.strike(method, request.path)
            if fault is not None:
                status, body, headers = fault
                return _json(status, body, headers)
            account = self._authenticate(request) if needs_token else _anonymous()
            verdict = self.rate_limits.admit(account.id, method, route, _major(request))
            headers = verdict.headers
            if verdict.retry_after_s is not None:
                return _rate_limited(verdict.retry_after_s, headers, is_global=verdict.is_global)
            call = Call(
                request, self.world, account, self.interactions, self.commands, self.gateway_url, self.rate_limits
            )
            if self.conformance is not None:
                await self._check_request(self.conformance, call, method, route, "/" + path)
            result = await function(call)
            status, body = _shape(result)
            body = thinned(body, rest=True) if self._sparse else body
        except RateLimitedEdit as limited:
            return _rate_limited(limited.retry_after_s, headers, is_global=False)
        except DiscordError as error:
            status, body = error.status, error.payload()
        if self.conformance is not None:
            violation = self.conformance.check_answer(method, route, "/" + path, status, body)
            if violation is not None:
                return _json(500, {"message": f"sandbox: {violation}", "code": 0}, headers)
        return _json(status, body, headers)

    async def _check_request(self, conformance: Conformance, call: Call, method: str, route: str, path: str) -> None:
        if method not in ("POST", "PUT", "PATCH"):
            return
        body: Any = None
        if call.request.content_type != "multipart/form-data":
            body, _ = await call.body()  # aiohttp caches the raw bytes, so they can be read again
            body = body or None
        violation = conformance.check_request(method, route, path, body)
        if violation is not None:
            raise DiscordError(400, 50035, f"Invalid Form Body: {violation}")

    def _authenticate(self, request: web.Request) -> BotAccount:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        account = self.world.account_by_token(token) if scheme == "Bot" else None
        if account is None:
            raise unauthorized()
        return account

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        self.requests["unknown"] = self.requests.get("unknown", 0) + 1
        error = not_found()
        return _json(error.status, error.payload(), {})

    async def _attachment(self, request: web.Request) -> web.StreamResponse:
        wanted = request.match_info["channel_id"]
        channel = self.world.channels.get(int(wanted)) if wanted.isdecimal() else None
        for message in channel.messages.values() if channel is not None else ():
            for attachment in message.attachments:
                if str(attachment.id) == request.match_info["attachment_id"]:
                    return web.Response(body=attachment.content, content_type="application/octet-stream")
        return await self._unknown(request)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        wanted = request.match_info["attachment_id"]
        upload = self.world.uploads.get(int(wanted)) if wanted.isdecimal() else None
        if upload is None:
            return await self._unknown(request)
        return web.Response(body=upload.content, content_type="application/octet-stream")


def _anonymous() -> BotAccount:
    """Return who calls a route that needs no token."""
    return BotAccount(0, "")


def _major(request: web.Request) -> str:
    # An interaction's token is a webhook's: each has limits of its own.
    names = ("channel_id", "guild_id", "webhook_token", "interaction_token")
    return next((found for name in names if (found := request.match_info.get(name))), "")


def _shape(result: Any) -> tuple[int, Any]:
    if result is NO_CONTENT:
        return 204, None
    if isinstance(result, Created):
        return 201, result.body
    return 200, result


def _json(status: int, body: Any, headers: dict[str, str]) -> web.Response:
    # Discord is behind a proxy: discord.py takes a 429 without this header for a ban by the proxy, and gives up.
    headers = {**headers, "Via": "1.1 sandbox"}
    if body is None:
        return web.Response(status=status, headers=headers)
    return web.Response(status=status, body=as_json(body), content_type="application/json", headers=headers)


def _rate_limited(retry_after_s: float, headers: dict[str, str], *, is_global: bool) -> web.Response:
    body = {
        "message": "You are being rate limited.",
        "retry_after": round(retry_after_s, 3),
        "global": is_global,
    }
    return _json(429, body, {**headers, "Retry-After": f"{retry_after_s:.3f}"})
