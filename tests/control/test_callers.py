"""Callers that end, idle, stall or are too many: whatever they do, the operator's next command is answered."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from handshake.sockets import short_path
from master.control import server
from master.control.protocol import Answer
from master.control.server import ControlServer
from master.events import AlertLevel, AlertRaised
from master.services.onboarding.saga import CloneRequest
from tests.services.conftest import OPERATOR, House

MANY = 64
WITHIN_S = 20.0
FOLLOW = b'{"method":"events"}\n'
STATUS = b'{"method":"status"}\n'


@pytest.fixture
async def control(house: House, tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "control.sock"
    made = ControlServer(path, house.operations)
    await made.start()
    yield path
    await made.close()


async def ask(path: Path, request: bytes) -> Answer:
    """Return the first line of the answer."""
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 22)
    writer.write(request)
    try:
        return msgspec.json.decode(await asyncio.wait_for(reader.readline(), WITHIN_S), type=Answer)
    finally:
        writer.close()


def connect(path: Path, request: bytes = b"") -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.setblocking(False)
    with short_path(path) as name:
        made.connect(name)
    made.send(request)
    return made


async def followers(house: House, count: int) -> None:
    """Wait until that many callers follow what happens."""
    async with asyncio.timeout(WITHIN_S):
        while len(house.services.bus._subscriptions) != count:  # noqa: ASYNC110 - a subscription is no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["closed", "half closed", "reset"])
async def test_followers_that_end_leave_their_places(house: House, control: Path, how: str) -> None:
    before = len(house.services.bus._subscriptions)
    for _ in range(3):
        ended = [connect(control, FOLLOW) for _ in range(server.MAX_CONNECTIONS // 2)]
        await followers(house, before + len(ended))
        for caller in ended:
            if how == "half closed":
                caller.shutdown(socket.SHUT_WR)
            else:
                if how == "reset":
                    caller.send(b"unread" * 100)
                caller.close()
        await followers(house, before)
        assert (await ask(control, STATUS)).kind == "result"
        for caller in ended:
            caller.close()


async def test_followers_take_half_of_the_places_and_the_rest_is_kept_for_commands(house: House, control: Path) -> None:
    callers = [connect(control, FOLLOW) for _ in range(MANY)]
    loop = asyncio.get_running_loop()
    half = server.MAX_CONNECTIONS // 2
    refused = [msgspec.json.decode(await loop.sock_recv(caller, 4096), type=Answer) for caller in callers[half:]]
    assert {answer.code for answer in refused} == {"too_many_callers"}
    assert all(answer.hint for answer in refused)
    assert (await ask(control, STATUS)).kind == "result"
    assert (await ask(control, b'{"method":"shutdown"}\n')).kind == "result"
    for caller in callers:
        caller.close()


async def test_idle_callers_make_room(control: Path) -> None:
    idle = [connect(control, b'{"meth') for _ in range(MANY)]
    for _ in range(4):
        # One after the other, so that the kernel's queue holds them.
        assert (await ask(control, STATUS)).kind == "result"
        idle += [connect(control) for _ in range(server.MAX_CONNECTIONS - 1)]
    for caller in idle:
        caller.close()


async def test_a_follower_that_does_not_read_makes_room_for_another(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STALLED_S", 0.0)
    path = tmp_path / "small.sock"
    small = ControlServer(path, house.operations, max_connections=2)
    await small.start()
    before = len(house.services.bus._subscriptions)
    stalled = connect(path, FOLLOW)
    await followers(house, before + 1)
    big = AlertRaised(at=house.services.clock.now(), level=AlertLevel.ERROR, key="big", title="x" * 250_000)
    (caller,) = small._followers
    async with asyncio.timeout(WITHIN_S):
        while caller.stalled_s == 0.0:
            house.services.bus.publish(big)
            await asyncio.sleep(0)
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 22)
    writer.write(FOLLOW)
    async with asyncio.timeout(WITHIN_S):
        while small._followers == {caller} or not small._followers:  # noqa: ASYNC110 - a follower is no event
            await asyncio.sleep(0.01)
    house.services.bus.publish(big)
    line = await asyncio.wait_for(reader.readline(), WITHIN_S)
    assert msgspec.json.decode(line, type=Answer).kind == "event"
    writer.close()
    stalled.close()
    await small.close()


async def test_a_caller_too_many_is_told_so(house: House, tmp_path: Path) -> None:
    path = tmp_path / "one.sock"
    one = ControlServer(path, house.operations, max_connections=1)
    await one.start()
    before = len(house.services.bus._subscriptions)
    follower = connect(path, FOLLOW)
    await followers(house, before + 1)
    answer = await ask(path, STATUS)
    assert (answer.kind, answer.code) == ("error", "too_many_callers")
    assert answer.message == "the master already answers 1 callers"
    follower.close()
    await followers(house, before)
    assert (await ask(path, STATUS)).kind == "result"
    await one.close()


async def test_a_command_goes_on_when_its_caller_is_gone(house: House, control: Path) -> None:
    names = ("atlas", "borealis", "cassini")
    for name in names:
        await house.clone(OPERATOR, CloneRequest(name=name, token=house.token(name)))
    caller = connect(control, b'{"method":"stop","params":{"names":["atlas","borealis","cassini"]}}\n')
    caller.close()
    states = house.services.fleet.state_of
    async with asyncio.timeout(WITHIN_S):
        while {states(house.services.directory.find(name).id) for name in names} != {"stopped"}:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_what_is_too_deep_or_no_text_is_a_bad_request(control: Path) -> None:
    nested = b'{"method":"status","params":{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}}\n"
    for request in (nested, b'{"method":"\xff\xfe"}\n', b"\0\n", b"\n", b"[]\n"):
        assert (await ask(control, request)).code == "bad_request"
    with contextlib.suppress(ConnectionError):
        assert (await ask(control, b"x" * 100_000 + b"\n")).code == "bad_request"
