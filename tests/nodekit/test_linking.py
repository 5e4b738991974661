"""A bot that knows nothing of any fleet, linked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from handshake.manifest import read_manifest
from master.demonstration.stage import EventTap, Stage
from master.errors import FleetError
from master.operations.parameters import DuplicateParams
from master.services.core.views import Registered
from tests.nodekit.foreign import client, kill, log_of, noted, notes_of, pid_of, place, register, sessions

pytestmark = pytest.mark.timeout(120)


def holds(path: Path, secret: bytes) -> bool:
    try:
        return secret in path.read_bytes()
    except OSError:
        return False


def shown_by(pid: int, secret: bytes) -> list[str]:
    """Return where the kernel shows a secret of a process to others."""
    return [name for name in ("environ", "cmdline", "comm") if holds(Path(f"/proc/{pid}/{name}"), secret)]


@pytest.mark.slow
async def test_a_bot_without_a_line_of_ours_is_verified_reports_and_resumes(stage: Stage, tap: EventTap) -> None:
    folder = place(stage, "oldbot", client(variable="BOT_TOKEN"))
    await register(stage, "oldbot", link=True, token_env="BOT_TOKEN")
    await tap.wait_for("verified", "oldbot")
    await tap.wait_for("ready", "oldbot")
    await noted(folder, "ready in Fleet HQ with 1 members")

    await stage.operator.sends(stage.office, "hello")
    await stage.log.wait_for_message(
        lambda m: any("oldbot: ValueError in on\\_message" in e.get("title", "") for e in m.embeds)
    )
    await kill(stage, tap, "oldbot")
    await noted(folder, "resumed")
    assert sessions(stage, "oldbot") == (1, 1)


@pytest.mark.slow
async def test_its_token_is_shown_nowhere(stage: Stage, tap: EventTap) -> None:
    folder = place(stage, "oldbot", client())
    await register(stage, "oldbot", link=True)
    await tap.wait_for("ready", "oldbot")
    token = stage.bots["oldbot"].token.encode()
    assert shown_by(await pid_of(stage, "oldbot"), token) == []
    assert "child sees the token: False" in notes_of(folder)
    found = await asyncio.to_thread(lambda: [path for path in stage.home.rglob("*") if holds(path, token)])
    assert found == []


@pytest.mark.slow
async def test_its_copy_is_linked_too(stage: Stage, tap: EventTap) -> None:
    place(stage, "oldbot", client(variable="BOT_TOKEN"))
    await register(stage, "oldbot", link=True, token_env="BOT_TOKEN")
    await tap.wait_for("ready", "oldbot")
    stage.create_bot("copy")
    params = DuplicateParams(name="copy", token=stage.bots["copy"].token, source="oldbot")
    await asyncio.to_thread(stage.client.call, "dup", params, answer=Registered, timeout_s=60.0)
    await tap.wait_for("ready", "copy")
    assert read_manifest(stage.home / "bots" / "copy").token_variable == "BOT_TOKEN"


@pytest.mark.slow
async def test_a_second_client_with_another_token_is_left_alone(stage: Stage, tap: EventTap) -> None:
    helper = stage.create_bot("helper")
    script = (
        "import asyncio, os, discord\n"
        "async def main():\n"
        "    async with discord.Client(intents=discord.Intents.none()) as helper:\n"
        f"        await helper.login({helper.token!r})\n"
        "        print('helper is', helper.user.name, flush=True)\n"
        "    async with discord.Client(intents=discord.Intents.default()) as bot:\n"
        "        await bot.start(os.environ['DISCORD_TOKEN'])\n"
        "asyncio.run(main())\n"
    )
    place(stage, "oldbot", script)
    await register(stage, "oldbot", link=True)
    await tap.wait_for("ready", "oldbot")
    assert "another token than the node's" in log_of(stage, "oldbot")


@pytest.mark.parametrize("variable", ["", "1TOKEN", "A B", "FLEET_BOOT_FD", "PATH", "PYTHONPATH"])
@pytest.mark.slow
async def test_what_cannot_be_the_variable_is_refused(stage: Stage, variable: str) -> None:
    folder = place(stage, "oldbot", client())
    with pytest.raises(FleetError, match="is not a valid environment variable"):
        await register(stage, "oldbot", link=True, token_env=variable)
    assert not (folder / "node.json").exists()
