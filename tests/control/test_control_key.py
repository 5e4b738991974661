"""The control socket's key: shown by whoever may read the state folder, made again when it is lost."""

from __future__ import annotations

import asyncio
import os
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
async def test_a_key_that_is_lost_is_refused_once_and_made_again(socket_path: Path, spoiled: str) -> None:
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
    with pytest.raises(RemoteError) as refused:
        await ping(socket_path)
    assert (refused.value.code, refused.value.exit_code) == ("no_key", ExitCode.REFUSED)
    assert whole not in str(refused.value)
    assert await ping(socket_path) == os.getpid()


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
