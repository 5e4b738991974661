"""Files of the state folder that a node has turned into something else: nothing waits, and its start goes on."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from master.supervision.errors import SpawnFailed
from master.supervision.logs import NodeLogs
from master.supervision.run_records import RunRecords
from master.supervision.spawner import PlainSpawner
from nodekit.gateway_session import SESSION_FD_VARIABLE, expect_successor
from tests.supervision.test_zygote import request_for

pytestmark = pytest.mark.timeout(30)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


IMPOSTORS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "link": lambda path: path.symlink_to("/dev/zero"),
    "socket": listening,
}


@pytest.mark.parametrize("impostor", IMPOSTORS)
async def test_a_log_that_is_no_file_is_replaced_at_the_next_start(tmp_path: Path, impostor: str) -> None:
    request = request_for(tmp_path, "print('here')")
    for path in (request.stdout_path, request.stderr_path):
        path.parent.mkdir(exist_ok=True)
        IMPOSTORS[impostor](path)
    logs = NodeLogs(tmp_path / "logs", max_bytes=1_000, files=2)
    await asyncio.to_thread(logs.rotate, ["atlas"])
    assert await asyncio.to_thread(logs.tail, "atlas") == []
    process = await PlainSpawner().spawn(request)
    process.release()
    assert (await asyncio.wait_for(process.exited, 10)).exit_code == 0
    assert request.stdout_path.read_text() == "here\n"


@pytest.mark.parametrize("impostor", IMPOSTORS)
def test_a_rotation_writes_into_no_impostor(tmp_path: Path, impostor: str) -> None:
    logs = NodeLogs(tmp_path, max_bytes=1_000, files=2)
    out, _ = logs.paths("atlas")
    out.write_bytes(b"x" * 5_000 + b"end")
    IMPOSTORS[impostor](out.with_name(f"{out.name}.1"))
    logs.rotate(["atlas"])
    assert out.with_name(f"{out.name}.1").read_bytes().endswith(b"xend")
    assert out.read_bytes() == b"[fleet] 0.0 MB of output dropped\n"


def test_a_log_of_a_terabyte_costs_no_more_than_its_tail(tmp_path: Path) -> None:
    logs = NodeLogs(tmp_path, max_bytes=1_000, files=2)
    out, _ = logs.paths("atlas")
    with out.open("wb") as stream:
        stream.truncate(1 << 40)
    logs.rotate(["atlas"])
    assert out.with_name(f"{out.name}.1").stat().st_size == 1_000
    assert out.stat().st_size < 1_000


@pytest.mark.parametrize("impostor", IMPOSTORS)
async def test_a_session_that_is_no_file_is_an_error_of_that_start_alone(tmp_path: Path, impostor: str) -> None:
    session = tmp_path / "session"
    IMPOSTORS[impostor](session)
    request = request_for(tmp_path, "pass")
    request.files[SESSION_FD_VARIABLE] = session  # type: ignore[index]
    with pytest.raises(SpawnFailed):
        await PlainSpawner().spawn(request)
    with pytest.raises(OSError, match=r".+"):
        expect_successor(session, True)


@pytest.mark.parametrize("impostor", IMPOSTORS)
def test_a_record_that_is_no_file_is_none(tmp_path: Path, impostor: str) -> None:
    IMPOSTORS[impostor](tmp_path / "atlas")
    records = RunRecords(tmp_path)
    assert records.read("atlas") is None
    with pytest.raises(OSError, match=r".+"):
        records.note("atlas", 1, 1.0)
