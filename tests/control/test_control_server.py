"""The control socket of a real master's services, and callers that hang up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from master.control.protocol import Answer
from master.control.server import ControlServer
from master.services.onboarding.saga import CloneRequest
from tests.services.conftest import OPERATOR, House

WITHIN_S = 20.0


@pytest.fixture
async def control(house: House, tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "control.sock"
    server = ControlServer(path, house.operations)
    await server.start()
    yield path
    await server.close()


async def ask_and_hang_up(path: Path, request: bytes) -> bytes:
    """Close the caller's side after the request; returns all that the master says until it closes its own."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request + b"\n")
    writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), WITHIN_S)
    finally:
        writer.close()


async def test_who_hangs_up_on_a_quiet_fleet_leaves_no_connection(control: Path) -> None:
    said = await ask_and_hang_up(control, b'{"method":"events"}')
    assert said == b"" or msgspec.json.decode(said, type=Answer).kind == "error"


async def test_what_changes_something_is_carried_out_after_a_hang_up(house: House, control: Path) -> None:
    await house.clone(OPERATOR, CloneRequest(name="atlas", token=house.token("atlas")))
    said = await ask_and_hang_up(control, b'{"method":"stop","params":{"names":["atlas"]}}')
    kinds = [msgspec.json.decode(line, type=Answer).kind for line in said.splitlines()]
    assert kinds == ["event", "result"]
    assert house.services.fleet.state_of(house.services.directory.find("atlas").id) == "stopped"
