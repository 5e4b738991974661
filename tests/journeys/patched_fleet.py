"""Three real nodes whose real master trusts an author: what the journeys of patches are told with."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from master.demonstration.author import Author
from master.demonstration.stage import EventTap, Stage
from master.operations import patches
from master.operations.parameters import PatchParams, PatchReceiveParams
from master.services.core.patch_views import PatchDetails, PatchView

NAMES = ("atlas", "borealis", "cassini")
NEWS = "cogs/news.py"
GOOD = """\
import discord
from discord import app_commands
from discord.ext import commands

class News(commands.Cog):
    @app_commands.command(description="What is new?")
    async def news(self, interaction: discord.Interaction) -> None:
        await interaction.response.send_message("{text}")

async def setup(bot):
    await bot.add_cog(News())
"""
ENDED = ("done", "rolled_back", "failed", "aborted")
KNOWN = ("good", "healthy", "rolled_back", "failed", "skipped")
"""The states in which a node may be left: each says which code it runs."""


@dataclass
class Fleet:
    """Nodes whose master trusts an author."""

    stage: Stage
    tap: EventTap
    author: Author
    names: Sequence[str] = NAMES
    version: int = 0
    taps: AsyncExitStack = field(default_factory=AsyncExitStack)
    """The subscriptions to later masters."""

    def folder(self, name: str) -> Path:
        return self.stage.home / "bots" / name

    async def run(self, operation: Any, parameters: Any) -> Any:
        return await asyncio.to_thread(self.stage.client.run, operation, parameters)

    def write(self, text: str, **more: Any) -> Path:
        """Write a patch that brings a cog, or another text of it."""
        self.version += 1
        given = {"reload": ("news",), **more}
        return self.author.write(self.folder(self.names[0]), {NEWS: text}, name="news", version=self.version, **given)

    async def deploy(self, text: str, *, canary: int = 1, soak_s: float = 0.0, **more: Any) -> PatchView:
        receiving = PatchReceiveParams(path=str(self.write(text, **more)), deploy=True, canary=canary, soak_s=soak_s)
        deployed: PatchView = await self.run(patches.receive, receiving)
        return deployed

    async def show(self, patch: PatchView) -> PatchDetails:
        shown: PatchDetails = await self.run(patches.show, PatchParams(patch.id))
        return shown

    async def until_told(self, patch: PatchView, state: str, *, node: str = "") -> None:
        """Wait until the master tells a state of a patch, or of a patch on a node."""
        kind, detail = "patched" if node else "patch", f"{patch.label}: {state.replace('_', ' ')}"
        await self.tap.wait_for(kind, node, detail=detail, timeout_s=60)

    async def until_told_on_any(self, patch: PatchView, state: str) -> None:
        """Wait until the master tells a state of a patch on whichever node is the first."""
        await self.tap.wait_for("patched", None, detail=f"{patch.label}: {state.replace('_', ' ')}", timeout_s=60)

    async def until(self, patch: PatchView, state: str) -> PatchDetails:
        await self.until_told(patch, state)
        shown = await self.show(patch)
        assert shown.patch.state == state, shown
        return shown

    async def until_in(self, patch: PatchView, *wanted: str) -> PatchDetails:
        """Wait until a patch is in one of these states, or is so already."""
        while True:
            seen = len(self.tap.events)
            shown = await self.show(patch)
            if shown.patch.state in wanted:
                return shown
            await self.tap.wait_for("patch", "", detail=f"{patch.label}: ", since=seen, timeout_s=60)

    async def until_ready(self) -> None:
        """Wait until all nodes are ready, or return if they are."""
        while True:
            seen = len(self.tap.events)
            waiting = [node.name for node in (await self.stage.status()).nodes if node.state != "ready"]
            if not waiting:
                return
            await self.tap.wait_for("ready", waiting[0], since=seen)

    async def pids(self) -> dict[str, int | None]:
        return {node.name: node.pid for node in (await self.stage.status()).nodes}

    def has(self) -> list[str]:
        """Return the nodes in whose folder the cog is."""
        return [name for name in self.names if (self.folder(name) / NEWS).exists()]

    def texts(self) -> list[str]:
        """Return what is in the cog of each node; empty where there is none."""
        files = [self.folder(name) / NEWS for name in self.names]
        return [file.read_text("utf-8") if file.exists() else "" for file in files]

    async def answer(self, name: str) -> str:
        sent = await self.stage.operator.runs_command(self.stage.office, self.stage.bots[name], "news")
        return sent.content

    async def answers(self) -> list[str]:
        return [await self.answer(name) for name in self.names]

    def identifies(self) -> int:
        return sum(self.stage.sandbox.gateway.identifies.get(self.stage.bots[name].id, 0) for name in self.names)

    async def kill_master(self) -> None:
        master = self.stage.master
        assert master is not None
        os.kill(master.process.pid, signal.SIGKILL)
        await master.process.wait()

    async def start_master(self) -> None:
        """Start the next master, and listen to it."""
        await self.stage.start_master()
        self.tap = await self.taps.enter_async_context(self.stage.listen())


@asynccontextmanager
async def patched_fleet(stage: Stage, tap: EventTap, names: Sequence[str] = NAMES) -> AsyncIterator[Fleet]:
    """Yield a fleet on a stage whose master runs, once its nodes are verified."""
    author = Author(stage.home)
    await asyncio.to_thread(author.is_trusted_by, stage.client)
    await asyncio.gather(*(stage.register(name) for name in names))
    for name in names:
        await tap.wait_for("verified", name)
    fleet = Fleet(stage, tap, author, names)
    async with fleet.taps:
        yield fleet


@asynccontextmanager
async def open_fleet(ledger: Path, settings: str = "", names: Sequence[str] = NAMES) -> AsyncIterator[Fleet]:
    """Yield a fleet whose ``config.py`` has further lines."""
    async with Stage(pulse_s=0.5, ledger=ledger) as stage:
        with (stage.home / "config.py").open("a", encoding="utf-8") as config:
            config.write(settings)
        await stage.start_master()
        async with stage.listen() as tap, patched_fleet(stage, tap, names) as fleet:
            yield fleet


def states(shown: PatchDetails) -> dict[str, str]:
    return {node.node: node.state for node in shown.nodes}
