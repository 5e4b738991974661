"""The control socket's key: shown by whoever may read the state folder, made again when it is lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from master.control.client import ControlClient, RemoteError
from master.control.key import KEY_NAME, ControlKey, known_key
from master.control.server import ControlServer
from master.errors import ExitCode
from master.operations import nodes
from master.operations.parameters import NoParams
from tests.services.conftest import House


@pytest.fixture
async def socket_path(house: House, tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "control.sock"
    server = ControlServer(path, house.operations, ControlKey(tmp_path))
    await server.start()
    yield path
    await server.close()


async def ping(path: Path) -> int:
    return (await asyncio.to_thread(ControlClient(path).run, nodes.ping, NoParams())).pid


async def test_who_can_read_the_key_is_let_in(socket_path: Path) -> None:
    assert await ping(socket_path) == os.getpid()
    assert (socket_path.parent / KEY_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("spoiled", ["lost", "wrong", "a pipe", "a link"])
async def test_a_key_that_is_lost_is_made_again_and_the_caller_let_in(socket_path: Path, spoiled: str) -> None:
    key = socket_path.parent / KEY_NAME
    whole = known_key(key.parent)
    key.unlink()
    match spoiled:
        case "wrong":
            key.write_text(whole[:-1])
        case "a pipe":
            os.mkfifo(key)
        case "a link":
            key.symlink_to("/dev/zero")
    assert await ping(socket_path) == os.getpid()
    assert known_key(key.parent) == whole


async def test_who_does_not_know_the_key_is_refused(socket_path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "control.sock").symlink_to(socket_path)
    (elsewhere / KEY_NAME).write_text("guessed")
    with pytest.raises(RemoteError) as refused:
        await ping(elsewhere / "control.sock")
    assert (refused.value.code, refused.value.exit_code) == ("no_key", ExitCode.REFUSED)
    assert known_key(tmp_path) not in str(refused.value)


RESTRICTED = """
import ctypes
assert ctypes.CDLL(None).prctl(38, ctypes.c_ulong(1), *[ctypes.c_ulong(0)] * 3) == 0  # PR_SET_NO_NEW_PRIVS
print("restricted", flush=True)
input()
"""


def test_without_room_for_a_key_whoever_is_no_isolated_node_is_let_in(tmp_path: Path) -> None:
    if "NoNewPrivs:\t0" not in Path("/proc/self/status").read_text():
        pytest.skip("this process can gain no privileges itself")
    key = ControlKey(tmp_path / "no such folder")
    assert key.admits("", os.getpid())
    assert not key.admits("", 0)
    command = [sys.executable, "-c", RESTRICTED]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"restricted\n"
        assert not key.admits("", child.pid)
    finally:
        child.communicate(b"\n")
    written = ControlKey(tmp_path)
    assert not written.admits("", os.getpid())


def test_each_master_has_a_key_of_its_own(tmp_path: Path) -> None:
    first = ControlKey(tmp_path)
    shown = known_key(tmp_path)
    assert first.admits(shown)
    assert not ControlKey(tmp_path).admits(shown)
    for guess in ("", "A" * len(shown), shown[:-1], shown + "A", "é"):
        assert not first.admits(guess)


def test_a_disk_that_takes_nothing_leaves_the_last_key_in_use(tmp_path: Path) -> None:
    ControlKey(tmp_path)
    last = known_key(tmp_path)
    # Nothing can be written where a folder has the name of the file that would be.
    (tmp_path / f".{KEY_NAME}.new").mkdir()
    assert ControlKey(tmp_path).admits(last)
