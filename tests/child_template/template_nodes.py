"""Nodes made of the template, with cogs of a test's own."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from master.demonstration.stage import EventTap, Stage
from master.operations.parameters import RegisterParams
from master.services.core.views import Registered
from sandbox import BotHandle, ChannelHandle, Interaction, Message, Person

TEMPLATE = Path(__file__).resolve().parents[2] / "child_template"


def copy_template(folder: Path, cogs: dict[str, str]) -> None:
    """Copy the template, and add cogs by their file's name."""
    shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in cogs.items():
        (folder / "cogs" / name).write_text(text, "utf-8")


def change_config(folder: Path, old: str, new: str) -> None:
    """Change a line of a node's config.py."""
    path = folder / "config.py"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


async def start_node(
    stage: Stage,
    tap: EventTap,
    folder: Path,
    *,
    privileged_intents: int = 0,
    options: dict[str, Any] | None = None,
) -> BotHandle:
    """Register a folder below the stage's bots, and wait until its node is ready."""
    name = folder.name
    bot = stage.create_bot(name, privileged_intents=privileged_intents)
    params = RegisterParams(name=name, token=bot.token, folder=name, options=options or {})
    await asyncio.to_thread(stage.client.call, "register", params, answer=Registered, timeout_s=60.0)
    await tap.wait_for("ready", name)
    return bot


async def ask(stage: Stage, person: Person, bot: BotHandle, text: str, channel: ChannelHandle | None = None) -> Message:
    """Send a command as text, behind a mention of the bot; returns the bot's next message in the channel."""
    channel = channel or stage.office
    asked = await person.sends(channel, f"<@{bot.id}> {text}")
    return await channel.wait_for_message(lambda m: m.author.id == bot.id and m.id > asked.id)


def told(answer: Interaction | Message) -> str:
    """Return what an answer says, in an embed or not."""
    return str(answer.embeds[0]["description"]) if answer.embeds else answer.content
