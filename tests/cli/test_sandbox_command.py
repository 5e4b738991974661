"""``fleet sandbox``: a bot that nobody here wrote answers on it, driven by a person and by a script."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

BOT = """
import os
import discord, discord.gateway, discord.http, yarl
from discord import app_commands

discord.http.Route.BASE = os.environ["API"]
discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(os.environ["GATEWAY"])

class Bot(discord.Client):
    async def setup_hook(self):
        tree = app_commands.CommandTree(self)

        @tree.command(description="x")
        async def greet(interaction: discord.Interaction, who: discord.Member):
            await interaction.response.send_message(f"hello {who.mention} \\x1b[31m")

        await tree.sync()

Bot(intents=discord.Intents.default()).run(os.environ["TOKEN"], log_handler=None)
"""


async def fleet_sandbox(*options: str, stdin: int = PIPE) -> Process:
    command = (sys.executable, "-m", "master.cli", "sandbox", *options)
    return await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=PIPE, stderr=PIPE)


@asynccontextmanager
async def foreign_bot(up: dict[str, Any], folder: Path) -> AsyncIterator[Process]:
    """Run a bot in its own process; only its environment says where Discord is."""
    path = folder / "bot.py"
    path.write_text(BOT)
    environment = {**os.environ, "API": up["api_base"], "GATEWAY": up["gateway_url"]}
    environment["TOKEN"] = up["bots"]["Atlas"]["token"]
    bot = await asyncio.create_subprocess_exec(sys.executable, str(path), env=environment, stdout=DEVNULL)
    try:
        yield bot
    finally:
        bot.kill()
        await bot.wait()


async def next_event(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    event: dict[str, Any] = json.loads(line)
    return event


async def test_a_foreign_bot_answers_a_person_who_types(tmp_path: Path) -> None:
    process = await fleet_sandbox("--port", "0", "--json")
    up = await next_event(process)
    assert up["event"] == "up"
    assert process.stdin is not None
    async with foreign_bot(up, tmp_path):
        process.stdin.write(b"wait\nslash /greet who:ben\n")
        said = await next_event(process)
        assert (said["author"], said["channel"]) == ("Atlas", "general")
        assert said["content"] == f"hello <@{up['people']['ben']}> \x1b[31m"
        process.stdin.write(b"nonsense\n")
        assert "no command 'nonsense'" in (await next_event(process))["message"]
        process.stdin.write(b"quit\n")
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_a_script_is_followed_and_its_outcome_is_the_exit_code(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    up = {"api_base": f"http://127.0.0.1:{port}/api/v10", "gateway_url": f"ws://127.0.0.1:{port}/gateway"}
    script = tmp_path / "script.txt"
    script.write_text("wait\nslash /greet who:ben\nexpect hello @ben\nas nobody\n")
    process = await fleet_sandbox("--port", port, "--script", str(script))
    assert process.stdout is not None
    assert process.stderr is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith("point your bot here"):
        lines.append((await asyncio.wait_for(process.stdout.readline(), 30)).decode())
    token = lines[-2].strip()
    async with foreign_bot({**up, "bots": {"Atlas": {"token": token}}}, tmp_path):
        shown, told = await asyncio.wait_for(process.communicate(), 60)
    # What the bot says is shown, and nothing of it acts on the terminal.
    assert "#general Atlas: hello @ben \\x1b[31m" in shown.decode()
    assert process.returncode == 1
    assert told.decode().splitlines()[-2:] == [
        "error: line 4: there is no person 'nobody'; there are ann, ben",
        "hint:  as nobody",
    ]


async def test_without_a_terminal_it_stands_until_it_gets_a_signal() -> None:
    process = await fleet_sandbox("--port", "0", stdin=DEVNULL)
    assert process.stdout is not None
    while "stands until" not in (await asyncio.wait_for(process.stdout.readline(), 30)).decode():
        pass
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = await fleet_sandbox("--port", str(taken.getsockname()[1]), "--json", stdin=DEVNULL)
        out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    said = json.loads(out)["error"]
    assert "not free" in said["message"]
    assert "--port" in said["hint"]
