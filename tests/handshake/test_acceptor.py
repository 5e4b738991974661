"""Accepting connections when descriptors run out, and when the socket's file is removed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from handshake import acceptor as acceptor_
from handshake.acceptor import Acceptor
from handshake.crowd import Crowd


class Listening:
    def __init__(self, path: Path, *, reserve: int = 0) -> None:
        self.accepted: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.acceptor = Acceptor(path, self.accepted.put_nowait, backlog=128, reserve=reserve)

    async def next(self) -> None:
        (await asyncio.wait_for(self.accepted.get(), 10)).close()


@pytest.fixture
async def listening(tmp_path: Path) -> AsyncIterator[Listening]:
    made = Listening(tmp_path / "a.sock")
    made.acceptor.start()
    yield made
    made.acceptor.close()


def connect(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.setblocking(False)
    made.connect(str(path))
    return made


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Leave this process none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 2, hard))
    filling = []
    with contextlib.suppress(OSError):
        while True:
            filling.append(os.open(os.devnull, os.O_RDONLY))
    try:
        yield
    finally:
        for descriptor in filling:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_descriptors_it_waits_says_so_once_and_goes_on(
    listening: Listening, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(acceptor_, "RETRY_S", 0.02)
    waiting = [connect(listening.acceptor.path) for _ in range(20)]
    with no_descriptors():
        for _ in range(20):
            await asyncio.sleep(0.02)
        assert listening.accepted.empty()
    assert listening.acceptor._short._due <= 20, "it spins"
    for _ in waiting:
        await listening.next()
    assert [record.message for record in caplog.records] == ["connections have to wait: no descriptors are left"]
    for connection in waiting:
        connection.close()


async def test_the_reserve_is_for_the_next_one(tmp_path: Path) -> None:
    listening = Listening(tmp_path / "a.sock", reserve=3)
    listening.acceptor.start()
    first, second = connect(listening.acceptor.path), connect(listening.acceptor.path)
    with no_descriptors():
        await listening.next()
        await listening.next()
    for connection in (first, second):
        connection.close()
    listening.acceptor.close()


@pytest.mark.parametrize("how", ["removed", "another file", "another socket", "its folder removed"])
async def test_a_socket_that_is_gone_is_noticed_and_made_again(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    listening = Listening(folder / "a.sock")
    listening.acceptor.start()
    path = listening.acceptor.path
    assert listening.acceptor.is_in_place()
    path.unlink()
    if how == "another file":
        path.write_text("not a socket")
    elif how == "another socket":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    elif how == "its folder removed":
        folder.rmdir()
    assert not listening.acceptor.is_in_place()
    listening.acceptor.make_again()
    assert listening.acceptor.is_in_place()
    assert path.stat().st_mode & 0o777 == 0o600
    with connect(path):
        await listening.next()
    listening.acceptor.close()
    assert not path.exists()


async def test_anothers_socket_is_neither_replaced_nor_removed(tmp_path: Path) -> None:
    mine, other = Listening(tmp_path / "a.sock"), Listening(tmp_path / "a.sock")
    mine.acceptor.start()
    mine.acceptor.path.unlink()
    other.acceptor.start()
    with pytest.raises(OSError, match="another process"):
        mine.acceptor.make_again()
    mine.acceptor.close()
    assert other.acceptor.is_in_place()
    other.acceptor.close()


def test_strangers_leave_first_then_whoever_takes_most_room() -> None:
    crowd: Crowd[str] = Crowd(4, one_each=True)
    for name, pid in (("a", 1), ("b", 2), ("c", 2)):
        assert crowd.enter(name, pid) is None
        crowd.prove(name)
    assert crowd.enter("stranger", 3) is None
    assert crowd.enter("d", 4) == "stranger"
    crowd.leave("stranger")
    crowd.prove("d")
    assert crowd.enter("e", 5) == "b", "one process has two"
    crowd.leave("b")
    crowd.prove("e")
    assert crowd.enter("f", 6) == "f", "all have one"


def test_the_strangers_of_one_process_push_out_each_other() -> None:
    crowd: Crowd[str] = Crowd(3, one_each=False)
    crowd.enter("slow", 1)
    crowd.enter("flood 1", 2)
    crowd.enter("flood 2", 2)
    assert crowd.enter("flood 3", 2) == "flood 1"
