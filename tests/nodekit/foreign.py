"""Bots that somebody wrote without a fleet in mind, and what they note of what they see."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from handshake.manifest import DEFAULT_TOKEN_VARIABLE
from master.demonstration.stage import EventTap, Stage
from master.operations.parameters import RegisterParams
from master.services.core.views import Registered

# A subclass of discord.Client with event decorators, a slash command, and Client.run: what most bots look like.
CLIENT = """
import os, subprocess
import discord
from discord import app_commands
{before}
def note(text):
    with open("notes", "a") as notes:
        notes.write(text + "\\n")

class Bot(discord.Client):
    def __init__(self):
        super().__init__(intents=discord.Intents({intents}))
        self.tree = app_commands.CommandTree(self)

bot = Bot()
{after}
@bot.event
async def setup_hook():
    await bot.tree.sync()

@bot.tree.command(description="breaks")
async def explode(interaction: discord.Interaction):
    await interaction.response.send_message("it will")
    raise ZeroDivisionError("as it must")

@bot.event
async def on_ready():
    note(f"ready in {{bot.guilds[0].name}} with {{len(bot.guilds[0].members)}} members")

@bot.event
async def on_member_join(member):
    note(f"joined: {{member.name}}")

@bot.event
async def on_resumed():
    note("resumed")

@bot.event
async def on_message(message):
    note(f"heard {{message.channel.name}}")
    if message.channel.name == "operators" and not message.author.bot:
        raise ValueError("nobody expected that")

child = subprocess.run(["cat", "/proc/self/environ"], capture_output=True, check=True).stdout
note(f"child sees the token: {{os.environ[{variable!r}].encode() in child}}")
bot.run(os.environ[{variable!r}])
note("ended")
"""


def client(
    *,
    before: str = "",
    after: str = "",
    variable: str = "DISCORD_TOKEN",
    intents: str = "discord.Intents.default().value",
) -> str:
    """Return the program of a bot.

    Parameters
    ----------
    before, after
        Lines of it, before and after its client is made.
    variable
        Where it reads its token.
    """
    values = {"before": before, "after": after, "variable": variable, "intents": intents}
    return CLIENT.replace("discord.Intents({intents})", "discord.Intents._from_value({intents})").format(**values)


def place(stage: Stage, name: str, script: str) -> Path:
    """Write a bot's folder."""
    folder = stage.home / "bots" / name
    folder.mkdir(parents=True)
    (folder / "main.py").write_text(script)
    return folder


async def register(
    stage: Stage, name: str, *, link: bool = False, token_env: str = DEFAULT_TOKEN_VARIABLE, privileged_intents: int = 0
) -> None:
    """Register a bot that has a folder."""
    if name not in stage.bots:
        stage.create_bot(name, privileged_intents=privileged_intents)
    params = RegisterParams(
        name=name, token=stage.bots[name].token, folder=name, entry="main.py", link=link, token_env=token_env
    )
    await asyncio.to_thread(stage.client.call, "register", params, answer=Registered, timeout_s=60.0)


async def noted(folder: Path, text: str, *, timeout_s: float = 20.0) -> None:
    """Wait until a bot has noted that."""
    async with asyncio.timeout(timeout_s):
        while text not in notes_of(folder):  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)


def notes_of(folder: Path) -> list[str]:
    """Return what a bot has noted."""
    path = folder / "notes"
    return path.read_text().splitlines() if path.exists() else []


async def pid_of(stage: Stage, name: str) -> int:
    """Return the process of a node."""
    pid = (await stage.node(name)).pid
    assert pid is not None
    return pid


async def kill(stage: Stage, tap: EventTap, name: str) -> None:
    """SIGKILL a node, and wait until its successor is ready."""
    since = len(tap.events)
    os.kill(await pid_of(stage, name), signal.SIGKILL)
    await tap.wait_for("ready", name, since=since)


def sessions(stage: Stage, name: str) -> tuple[int, int]:
    """Return how often a bot has sent IDENTIFY, and RESUME."""
    bot, gateway = stage.bots[name].id, stage.sandbox.gateway
    return gateway.identifies.get(bot, 0), gateway.resumes.get(bot, 0)


def log_of(stage: Stage, name: str) -> str:
    """Return what a node has written to standard error."""
    return "\n".join(path.read_text() for path in (stage.home / "state" / "logs").rglob(f"{name}.err.log"))
