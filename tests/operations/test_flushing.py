"""`fleet flush`: the logs of nodes are emptied, and their nodes write on."""

from __future__ import annotations

import asyncio
import json
import os

import pytest

from master.control.server import ControlServer
from master.services.onboarding.saga import CloneRequest
from tests.hostile.conversations import typed
from tests.services.conftest import OPERATOR, House


async def test_flush_empties_the_logs_of_a_node_that_writes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    home = house.services.settings.home
    monkeypatch.setenv("FLEET_HOME", str(home))
    for name in ("atlas", "borealis"):
        await house.clone(OPERATOR, CloneRequest(name=name, token=house.token(name), start=False))
    logs = home / "state" / "logs"
    logs.mkdir(exist_ok=True)
    for name in ("atlas", "borealis"):
        for suffix in ("out.log", "err.log", "out.log.1"):
            (logs / f"{name}.{suffix}").write_text("2026-11-22 10:00:00 x\n")
    server = ControlServer(home / "state" / "control.sock", house.operations)
    await server.start()
    asked = await asyncio.to_thread(typed, ["flush", "atlas"])
    assert (asked.code, "give --yes" in asked.err) == (2, True)
    assert (logs / "atlas.out.log").read_text()
    writing = os.open(logs / "atlas.out.log", os.O_WRONLY | os.O_APPEND)
    told = await asyncio.to_thread(typed, ["flush", "atlas", "--yes"])
    os.write(writing, b"it writes on\n")
    os.close(writing)
    assert (told.code, "✓ atlas" in told.out) == (0, True), told
    assert {path.name: path.read_text() for path in logs.glob("atlas.*")} == {
        "atlas.out.log": "it writes on\n",
        "atlas.err.log": "",
    }
    assert (logs / "borealis.out.log.1").exists()
    (row,) = json.loads((await asyncio.to_thread(typed, ["audit", "show", "--action", "flush", "--json"])).out)
    assert (row["outcome"], row["action"]) == ("done", "flush")
    await server.close()
