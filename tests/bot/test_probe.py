"""Whether Discord can be reached, asked of servers that are well, away, or something else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from master.bot import probe as module
from master.bot.probe import DiscordProbe
from master.configuration.settings import DiscordSettings
from sandbox import Sandbox

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(api: Handler, gateway: Handler) -> AsyncIterator[DiscordProbe]:
    app = web.Application()
    app.router.add_get("/api/v10/gateway", api)
    app.router.add_get("/gateway", gateway)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield DiscordProbe(DiscordSettings(api_base=f"http://{host}/api/v10", gateway_url=f"ws://{host}/gateway"))
    finally:
        await runner.cleanup()


def says(status: int, body: str = "{}", **headers: str) -> Handler:
    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=body, headers=headers)

    return handle


async def hangs_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def is_silent(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(5)
    return web.Response()


def greets(*frames: str) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for frame in frames:
            await socket.send_str(frame)
        await socket.close()
        return socket

    return handle


HELLO = greets('{"op":10,"d":{"heartbeat_interval":41250}}')


@pytest.mark.parametrize(
    ("api", "gateway", "why"),
    [
        (says(200, '{"url":"wss://x"}'), HELLO, ""),
        (says(404, "no such path"), HELLO, ""),
        (says(429), HELLO, ""),
        (says(503, "<html>upstream</html>"), HELLO, "its API answers HTTP 503"),
        (says(302, Location="http://portal"), HELLO, "its API answers HTTP 302"),
        (says(200, "<html>log in</html>"), HELLO, "something else answers in its place"),
        (hangs_up, HELLO, "its API cannot be reached: "),
        (is_silent, HELLO, "its API cannot be reached: no answer within"),
        (says(200), hangs_up, "its gateway cannot be reached: "),
        (says(200), is_silent, "its gateway cannot be reached: no answer within"),
        (says(200), says(502), "its gateway cannot be reached: "),
        (says(200), greets(), "its gateway does not say hello"),
        (says(200), greets("<html>"), "its gateway does not say hello"),
        (says(200), greets('{"op":7}'), "its gateway does not say hello"),
        (says(200), greets("[]"), "its gateway does not say hello"),
    ],
)
async def test_what_the_probe_says(api: Handler, gateway: Handler, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)
    async with served(api, gateway) as probe:
        found = await probe.look()
    assert found.startswith(why) if why else found == ""


async def test_a_closed_port_is_named_as_an_operator_knows_it(sandbox: Sandbox) -> None:
    probe = DiscordProbe(DiscordSettings(api_base=sandbox.api_base, gateway_url=sandbox.gateway_url))
    assert await probe.look() == ""
    async with sandbox.faults.outage():
        assert await probe.look() == "its API cannot be reached: 127.0.0.1: Connection refused"
    assert await probe.look() == ""
    assert sandbox.gateway.identifies == {}


async def test_no_name_resolution_is_no_network() -> None:
    probe = DiscordProbe(DiscordSettings(api_base="http://discord.invalid/api/v10"))
    assert (await probe.look()).startswith("its API cannot be reached: discord.invalid: ")
