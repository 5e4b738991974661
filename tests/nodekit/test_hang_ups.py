"""A node whose calls to Discord go wrong in every way: its handshake lives, its goodbye is said, its stop is quick."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import discord
import msgspec
import pytest
from aiohttp import web
from discord.http import Route

from handshake.boot import BootDocument
from handshake.errors import TransportError
from handshake.manifest import NodeManifest
from master.demonstration.stage import Stage
from nodekit import attachment as module
from nodekit.attachment import Attachment, attach_as, attachment_of
from nodekit.endpoints import apply_endpoints
from nodekit.identity import NodeIdentity
from sandbox import BotHandle, Sandbox

pytestmark = pytest.mark.timeout(120)

WAIT_S = 10.0
CHANNEL_ID = 4242


@pytest.fixture
def this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the test's process be a node, and no node afterwards."""
    monkeypatch.setattr(module, "_node", None)
    monkeypatch.setattr(Route, "BASE", Route.BASE)
    monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", None)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def _client() -> discord.Client:
    return discord.Client(intents=discord.Intents.none(), guild_ready_timeout=0.05)


def attached(client: discord.Client, token: str, folder: Path) -> Attachment:
    boot = BootDocument(
        node_id="0" * 26, name="atlas", token=token, key=b"k" * 32, key_epoch=1, verify_channel_id=CHANNEL_ID
    )
    manifest = NodeManifest(node_id=boot.node_id, name="atlas", licence="L")
    attach_as(client, NodeIdentity(boot=boot, manifest=manifest, folder=folder))
    found = attachment_of(client)
    assert found is not None
    return found


USER = {"id": "1", "username": "a", "discriminator": "0", "avatar": None, "bot": True}
APPLICATION = {
    "id": "1",
    "name": "a",
    "description": "",
    "icon": None,
    "bot_public": True,
    "bot_require_code_grant": False,
    "verify_key": "k",
    "flags": 0,
    "owner": USER,
}


def _json(body: dict[str, Any]) -> web.Response:
    # discord.py compares the type with this very text.
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


class BadServer:
    """Lets a bot log in, and answers its posts as a bad proxy or a bad day would."""

    def __init__(self) -> None:
        self.answer: tuple[int, str, bytes] | None = None
        """Status, content type and body; None: hang up."""
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/users/@me"):
            return _json(USER)
        if request.method == "GET":
            return _json(APPLICATION)
        if self.answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=500)
        status, kind, body = self.answer
        return web.Response(status=status, body=body, content_type=kind, headers={"Via": "1.1 test"})


@pytest.fixture
async def bad_server() -> AsyncIterator[BadServer]:
    server, app = BadServer(), web.Application()
    app.router.add_route("*", "/{rest:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v10"
    yield server
    await runner.cleanup()


JSON = "application/json"
ANSWERS: list[tuple[int, str, bytes] | None] = [
    None,
    (200, JSON, b"{}"),
    (200, JSON, b"null"),
    (200, JSON, b"[]"),
    (200, JSON, b'{"id": "1", "chan'),
    (200, JSON, b"\xff\xfe"),
    (200, JSON, b'{"id": null, "author": null, "content": 3}'),
    (200, "text/html", b"<html>log in to the wifi</html>"),
    (200, "text/plain", b""),
    (403, "text/html", b"<html>forbidden</html>"),
    (401, JSON, b"{}"),
    (503, "text/html", b"<html>upstream</html>"),
    (418, JSON, b'{"errors": 7}'),
]


async def test_whatever_a_post_meets_is_a_transport_error_and_nothing_else(
    this_process: None, bad_server: BadServer, tmp_path: Path
) -> None:
    apply_endpoints(bad_server.url, None)
    async with _client() as client:
        attachment = attached(client, "MQ.a.b", tmp_path)
        await client.login("MQ.a.b")
        for answer in ANSWERS:
            bad_server.answer = answer
            with pytest.raises(TransportError):
                await attachment._post_to_verify_channel("x")
    with pytest.raises(TransportError):
        await attachment._post_to_verify_channel("its session is closed by now")


async def test_a_handshake_that_breaks_is_told_and_begins_anew(
    this_process: None, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINK_AGAIN_S", 0.0)
    bot, told, runs = _bot(sandbox), list[tuple[Any, ...]](), asyncio.Event()
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    async with _client() as client:
        attachment = attached(client, bot.token, tmp_path)
        monkeypatch.setattr(attachment, "report", lambda *of: told.append(of))

        class Link:
            """A link with a mistake in it, of a kind that nobody has thought of."""

            async def run(self) -> None:
                if not told:
                    raise ZeroDivisionError("as it must")
                runs.set()
                await asyncio.Event().wait()

            async def say_goodbye(self, _reason: str) -> None:
                return

            def pulse_soon(self) -> None:
                return

        monkeypatch.setattr(attachment, "_make_link", Link)
        running = asyncio.create_task(client.start(bot.token))
        await asyncio.wait_for(runs.wait(), WAIT_S)
        assert [(type(error), source, where) for error, source, where in told] == [
            (ZeroDivisionError, "task", "handshake")
        ]
        await client.close()
        await asyncio.wait_for(running, WAIT_S)


async def test_a_stop_in_an_outage_ends_discord_pys_sleep(
    this_process: None, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As long as discord.py waits after a few attempts; its first wait may be short by chance.
    monkeypatch.setattr(discord.backoff.ExponentialBackoff, "delay", lambda _self: 208.0)
    bot = _bot(sandbox)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    lost = asyncio.Event()
    async with _client() as client:

        async def on_disconnect() -> None:
            lost.set()

        client.event(on_disconnect)
        attachment = attached(client, bot.token, tmp_path)
        running = asyncio.create_task(client.start(bot.token))
        await sandbox.gateway.wait_connected(bot.account, timeout_s=WAIT_S)
        await asyncio.wait_for(client.wait_until_ready(), WAIT_S)
        assert attachment._describe().offline_s is None
        await sandbox.close()
        await asyncio.wait_for(lost.wait(), WAIT_S)
        assert attachment._describe().offline_s is not None
        await asyncio.wait_for(client.close(), WAIT_S)
        # It ends as after any close: without an error.
        await asyncio.wait_for(running, WAIT_S)


def _bot(sandbox: Sandbox) -> BotHandle:
    bot = sandbox.create_bot("atlas")
    sandbox.create_guild("Home", owner=sandbox.create_human("ada")).add_bot(bot)
    return bot


@pytest.mark.slow
async def test_a_node_whose_first_posts_are_hung_up_on_proves_itself_and_stops_at_once() -> None:
    async with Stage(transport="channel") as stage:
        await stage.start_master()
        posts = f"/channels/{stage.verify.id}/messages"
        async with stage.listen() as tap:
            stage.sandbox.faults.hang_up(count=2, method="POST", path_contains=posts)
            await stage.register("atlas")
            await tap.wait_for("verified", "atlas")
            stage.sandbox.faults.hang_up(count=5, method="POST", path_contains=posts)
            since = len(tap.events)
            (result,) = await stage.act("stop", ["atlas"])
            assert result.ok
            stopped = await tap.wait_for("stopped", "atlas", since=since)
            assert "signal" not in stopped.detail  # no SIGKILL
