"""Cogs that change while their node runs: the owner's reload and sync, and WATCH."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from sandbox import Sandbox
from tests.child_template.template_nodes import ask, copy_template, start_node

pytestmark = pytest.mark.timeout(120)

SAYS = """\
from discord import app_commands
from discord.ext import commands


class Says(commands.Cog):
    @app_commands.command(description="says")
    async def say(self, interaction):
        await interaction.response.send_message("one")


async def setup(bot):
    await bot.add_cog(Says())
"""


@pytest.mark.slow
async def test_the_owner_reloads_and_syncs(stage: Stage, tap: EventTap) -> None:
    folder = stage.home / "bots" / "atlas"
    copy_template(folder, {"says.py": SAYS})
    atlas = await start_node(stage, tap, folder)
    pid = (await stage.node("atlas")).pid
    ada, office, cog = stage.operator, stage.office, folder / "cogs" / "says.py"

    async def says() -> str:
        return (await ada.runs_command(office, atlas, "say")).content

    mallory = stage.sandbox.create_human("mallory")
    stage.guild.add_member(mallory)
    refused = await ask(stage, mallory, atlas, "reload")
    assert refused.embeds[0]["description"] == "Only the owner of this bot may do that."

    assert (await ask(stage, ada, atlas, "reload")).content == "Nothing has changed."
    # In the same second and of the same size as before: what Python takes for the bytecode that it has.
    before = cog.stat()
    cog.write_text(SAYS.replace("one", "two"))
    os.utime(cog, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert (await ask(stage, ada, atlas, "reload")).content == "Loaded: says."
    assert await says() == "two"

    cog.write_text(SAYS.replace("async def say(", "async def say("[:-1] + ":"))
    broken = (await ask(stage, ada, atlas, "reload")).content
    assert broken.startswith("says could not be loaded, its old code stays:")
    assert 'File "cogs/says.py", line 7' in broken
    assert await says() == "two"
    cog.write_text(SAYS.replace("async def setup", "raise RuntimeError('at import')\n\n\nasync def setup"))
    assert "RuntimeError: at import" in (await ask(stage, ada, atlas, "reload says")).content
    assert await says() == "two"
    assert (await stage.node("atlas")).state == "ready"

    # A new file with a new command, which is registered with Discord by that; and one that is gone.
    (folder / "cogs" / "more.py").write_text(SAYS.replace("Says", "More").replace("say(", "more("))
    cog.unlink()
    assert (await ask(stage, ada, atlas, "reload")).content == "Loaded: more.\nUnloaded: says."
    assert (await ada.runs_command(office, atlas, "more")).content == "one"

    (folder / "cogs" / "new.py").write_text("import nothing_of_that_name\n")
    assert "it is not there" in (await ask(stage, ada, atlas, "reload")).content
    await tap.wait_for("degraded", "atlas")
    since = len(tap.events)
    (folder / "cogs" / "new.py").unlink()
    assert (await ask(stage, ada, atlas, "reload")).content == "Nothing has changed."
    await tap.wait_for("recovered", "atlas", since=since)

    route = "PUT /applications/{application_id}/commands"
    registered = stage.sandbox.requests[route]
    assert (await ask(stage, ada, atlas, "sync")).content == "Registered everywhere."
    assert stage.sandbox.requests[route] == registered + 1
    here = (await ask(stage, ada, atlas, "sync here")).content
    assert (
        here == f"{len(stage.sandbox.commands.visible(atlas.id, None))} commands are registered for this server alone."
    )
    assert (await ask(stage, ada, atlas, "sync nowhere")).content.startswith("0 commands")
    assert (await ada.runs_command(office, atlas, "more")).content == "one"
    assert (await stage.node("atlas")).pid == pid
    assert stage.sandbox.gateway.identifies[atlas.id] == 1


@pytest.mark.slow
async def test_cogs_are_loaded_again_by_themselves_while_somebody_develops(sandbox: Sandbox, tmp_path: Path) -> None:
    ada = sandbox.create_human("ada")
    guild = sandbox.create_guild("HQ", owner=ada)
    office = guild.create_channel("office")
    atlas = sandbox.create_bot("atlas", owner=ada)
    guild.add_bot(atlas)
    folder = tmp_path / "bot"
    copy_template(folder, {"says.py": SAYS})
    env = (
        f"DISCORD_TOKEN={atlas.token}\nDISCORD_API_BASE={sandbox.api_base}\nDISCORD_GATEWAY_URL={sandbox.gateway_url}\n"
    )
    (folder / ".env").write_text(env)
    cog = folder / "cogs" / "says.py"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "bot.py"), cwd=folder, stderr=asyncio.subprocess.PIPE, env={**os.environ, "FLEET_WATCH": "1"}
    )
    assert process.stderr is not None
    log = process.stderr

    async def wait_for(text: str) -> None:
        while text not in (line := (await log.readline()).decode()):
            assert line, f"it ended before it said {text!r}"

    async with asyncio.timeout(60):
        await wait_for("logged in as atlas")
        cog.write_text(SAYS.replace("one", "two").replace("say(", "tell("))
        await wait_for("cogs loaded again: says")
        assert (await ada.runs_command(office, atlas, "tell")).content == "two"
        cog.write_text(SAYS.replace("class Says", "class Says Says"))
        await wait_for("cog says could not be loaded, the old code stays")
        await wait_for("SyntaxError")
        assert (await ada.runs_command(office, atlas, "tell")).content == "two"
        cog.write_text(SAYS.replace("one", "three"))
        await wait_for("cogs loaded again: says")
        assert (await ada.runs_command(office, atlas, "say")).content == "three"
        cog.unlink()
        await wait_for("cogs unloaded, their files are gone: says")
        assert sandbox.gateway.identifies[atlas.id] == 1
        process.terminate()
        await process.communicate()
    assert process.returncode == 0


ANNOUNCED = """\
from discord.ext import commands


class Announced(commands.Cog):
    def __init__(self, bot):
        self.bot = bot

    async def cog_load(self):
        if self.bot.is_ready():
            await self.bot.get_channel({channel}).send("{text}")


async def setup(bot):
    await bot.add_cog(Announced(bot))
"""


@pytest.mark.slow
async def test_the_master_leaves_changed_cogs_to_a_node_that_loads_them(stage: Stage, tap: EventTap) -> None:
    folder, office = stage.home / "bots" / "atlas", stage.office
    copy_template(folder, {"announced.py": ANNOUNCED.format(channel=office.id, text="one")})
    await start_node(stage, tap, folder, options={"WATCH": ["."]})
    pid, since = (await stage.node("atlas")).pid, len(tap.events)
    (folder / "cogs" / "announced.py").write_text(ANNOUNCED.format(channel=office.id, text="two"))
    await office.wait_for_message(lambda m: m.content == "two")
    assert (await stage.node("atlas")).pid == pid
    (folder / "config.py").write_text((folder / "config.py").read_text() + "\n# changed\n")
    await tap.wait_for("ready", "atlas", since=since)
    assert (await stage.node("atlas")).pid != pid
    assert [event.detail for event in tap.events[since:] if event.kind == "changed"] == ["config.py"]
    # While it does not run there is nobody to load a cog: saving one starts it.
    since = len(tap.events)
    (folder / "bot.py").write_text("raise SystemExit(3)\n" + (folder / "bot.py").read_text())
    await tap.wait_for("backoff", "atlas", since=since)
    since = len(tap.events)
    (folder / "cogs" / "announced.py").write_text(ANNOUNCED.format(channel=office.id, text="three"))
    assert (await tap.wait_for("changed", "atlas", since=since)).detail == "cogs/announced.py"
