"""The local transport over a real Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Awaitable
from pathlib import Path

import pytest

from handshake.errors import Reason, Refused, TransportError
from handshake.messages import MAX_MESSAGE_BYTES
from handshake.sockets import Peer, bind_listener
from handshake.transports import local
from handshake.transports.channel import unwrap, wrap
from handshake.transports.local import MAX_REFUSED, READ_BYTES, LocalClient, LocalServer


async def echo(text: str, peer: Peer) -> str | None:
    return None if text == "silent" else f"{text}/{peer.pid}"


async def exchange(path: Path, text: str) -> str:
    answers: asyncio.Queue[str] = asyncio.Queue()
    client = LocalClient(path, answers.put_nowait)
    await client.send(text)
    try:
        return await asyncio.wait_for(answers.get(), 5)
    finally:
        await client.close()


async def test_a_message_is_answered_and_its_peer_known(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "nodes.sock", echo)
    await server.start()
    assert stat.S_IMODE((tmp_path / "nodes.sock").stat().st_mode) == 0o600
    assert await exchange(tmp_path / "nodes.sock", "hello") == f"hello/{os.getpid()}"
    await server.close()
    assert not (tmp_path / "nodes.sock").exists()


async def test_a_path_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20) / ("name" * 20)
    folder.mkdir(parents=True)
    server = LocalServer(folder / "nodes.sock", echo)
    await server.start()
    assert (await exchange(folder / "nodes.sock", "hello")).startswith("hello")
    await server.close()


async def test_the_socket_of_a_dead_master_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "nodes.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = LocalServer(path, echo)
    await server.start()
    assert (await exchange(path, "hello")).startswith("hello")
    await server.close()


def test_the_socket_of_a_running_master_is_not_replaced(tmp_path: Path) -> None:
    with bind_listener(tmp_path / "a.sock"), pytest.raises(OSError, match="another process"):
        bind_listener(tmp_path / "a.sock")


async def test_a_client_connects_again_after_a_restart(tmp_path: Path) -> None:
    path, answers = tmp_path / "nodes.sock", asyncio.Queue[str]()
    client = LocalClient(path, answers.put_nowait)
    for round_number in range(3):
        with pytest.raises(TransportError):
            await client.send("nobody listens")
        server = LocalServer(path, echo)
        await server.start()
        await client.send(str(round_number))
        assert (await asyncio.wait_for(answers.get(), 5)).startswith(str(round_number))
        await server.close()
        while client.is_connected:  # the reader task notices the close by itself  # noqa: ASYNC110
            await asyncio.sleep(0)
    await client.close()


async def test_a_line_that_is_too_long_closes_only_its_connection(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "nodes.sock", echo)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "nodes.sock"))
    writer.write(b"x" * (MAX_MESSAGE_BYTES * 3))
    # Two ways of being told: what was sent last may have been read, or not.
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert (await exchange(tmp_path / "nodes.sock", "hello")).startswith("hello")
    await server.close()


async def test_messages_behind_a_slow_one_are_pending_and_answers_keep_their_order(tmp_path: Path) -> None:
    opened, arrived = asyncio.Event(), asyncio.Queue[str]()

    def answer(text: str, _peer: Peer) -> str | Awaitable[str | None] | None:
        arrived.put_nowait(text)
        return slowly(text) if text.startswith("slow") else f"{text}!"

    async def slowly(text: str) -> str:
        await opened.wait()
        return f"{text}!"

    server = LocalServer(tmp_path / "nodes.sock", answer)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "nodes.sock"))
    writer.write(b"at once\nslow\nlater\nslow too\nlast\n")
    async with asyncio.timeout(5):
        assert await reader.readline() == b"at once!\n"
        assert [await arrived.get(), await arrived.get()] == ["at once", "slow"]
        assert arrived.empty()
        opened.set()
        found = [await reader.readline() for _ in range(4)]
    assert found == [b"slow!\n", b"later!\n", b"slow too!\n", b"last!\n"]
    writer.close()
    await server.close()


async def test_messages_sent_before_closing_are_handled(tmp_path: Path) -> None:
    opened, arrived = asyncio.Event(), asyncio.Queue[str]()

    async def take(text: str, _peer: Peer) -> str | None:
        arrived.put_nowait(text)
        await opened.wait()
        return "nobody reads this"

    server = LocalServer(tmp_path / "nodes.sock", take)
    await server.start()
    with socket.socket(socket.AF_UNIX) as node:
        node.connect(str(tmp_path / "nodes.sock"))
        node.sendall(b"an error\ngood-bye\n")
    async with asyncio.timeout(5):
        assert await arrived.get() == "an error"
        opened.set()
        assert await arrived.get() == "good-bye"
    await server.close()


async def test_reading_is_no_faster_than_answering(tmp_path: Path) -> None:
    opened, taken = asyncio.Event(), 0

    async def take(_text: str, _peer: Peer) -> None:
        nonlocal taken
        taken += 1
        await opened.wait()

    server = LocalServer(tmp_path / "nodes.sock", take)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "nodes.sock"))
    lines, line = 0, b"x" * 1_000 + b"\n"
    with contextlib.suppress(TimeoutError):
        while lines < 100_000:
            writer.write(line)
            lines += 1
            await asyncio.wait_for(writer.drain(), 0.5)
    assert (lines, taken) < (5_000, 2), "the kernel's buffer is full, and reading is paused"
    opened.set()
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 10) == b""
    assert taken == lines
    await server.close()


@pytest.mark.parametrize("slowly", [True, False])
async def test_an_error_in_the_handler_closes_the_connection_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, slowly: bool
) -> None:
    def fail(text: str, _peer: Peer) -> str:
        if text == "bad":
            raise ZeroDivisionError(text)
        return text

    async def fail_slowly(text: str, peer: Peer) -> str:
        return fail(text, peer)

    server = LocalServer(tmp_path / "nodes.sock", fail_slowly if slowly else fail)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "nodes.sock"))
    writer.write(b"bad\ngood\n")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert "a message could not be handled" in caplog.text
    assert await exchange(tmp_path / "nodes.sock", "good") == "good"
    writer.close()
    await server.close()


def test_a_code_block_is_unwrapped_and_nothing_else() -> None:
    assert unwrap(wrap("a.b.c")) == "a.b.c"
    assert unwrap(wrap("a.b.c", to_user_id=100000000000000001)) == "a.b.c"
    for other in ("a.b.c", "```\na.b.c", "```py\na.b.c\n```", "```\na b\n```", "```\n" + "x" * 3000 + "\n```", ""):
        assert unwrap(other) is None
    with pytest.raises(TransportError):
        wrap("x" * 2000)


async def test_a_server_that_is_closed_leaves_no_descriptor(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    server = LocalServer(tmp_path / "nodes.sock", lambda _text, _peer: None)
    await server.start()
    await server.close()
    await asyncio.sleep(0)  # asyncio closes the listener's socket in the next turn
    assert os.listdir("/proc/self/fd") == before


def refuse(_text: str, _peer: Peer) -> None:
    raise Refused(Reason.MALFORMED, "everything is")


async def refuse_slowly(text: str, peer: Peer) -> None:
    await asyncio.sleep(0)
    refuse(text, peer)


@pytest.mark.parametrize("slowly", [True, False])
async def test_a_sender_of_refusals_is_hung_up_on_and_what_it_queued_is_dropped(tmp_path: Path, slowly: bool) -> None:
    taken = 0

    def take(text: str, peer: Peer) -> Awaitable[None] | None:
        nonlocal taken
        taken += 1
        if slowly:
            return refuse_slowly(text, peer)
        refuse(text, peer)
        return None

    server = LocalServer(tmp_path / "nodes.sock", take)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "nodes.sock"))
    writer.write(b"\n" * 262_144)
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    assert taken == MAX_REFUSED
    writer.close()
    await server.close()


async def test_what_a_gone_sender_queued_is_dropped_at_its_first_refusal(tmp_path: Path) -> None:
    opened, taken = asyncio.Event(), asyncio.Queue[str]()

    async def take(text: str, peer: Peer) -> None:
        taken.put_nowait(text)
        await opened.wait()
        if text == "bad":
            refuse(text, peer)

    server = LocalServer(tmp_path / "nodes.sock", take)
    await server.start()
    with socket.socket(socket.AF_UNIX) as node:
        node.connect(str(tmp_path / "nodes.sock"))
        node.sendall(b"an error\ngood-bye\nbad\n" + b"more\n" * 1_000)
        assert await asyncio.wait_for(taken.get(), 5) == "an error"
    opened.set()
    async with asyncio.timeout(5):
        assert [await taken.get(), await taken.get()] == ["good-bye", "bad"]
        while server._connections:  # noqa: ASYNC110 - the end of a connection is no event
            await asyncio.sleep(0.01)
    assert taken.empty()
    await server.close()


async def test_a_connection_holds_no_more_than_is_read_at_once(tmp_path: Path) -> None:
    opened, arrived = asyncio.Event(), asyncio.Event()

    async def take(_text: str, _peer: Peer) -> None:
        arrived.set()
        await opened.wait()

    server = LocalServer(tmp_path / "nodes.sock", take)
    await server.start()
    for rest in (b"\n", b"x", b"x\n"):
        arrived.clear()
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "nodes.sock"))
        writer.write(b"first\n" + rest * 262_144)
        await asyncio.wait_for(arrived.wait(), 5)
        for _ in range(100):
            await asyncio.sleep(0)
        assert all(len(connection._buffer) <= READ_BYTES + MAX_MESSAGE_BYTES for connection in server._connections)
        writer.close()
    await server.close()


async def test_strangers_and_crowds_keep_nobody_out(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "nodes.sock", echo, max_connections=8)
    await server.start()
    idle = []
    for _ in range(5):
        for _ in range(10):
            stranger = socket.socket(socket.AF_UNIX)
            stranger.setblocking(False)
            with contextlib.suppress(BlockingIOError):  # the kernel's queue is full
                stranger.connect(str(tmp_path / "nodes.sock"))
            idle.append(stranger)
        await asyncio.sleep(0)
        while True:
            try:
                assert (await exchange(tmp_path / "nodes.sock", "hello")).startswith("hello")
                break
            except TransportError:
                await asyncio.sleep(0)
    assert len(server._crowd) <= 8
    for stranger in idle:
        stranger.close()
    await server.close()


async def test_who_says_nothing_genuine_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "PROVE_TIMEOUT_S", 0.2)
    server = LocalServer(tmp_path / "nodes.sock", echo)
    await server.start()
    known_reader, known = await asyncio.open_unix_connection(str(tmp_path / "nodes.sock"))
    known.write(b"silent\n")
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "nodes.sock"))
    writer.write(b"half a li")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    known.write(b"still there\n")
    assert (await asyncio.wait_for(known_reader.readline(), 5)).startswith(b"still there")
    for end in (writer, known):
        end.close()
    await server.close()
