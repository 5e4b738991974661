"""READY_WHEN: a program is ready when it shows it, and is replaced when it does not."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from master.configuration.settings import Settings
from master.events import Event, NodeEnded, NodeReady, NodeReplaced, NodeSpawned
from master.services.onboarding.saga import RegisterRequest
from sandbox import Sandbox
from tests.services.conftest import OPERATOR, House, open_house

LISTENS = """
import socket, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        self.send_response(200 if self.path == '/health?deep=1' and Handler.asked > 2 else 503)
        self.end_headers()
    def log_message(self, *_): pass
print('starting', flush=True)
server = HTTPServer(('127.0.0.1', int(sys.argv[1])), Handler)
print('listening', flush=True)
server.serve_forever()
"""
TELLS = """
import signal, sys, os
sys.stderr.write('warming up\\n')
if sys.argv[1] == 'tell':
    while not os.path.exists('go'): signal.sigtimedwait((), 0.05)
    sys.stderr.write('x' * 300_000 + '\\nLogged in as web#1234\\n')
signal.pause()
"""


class Story:
    """What happened, and a way to wait for it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.events: list[Event] = []
        self.changed = asyncio.Event()
        for kind in (NodeSpawned, NodeReady, NodeReplaced, NodeEnded):
            house.services.bus.on(kind, self.note)

    def note(self, event: Event) -> None:
        self.events.append(event)
        self.changed.set()
        self.changed = asyncio.Event()

    async def wait(self, kind: type[Event], *, count: int = 1, timeout_s: float = 20.0) -> Event:
        async def found() -> Event:
            while len(those := [event for event in self.events if isinstance(event, kind)]) < count:
                await self.changed.wait()
            return those[count - 1]

        return await asyncio.wait_for(found(), timeout_s)


@pytest.fixture
async def story(house_settings: Settings, sandbox: Sandbox) -> AsyncIterator[Story]:
    quick = replace(house_settings.supervision, ready_timeout_s=2.0, backoff_initial_s=0.05)
    async with open_house(replace(house_settings, supervision=quick), sandbox) as house:
        yield Story(house)


def asked(folder: Path, script: str, arguments: str, sign: str, **changes: Any) -> RegisterRequest:
    folder.mkdir()
    (folder / "main.py").write_text(script)
    options = {"COMMAND": f"{sys.executable} -u main.py {arguments}", "READY_WHEN": sign}
    return RegisterRequest(name="web", token=None, folder=str(folder), options=options, **changes)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("sign", ["port:{}", "http://127.0.0.1:{}/health?deep=1", "log:^listening$"])
async def test_a_program_is_ready_when_it_shows_it(story: Story, tmp_path: Path, sign: str) -> None:
    port = free_port()
    await story.house.register(OPERATOR, asked(tmp_path / "web", LISTENS, str(port), sign.format(port)))
    await story.wait(NodeReady)
    assert not [event for event in story.events if isinstance(event, NodeEnded)]


async def test_only_lines_of_this_start_count_and_a_flood_hides_none(story: Story, tmp_path: Path) -> None:
    house = story.house
    _, err = house.services.supervisor._logs.paths("web")
    err.parent.mkdir(parents=True, exist_ok=True)
    err.write_text("Logged in as somebody yesterday\n")
    await house.register(OPERATOR, asked(tmp_path / "web", TELLS, "tell", "log:Logged in as \\w+#\\d+"))
    await story.wait(NodeSpawned)
    while "warming up" not in err.read_text():  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.02)
    assert house.services.fleet.state_of(house.services.directory.find("web").id) == "starting"
    (tmp_path / "web" / "go").touch()
    await story.wait(NodeReady)


async def test_a_program_that_does_not_show_it_in_time_is_replaced(story: Story, tmp_path: Path) -> None:
    await story.house.register(OPERATOR, asked(tmp_path / "web", TELLS, "be silent", "log:never said"))
    replaced = await story.wait(NodeReplaced)
    assert replaced.detail == "not ready within 2 s (log:never said)"  # type: ignore[attr-defined]
    await story.wait(NodeSpawned, count=2)
    assert not [event for event in story.events if isinstance(event, NodeReady)]
