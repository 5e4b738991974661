"""The local transport over a real Unix socket."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from handshake.errors import TransportError
from handshake.messages import MAX_MESSAGE_BYTES
from handshake.sockets import Peer, bind_listener
from handshake.transports.channel import unwrap, wrap
from handshake.transports.local import LocalClient, LocalServer


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


async def test_the_answer_comes_and_the_peer_is_known(tmp_path: Path) -> None:
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


def test_the_socket_of_a_living_one_is_not(tmp_path: Path) -> None:
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
        while client.is_connected:  # the reader task notices the end by itself  # noqa: ASYNC110
            await asyncio.sleep(0)
    await client.close()


async def test_a_line_that_is_too_long_ends_the_connection_and_no_other(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "nodes.sock", echo)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "nodes.sock"))
    writer.write(b"x" * (MAX_MESSAGE_BYTES * 3))
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert (await exchange(tmp_path / "nodes.sock", "hello")).startswith("hello")
    await server.close()


def test_a_code_block_is_unwrapped_and_nothing_else() -> None:
    assert unwrap(wrap("a.b.c")) == "a.b.c"
    for other in ("a.b.c", "```\na.b.c", "```py\na.b.c\n```", "```\na b\n```", "```\n" + "x" * 3000 + "\n```", ""):
        assert unwrap(other) is None
    with pytest.raises(TransportError):
        wrap("x" * 2000)
