"""``fleet patch try``: a copy of a bot without and with a patch, with a real master, a real node and the sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from handshake.patch_document import SUFFIX
from master.demonstration.trying import Trial, Tried, TryRefused, _not_ready_hint, try_patch
from master.services.patches.building import BuildRequest, build
from master.services.patches.files import read_patch_file, write_patch_file
from master.services.patches.trees import folder_tree

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).resolve().parents[2]
COG = """\
from discord import app_commands
from discord.ext import commands


class Ranks(commands.Cog):
    @app_commands.command(description="Your rank")
    async def rank(self, interaction):
        await interaction.response.send_message("1")


async def setup(bot):
    {first}
    await bot.add_cog(Ranks())
"""
PLAIN = """\
import os

import discord
from discord.ext import commands


class Bot(commands.Bot):
    async def setup_hook(self):
        {hook}


Bot("!", intents=discord.Intents.default()).run(os.environ["BOT_TOKEN"])
"""


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    folder = tmp_path / "atlas"
    shutil.copytree(ROOT / "child_template", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".env").write_text("DISCORD_TOKEN=never copied\n")
    (folder / "tags.db").write_text("")
    return folder


def patch_of(bot: Path, files: dict[str, str]) -> Path:
    """Build a patch that brings these files."""
    changed = bot.parent / "changed"
    shutil.copytree(bot, changed, dirs_exist_ok=True)
    for name, text in files.items():
        (changed / name).write_text(text)
    now = int(time.time())
    request = BuildRequest(version=1, created=now, expires=now + 3600, name="ranks")
    path = bot.parent / f"ranks-1{SUFFIX}"
    write_patch_file(path, build(request, folder_tree(bot), folder_tree(changed)).raw)
    return path


async def tried(bot: Path, files: dict[str, str], **more: Any) -> tuple[Tried, list[str]]:
    told = list[str]()
    before = {path: path.read_bytes() for path in bot.rglob("*") if path.is_file()}
    trial = Trial(patch=read_patch_file(patch_of(bot, files)), folder=bot, watch_s=0.2, **more)
    found = await try_patch(trial, told.append)
    assert {path: path.read_bytes() for path in bot.rglob("*") if path.is_file()} == before
    return found, told


@pytest.mark.slow
async def test_a_good_patch_holds_and_its_command_is_named(bot: Path) -> None:
    found, told = await tried(bot, {"cogs/ranks.py": COG.format(first="")})
    assert found.holds, found
    assert found.before is not None
    assert found.after is not None
    assert set(found.after.commands) - set(found.before.commands) == {"rank"}
    assert set(found.after.cogs) - set(found.before.cogs) == {"ranks"}
    assert "the copy loads ranks anew, as a node does" in told
    assert found.notes == ()
    assert told[0] == f"{bot} is copied, without .env"


@pytest.mark.slow
async def test_a_cog_that_fails_is_found_with_its_traceback_by_the_command(bot: Path) -> None:
    file = patch_of(bot, {"cogs/ranks.py": COG.format(first="{}['rank']")})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "master.cli", "patch", "try", str(file), str(bot), "--watch", "0.2s", "--json"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "80"},
        cwd=ROOT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 1
    found = json.loads(out)
    assert found["holds"] is False
    assert "ranks" in found["problems"][0]
    assert any("KeyError: 'rank'" in error["text"] and "in setup" in error["text"] for error in found["errors"])


@pytest.mark.slow
async def test_a_program_that_does_not_start_is_not_ready(bot: Path) -> None:
    found, _ = await tried(bot, {"bot.py": "import no_such_module\n"})
    assert not found.holds
    assert "no_such_module" in found.problems[0]
    assert found.after is None


@pytest.mark.slow
async def test_a_plain_bot_of_discord_py_is_linked_and_tried(tmp_path: Path) -> None:
    bot = tmp_path / "plain"
    bot.mkdir()
    (bot / "main.py").write_text(PLAIN.format(hook="pass"))
    command = "self.tree.command(name='rank', description='x')(rank); await self.tree.sync()"
    text = PLAIN.format(hook=command).replace(
        "class Bot", "async def rank(interaction: discord.Interaction): pass\n\nclass Bot"
    )
    found, _ = await tried(bot, {"main.py": text}, entry="main.py", token_variable="BOT_TOKEN")
    assert found.holds, found
    assert found.after is not None
    assert found.after.commands == ("rank",)


async def test_what_cannot_be_tried_says_so_before_anything_starts(bot: Path) -> None:
    file = patch_of(bot, {"cogs/example.py": COG.format(first="")})
    (bot / "cogs/example.py").write_text("# edited\n")
    with pytest.raises(TryRefused, match=r"cogs/example\.py"):
        await try_patch(Trial(patch=read_patch_file(file), folder=bot), lambda _: None)
    (bot / "index.js").write_text("")
    with pytest.raises(TryRefused, match=r"only discord\.py bots"):
        await try_patch(Trial(patch=read_patch_file(file), folder=bot, entry="index.js"), lambda _: None)


def test_the_hint_names_only_what_the_copy_may_miss(bot: Path) -> None:
    trial = Trial(patch=read_patch_file(patch_of(bot, {"cogs/ranks.py": COG.format(first="")})), folder=bot)
    assert _not_ready_hint(trial, linked=False) == "its .env is not copied: --env-file PATH gives the copy variables"
    assert "--token-env" in _not_ready_hint(trial, linked=True)
    (bot / ".env").unlink()
    assert "mend the bot first" in _not_ready_hint(trial, linked=False)
