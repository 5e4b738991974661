"""Connections that are in no hurry, read together over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from handshake.messages import MAX_MESSAGE_BYTES
from handshake.sockets import Peer
from handshake.transports import gathering
from handshake.transports.local import LocalServer

AN_HOUR_S = 3600.0


class Master:
    """Takes pulses in silence, and answers everything else."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self._changed = asyncio.Event()

    def take(self, text: str, _peer: Peer) -> str | None:
        self.taken.append(text)
        self._changed.set()
        self._changed = asyncio.Event()
        return None if text.startswith("pulse") else f"{text}!"

    async def has_taken(self, count: int) -> list[str]:
        async with asyncio.timeout(5):
            while len(self.taken) < count:
                await self._changed.wait()
        return self.taken


@pytest.fixture
async def master(tmp_path: Path) -> AsyncIterator[Master]:
    made = Master()
    server = LocalServer(tmp_path / "nodes.sock", made.take)
    await server.start()
    yield made
    await server.close()


Connect = Callable[[], socket.socket]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    with ExitStack() as stack:

        def connect() -> socket.socket:
            made = stack.enter_context(socket.socket(socket.AF_UNIX))
            made.connect(str(tmp_path / "nodes.sock"))
            made.setblocking(False)
            return made

        yield connect


async def hear(connection: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(connection, 100), 5)


async def turns(count: int = 20) -> None:
    """Let the loop take what has come by now."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("at_once", [64, 3])
async def test_pulses_wait_for_each_other(
    master: Master, connect: Connect, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(gathering, "AT_ONCE", at_once)
    nodes = [connect() for _ in range(10)]
    for node in nodes:
        node.sendall(b"pulse\n")
    await master.has_taken(10)
    monkeypatch.setattr(gathering, "GATHER_S", 1.0)
    for number, node in enumerate(nodes):
        node.sendall(b"pulse %d\n" % number)
        await turns()
    assert len(master.taken) == 10
    assert sorted((await master.has_taken(20))[10:]) == [f"pulse {number}" for number in range(10)]


async def test_who_asks_is_heard_at_once_until_its_next_pulse(
    master: Master, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = connect()
    node.sendall(b"pulse\n")
    await master.has_taken(1)
    node.sendall(b"one\n")
    assert await hear(node) == b"one!\n"
    monkeypatch.setattr(gathering, "GATHER_S", AN_HOUR_S)
    for text in (b"two", b"three"):
        node.sendall(text + b"\n")
        assert await hear(node) == text + b"!\n"
    node.sendall(b"pulse\n")
    await master.has_taken(5)
    node.sendall(b"four\n")
    await turns()
    assert len(master.taken) == 5


async def test_the_first_words_of_a_node_wait_for_nobody(
    master: Master, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "GATHER_S", AN_HOUR_S)
    quiet = connect()
    for _ in range(2):
        quiet.sendall(b"pulse\n")
        await turns()
    new = connect()
    new.sendall(b"hello\n")
    assert await hear(new) == b"hello!\n"


@pytest.mark.parametrize("last_words", [b"", b"pulse\n", b"good-bye\n"])
async def test_the_end_of_a_quiet_connection_is_noticed(master: Master, connect: Connect, last_words: bytes) -> None:
    node, other = connect(), connect()
    for connection in (node, other):
        connection.sendall(b"pulse\n")
    await master.has_taken(2)
    node.sendall(last_words)
    node.shutdown(socket.SHUT_WR)
    if last_words == b"good-bye\n":
        assert await hear(node) == b"good-bye!\n"
    assert await hear(node) == b""
    taken = len(master.taken)
    assert taken == (3 if last_words else 2)
    other.sendall(b"pulse again\n")
    assert (await master.has_taken(taken + 1))[taken:] == ["pulse again"]


async def test_a_quiet_peer_that_sends_nonsense_is_hung_up_on(master: Master, connect: Connect) -> None:
    node, other = connect(), connect()
    for connection in (node, other):
        connection.sendall(b"pulse\n")
    await master.has_taken(2)
    node.sendall(b"x" * (MAX_MESSAGE_BYTES + 1))
    # Two ways of being told: what was sent last may have been read, or not.
    with contextlib.suppress(ConnectionResetError):
        assert await hear(node) == b""
    other.sendall(b"more\n")
    assert await hear(other) == b"more!\n"


async def test_a_master_that_ends_hangs_up_on_quiet_nodes(tmp_path: Path) -> None:
    master = Master()
    server = LocalServer(tmp_path / "nodes.sock", master.take)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "nodes.sock"))
    writer.write(b"pulse\n")
    await master.has_taken(1)
    writer.write(b"pulse\n")
    await turns()
    await server.close()
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
