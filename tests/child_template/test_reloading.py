"""Cogs that change while their node runs: the owner's reload and sync, and WATCH."""

from __future__ import annotations

import os

import pytest

from master.demonstration.stage import EventTap, Stage
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
