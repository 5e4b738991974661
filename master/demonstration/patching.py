"""The demo's patches: one whose effect is seen in a bot's answer, and a bad one that takes itself back."""

from __future__ import annotations

import asyncio
from pathlib import Path

from master.demonstration.author import Author
from master.demonstration.stage import EventTap, Stage, StageError
from master.operations import patches
from master.operations.parameters import PatchParams, PatchReceiveParams

_COG = "cogs/health.py"
_GOOD = ('f"Pong: {', 'f"Pong, patched: {')
_BAD = ("import platform\n", "import platform_of_tomorrow as platform\n")
_WAIT_S = 60.0


async def patch_and_roll_back(stage: Stage, tap: EventTap, figures: dict[str, float]) -> str:
    """Deploy a good patch on all nodes and a bad one; returns what happened.

    Raises
    ------
    FleetError
        The good one was not rolled out, or the bad one was.
    """
    author = Author(stage.home)
    await asyncio.to_thread(author.is_trusted_by, stage.client)
    names = [node.name for node in (await stage.status()).nodes]
    identified = _identifies(stage, names)
    folder = stage.home / "bots" / names[0]
    good = await asyncio.to_thread(_write, author, folder, 1, _GOOD)
    figures["patched_ms"] = await _deploy(stage, tap, good, "pong 1", "done")
    answer = await _answer(stage, names[-1])
    if "patched" not in answer:
        raise StageError(f"{names[-1]} answers {answer!r}: the patch is not in force")
    bad = await asyncio.to_thread(_write, author, folder, 2, _BAD)
    figures["taken_back_ms"] = await _deploy(stage, tap, bad, "pong 2", "rolled_back")
    answer = await _answer(stage, names[0])
    if "patched" not in answer:
        raise StageError(f"{names[0]} answers {answer!r} after a patch that was taken back")
    if _identifies(stage, names) != identified:
        raise StageError("a node began a new session at Discord")
    return (
        f"{len(names)} nodes patched in {figures['patched_ms'] / 1000:.1f} s, by a signed file, without a new session: "
        f"/ping answers {answer.split(':')[0]!r}; a patch that does not import stopped at its canary, "
        f"taken back after {figures['taken_back_ms'] / 1000:.1f} s (`fleet patch status`)"
    )


def _write(author: Author, folder: Path, version: int, change: tuple[str, str]) -> Path:
    text = (folder / _COG).read_text("utf-8").replace(*change)
    return author.write(folder, {_COG: text}, name="pong", version=version, reload=("health",))


async def _deploy(stage: Stage, tap: EventTap, path: Path, label: str, ends: str) -> float:
    """Roll a bundle out until it has ended in that way; returns the milliseconds since its acceptance."""
    since = len(tap.events)
    deploying = PatchReceiveParams(path=str(path), deploy=True, canary=1, soak_s=0.0)
    patch = await asyncio.to_thread(stage.client.run, patches.receive, deploying)
    ended = await tap.wait_for("patch", "", detail=f"{label}: {ends.replace('_', ' ')}", since=since, timeout_s=_WAIT_S)
    shown = await asyncio.to_thread(stage.client.run, patches.show, PatchParams(patch.id))
    if shown.patch.state != ends:
        raise StageError(f"{label} is {shown.patch.state}: {shown.patch.reason}")
    return round((ended.at - patch.received_at) * 1000, 1)


async def _answer(stage: Stage, name: str) -> str:
    sent = await stage.operator.runs_command(stage.office, stage.bots[name], "ping")
    return sent.content


def _identifies(stage: Stage, names: list[str]) -> int:
    return sum(stage.sandbox.gateway.identifies.get(stage.bots[name].id, 0) for name in names)
