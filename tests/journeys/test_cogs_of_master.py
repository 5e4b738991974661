"""A real master with a cog that is broken: what an operator sees, mends, switches off, and finds later."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from master.demonstration.stage import Stage

COG = """\
import discord
from discord import app_commands
from discord.ext import commands
from master.bot.operation_commands import carries_out
from master.operations import nodes

class Juke(commands.Cog):
    @carries_out(nodes.ping)
    @app_commands.command(description="Play")
    async def juke(self, interaction: discord.Interaction) -> None:
        await interaction.response.send_message(embed=discord.Embed(title="plays"))

async def setup(bot):
    await bot.add_cog(Juke())
"""


@pytest.fixture
async def broken(
    tmp_path: Path, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Stage, Path]]:
    """Yield a master of whose cogs one cannot be imported, and the file of that."""
    file = tmp_path / "juke.py"
    file.write_text("import no_such_module_at_all\n")
    monkeypatch.setenv("FLEET_TEST_COGS", str(tmp_path))
    async with Stage(ledger=empty_ledger, program="tests.journeys.master_with_more_cogs") as stage:
        await stage.start_master()
        yield stage, file


async def fleet(stage: Stage, *typed: str, code: int = 0) -> Any:
    """Run the command line with --json, and return what it printed."""
    command = [sys.executable, "-m", "master.cli", *typed, "--json", "--home", str(stage.home)]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, env={**os.environ}, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout or done.stderr)


def at_discord(stage: Stage) -> set[str]:
    found = stage.sandbox.commands.of_scope(stage.master_bot.id, stage.guild.id)
    return {command["name"] for command in found}


async def end_master(stage: Stage) -> None:
    assert stage.master is not None
    stage.master.process.terminate()
    assert await stage.master.process.wait() == 0


@pytest.mark.slow
async def test_a_broken_cog_is_shown_mended_disabled_and_stays_so(broken: tuple[Stage, Path]) -> None:
    stage, file = broken
    told = await stage.log.wait_for_message(
        lambda message: message.embeds[0]["title"] == "The cog juke could not be loaded", timeout_s=20
    )
    assert "no_such_module_at_all" in told.embeds[0]["description"]
    (first, *others) = await fleet(stage, "cogs")
    assert (first["name"], first["state"]) == ("juke", "failed")
    assert {cog["state"] for cog in others} == {"loaded"}
    assert "the cog juke is not loaded" in " ".join((await stage.status()).master.troubles)
    assert {"fleet", "runbots"} <= at_discord(stage)
    refused = await fleet(stage, "cogs", "reload", "juke", code=1)
    assert "no_such_module_at_all" in json.dumps(refused)
    file.write_text(COG)
    assert (await fleet(stage, "cogs", "reload", "juke"))["state"] == "loaded"
    asked = await stage.operator.runs_command(stage.office, stage.master_bot, "juke")
    assert asked.embeds[0]["title"] == "plays"
    assert (await fleet(stage, "cogs", "disable", "juke"))["state"] == "disabled"
    assert "juke" not in at_discord(stage)
    await end_master(stage)
    await stage.start_master()
    by_name = {cog["name"]: cog for cog in await fleet(stage, "cogs")}
    assert by_name["juke"]["state"] == "disabled"
    assert (await fleet(stage, "cogs", "enable", "juke"))["commands"] == ["juke"]
    assert "juke" in at_discord(stage)
    actions = [row["action"] for row in await fleet(stage, "audit", "show")]
    assert {"cog_reload", "cog_disable", "cog_enable"} <= set(actions)
