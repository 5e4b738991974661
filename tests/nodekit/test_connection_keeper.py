"""A client that is kept connected, against a sandbox that is as unpleasant as Discord and its proxies can be."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import discord
import pytest

import nodekit.connection_keeper as keeping
from nodekit.connection_keeper import ConnectionKeeper, keep_connected
from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, ChannelHandle, Person, Sandbox
from sandbox.gateway import Frame, Raw

PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


class Client(discord.Client):
    """A client that notes what it hears."""

    def __init__(self) -> None:
        super().__init__(intents=discord.Intents.default(), guild_ready_timeout=0.05)
        self.heard: list[str] = []
        self.changed = asyncio.Event()

    def note(self, what: str) -> None:
        self.heard.append(what)
        self.changed.set()

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Do not wait."""

    async def setup_hook(self) -> None:
        self.note("setup")

    async def on_ready(self) -> None:
        self.note("ready")

    async def on_resumed(self) -> None:
        self.note("resumed")

    async def on_disconnect(self) -> None:
        self.note("disconnect")

    async def on_message(self, message: discord.Message) -> None:
        self.note(f"message {message.id}")

    async def hears(self, what: str, times: int = 1) -> None:
        """Wait until something was heard so many times."""
        async with asyncio.timeout(15):
            while self.heard.count(what) < times:
                self.changed.clear()
                await self.changed.wait()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what tells nobody that it changes."""
    async with asyncio.timeout(15):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0)


@dataclass
class Scene:
    """A client, not yet started, and its server."""

    sandbox: Sandbox
    ada: Person
    general: ChannelHandle
    bot: BotHandle
    client: Client
    keeper: ConnectionKeeper
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(self.client.start(self.bot.token)))
        return self.tasks[-1]

    async def started(self) -> None:
        self.start()
        await self.client.hears("ready")


@pytest.fixture
async def scene(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(keeping, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(keeping, "LAST_PAUSE_S", 0.05)
    monkeypatch.setattr(keeping, "READY_TIMEOUT_S", 0.5)
    ada = sandbox.create_human("ada")
    guild = sandbox.create_guild("HQ", ada)
    general = guild.create_channel("general")
    bot = sandbox.create_bot("Atlas")
    guild.add_bot(bot)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    client = Client()
    made = Scene(sandbox, ada, general, bot, client, keep_connected(client))
    yield made
    await client.close()
    await asyncio.gather(*made.tasks, return_exceptions=True)


# Login


ANSWERS = [
    (PAGE, 200, "text/html"),
    (PAGE, 403, "text/html"),
    (PAGE, 401, "text/html"),
    (b"log in first", 401, "text/plain"),
    (PAGE, 200, "application/json"),
    (b"", 204, "application/json"),
    (b"", 200, "application/json"),
    (b"{}", 200, "application/json"),
    (b"[]", 200, "application/json"),
    (b"null", 200, "application/json"),
    (b'{"id": "1", "userna', 200, "application/json"),
    (b'{"id": null, "username": "x", "discriminator": "0", "avatar": null}', 200, "application/json"),
    (b"[" * 100_000, 200, "application/json"),
    (b"\xff\xfe", 200, "application/json"),
    (b'{"message": 5, "errors": 5}', 400, "application/json"),
    (b"{}", 404, "application/json"),
    (b"{}", 429, "application/json"),
    (b'{"retry_after": "soon", "global": true}', 429, "application/json"),
]


@pytest.mark.parametrize("path", ["/users/@me", "/oauth2/applications/@me"])
async def test_whatever_answers_a_login_it_is_tried_again(scene: Scene, path: str) -> None:
    for body, status, content_type in ANSWERS:
        scene.sandbox.faults.answer_raw(body, status=status, content_type=content_type, path_contains=path)
    await scene.started()
    assert scene.sandbox.requests[f"GET {path}"] == 1
    # The program's own set-up is done once.
    assert scene.client.heard.count("setup") == 1
    assert scene.keeper.offline_s is None


async def test_a_login_on_a_broken_line_is_tried_again(scene: Scene) -> None:
    scene.sandbox.faults.hang_up(count=3, path_contains="/users/@me")
    scene.sandbox.faults.cut_off(count=2)
    await scene.started()


async def test_a_login_without_any_answer_is_tried_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LOGIN_TIMEOUT_S", 0.1)
    scene.sandbox.faults.delay(30.0)
    huge = b'{"retry_after": 1e9, "global": true}'
    scene.sandbox.faults.answer_raw(huge, status=429, path_contains="/users/@me")
    await scene.started()


async def test_a_rate_limit_out_of_wrong_headers_does_not_stop_the_next_login(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LOGIN_TIMEOUT_S", 0.2)
    headers = {"X-RateLimit-Limit": "1", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "1e9"}
    headers |= {"X-RateLimit-Reset": "9e9"}
    scene.sandbox.faults.answer_raw(b"{}", headers=headers, count=2, path_contains="/users/@me")
    await scene.started()


async def test_a_refused_token_is_final(scene: Scene) -> None:
    token = scene.bot.token
    scene.sandbox.world.set_token(scene.bot.account)
    with pytest.raises(discord.LoginFailure):
        await scene.client.start(token)


async def test_an_error_of_the_programs_own_set_up_is_its_own(scene: Scene) -> None:
    async def broken() -> None:
        raise KeyError("a cog's mistake")

    scene.client.setup_hook = broken  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        await scene.start()
    assert scene.sandbox.requests["GET /users/@me"] == 1


async def test_a_stop_ends_a_login_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "FIRST_PAUSE_S", 300.0)
    monkeypatch.setattr(keeping, "LAST_PAUSE_S", 300.0)
    scene.sandbox.faults.answer_raw(PAGE, count=1_000)
    running = scene.start()
    await until(lambda: scene.keeper.why != "")
    async with asyncio.timeout(5):
        await scene.client.close()
        await running


# Gateway


async def test_a_gateway_that_is_away_at_the_first_connect_is_waited_for(scene: Scene) -> None:
    scene.sandbox.faults.refuse_gateway(count=4)
    scene.sandbox.faults.refuse_gateway(count=3, status=503)
    await scene.started()
    assert scene.client.heard.count("setup") == 1


FRAMES: list[Frame] = [
    Raw(b"\x00\x01garbage\x00\x00\xff\xff"),
    Raw("not JSON"),
    Raw("[]"),
    Raw("5"),
    b'{"op": 10}',
    b'{"op": 10, "d": {"heartbeat_interval": null}}',
    b'{"op": 10, "d": {"heartbeat_interval": 1e999}}',
    b'{"op": 7, "d": null}',
    b'{"op": 9, "d": false}',
    b'{"op": 9, "d": true}',
    b'{"op": 0, "t": "READY", "s": 1, "d": {}}',
    b'{"op": 0, "t": "READY", "s": 1, "d": null}',
    b'{"op": 0, "t": {}, "s": "x", "d": []}',
    1006,
    4000,
]


async def test_whatever_the_gateway_says_it_is_asked_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "FREE_IDENTIFIES", 1_000)
    left = list(FRAMES)
    scene.sandbox.faults.spoil_frames(lambda payload: left.pop() if left else payload)
    await scene.started()
    assert not left
    for frame in FRAMES:
        scene.sandbox.faults.send_frame(scene.bot.account, frame)
        await scene.sandbox.faults.drop_connections()
        await scene.sandbox.gateway.wait_connected(scene.bot.account, connected=False)
        await scene.sandbox.gateway.wait_connected(scene.bot.account)
    assert not scene.tasks[0].done()


async def test_an_event_that_cannot_be_read_costs_itself_alone(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    await scene.started()
    for name in ("MESSAGE_CREATE", "GUILD_CREATE", "INTERACTION_CREATE", "CHANNEL_UPDATE", "MESSAGE_REACTION_ADD"):
        nonsense: tuple[Any, ...] = (None, [], {}, {"id": None}, "x")
        for data in nonsense:
            payload = {"op": 0, "t": name, "s": 100, "d": data}
            scene.sandbox.faults.send_frame(scene.bot.account, json.dumps(payload).encode())
    message = await scene.ada.sends(scene.general, "hello")
    await scene.client.hears(f"message {message.id}")
    assert "disconnect" not in scene.client.heard
    assert "cannot be read, and is dropped: MESSAGE_CREATE" in caplog.text


async def test_an_outage_is_survived_with_the_session_and_nothing_is_missed(scene: Scene) -> None:
    await scene.started()
    async with scene.sandbox.faults.outage():
        await scene.client.hears("disconnect", times=5)
        message = await scene.ada.sends(scene.general, "while you were away")
        offline_s = scene.keeper.offline_s
        assert offline_s is not None
        assert 0 <= offline_s < 60
        assert "reach the gateway" in scene.keeper.why
    await scene.client.hears("resumed")
    await scene.client.hears(f"message {message.id}")
    assert scene.keeper.offline_s is None
    assert scene.sandbox.gateway.identifies[scene.bot.id] == 1


async def test_where_nobody_can_be_connected_to_it_is_tried_again_soon(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.started()
    monkeypatch.setattr(keeping, "FIRST_PAUSE_S", 30.0)
    monkeypatch.setattr(keeping, "LAST_PAUSE_S", 30.0)
    monkeypatch.setattr(keeping, "UNREACHABLE_PAUSE_S", 0.02)
    async with scene.sandbox.faults.outage():
        await scene.client.hears("disconnect", times=8)
    await scene.client.hears("resumed")


async def test_where_nobody_can_be_connected_to_a_login_is_tried_again_soon(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "FIRST_PAUSE_S", 30.0)
    monkeypatch.setattr(keeping, "LAST_PAUSE_S", 30.0)
    monkeypatch.setattr(keeping, "UNREACHABLE_PAUSE_S", 0.02)
    async with scene.sandbox.faults.outage():
        scene.start()
        await until(lambda: "log in" in scene.keeper.why)
    await scene.client.hears("ready")


def test_no_wait_between_two_attempts_is_longer_than_about_a_quarter_of_a_minute() -> None:
    waits = [keeping._pause_s(attempt) for attempt in (*range(-3, 60), 10**6)]
    assert max(waits) <= 20
    assert waits[:3] == [0.0, 0.0, 0.0]
    keeping._bound_waits()
    for module in (discord.client, discord.shard):
        made = vars(module)["ExponentialBackoff"]()
        assert max(made.delay() for _ in range(200)) <= 20


async def test_a_stop_ends_the_wait_before_the_next_attempt_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.started()
    monkeypatch.setattr(keeping, "FIRST_PAUSE_S", 30.0)
    monkeypatch.setattr(keeping, "LAST_PAUSE_S", 30.0)
    async with scene.sandbox.faults.outage():
        await scene.client.hears("disconnect", times=2)
        began = time.monotonic()
        await scene.client.close()
        await scene.tasks[0]
        assert time.monotonic() - began < 3


async def test_a_gateway_that_hangs_up_after_its_greeting_is_not_dialled_in_a_row(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(keeping, "LAST_PAUSE_S", 0.4)
    await scene.started()
    scene.sandbox.faults.spoil_frames(lambda _payload: 4000)
    before, began = scene.sandbox.gateway.connections_seen, time.monotonic()
    await scene.sandbox.faults.drop_connections(code=4000)
    await until(lambda: scene.sandbox.gateway.connections_seen >= before + 6)
    # At once, at once, then about 0.1, 0.2, 0.4 and 0.4 s.
    assert time.monotonic() - began > 0.5


async def test_a_session_that_cannot_be_resumed_is_given_up(scene: Scene) -> None:
    await scene.started()
    websocket = scene.client.ws
    # As after a payload with a wrong number: Discord closes each RESUME with 4007.
    websocket.sequence = 10**6
    await scene.sandbox.faults.drop_connections(code=4000)
    await scene.client.hears("ready", times=2)
    assert scene.sandbox.gateway.identifies[scene.bot.id] == 2


async def test_a_gateway_for_resuming_that_is_gone_is_given_up(scene: Scene) -> None:
    import yarl

    await scene.started()
    scene.client.ws.gateway = yarl.URL("ws://127.0.0.1:1/gone")
    await scene.sandbox.faults.drop_connections(code=4000)
    await scene.client.hears("resumed")


async def test_a_session_that_never_begins_is_begun_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "READY_TIMEOUT_S", 0.2)
    swallowed = 0

    def change(payload: bytes) -> Frame:
        nonlocal swallowed
        if b'"READY"' in payload and not swallowed:
            swallowed += 1
            return b'{"op": 11}'
        return payload

    scene.sandbox.faults.spoil_frames(change)
    await scene.started()
    assert swallowed == 1


async def test_identifies_in_vain_are_spaced_before_discord_resets_the_token(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "IDENTIFY_GAP_S", 300.0)
    scene.sandbox.faults.spoil_frames(lambda payload: b'{"op": 9, "d": false}' if b'"READY"' in payload else payload)
    running = scene.start()
    await until(lambda: "IDENTIFY has to wait" in scene.keeper.why)
    seen = scene.sandbox.gateway.identifies[scene.bot.id]
    assert keeping.FREE_IDENTIFIES <= seen <= keeping.FREE_IDENTIFIES + 1
    await scene.client.close()
    await asyncio.wait_for(running, 3)


@pytest.mark.parametrize("code", [4004, 4010, 4011, 4012, 4013])
async def test_a_close_code_that_is_final_ends_the_client(scene: Scene, code: int) -> None:
    told: list[int] = []
    scene.keeper.on_close = told.append
    scene.sandbox.faults.refuse_identify(scene.bot.account, code)
    with pytest.raises(discord.ConnectionClosed) as closed:
        await scene.start()
    assert closed.value.code == code
    assert told == [code]


async def test_what_discord_closes_is_told_with_its_code_and_what_the_client_closes_is_not(scene: Scene) -> None:
    told: list[int] = []
    scene.keeper.on_close = told.append
    await scene.started()
    for number, code in enumerate((4008, 4000, 4009), 1):
        await scene.sandbox.faults.drop_connections(code=code)
        await scene.client.hears("resumed", times=number)
    await scene.sandbox.faults.ask_reconnect(scene.bot.account)
    await scene.client.hears("resumed", times=4)
    assert told == [4008, 4000, 4009]


async def test_refused_intents_are_final(scene: Scene) -> None:
    scene.sandbox.faults.refuse_identify(scene.bot.account, 4014)
    with pytest.raises(discord.PrivilegedIntentsRequired):
        await scene.start()
