"""What ``fleet patch try`` has the copy do without a restart: a real roll-out to it, signed with a key of its own."""

from __future__ import annotations

import asyncio

import msgspec

from master.demonstration.author import Author
from master.demonstration.stage import EventTap, Stage
from master.operations import patches
from master.operations.parameters import PatchParams, PatchReceiveParams
from master.services.patches.files import PatchFile

ENDED_WITHIN_S = 90.0
_ENDED = ("done", "rolled back", "failed")


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the cogs that were to be loaded anew."""

    problem: str = ""
    """Empty: they were."""
    text: str = ""
    """With its traceback, where it has one."""


def why_restarted(patch: PatchFile) -> str:
    """Return why a copy is restarted where a node would load cogs anew; empty where it is not."""
    document = patch.document
    targets = document.targets
    if targets.templates or targets.tags or targets.names or document.fleets:
        return "it is for some nodes only, and the copy is none of them"
    if document.depends_on or document.requirements:
        return "what it needs is not here"
    return ""


async def reload_in_place(stage: Stage, tap: EventTap, patch: PatchFile) -> Reloaded:
    """Have the master of a stage roll a patch out to its only node, which loads the cogs anew.

    Raises
    ------
    FleetError, StageError
    """
    author = Author(stage.home, name="rehearsal")
    label, since = f"{patch.document.name} {patch.document.version}", len(tap.events)

    def hand_in() -> None:
        author.is_trusted_by(stage.client)
        path = author.sign_again(patch.raw, f"{patch.document.name}-{patch.document.version}")
        stage.client.run(
            patches.receive, PatchReceiveParams(path=str(path), deploy=True, canary=0, soak_s=0.0, urgent=True)
        )

    await asyncio.to_thread(hand_in)
    if await _end(tap, label, since) == "done":
        return Reloaded()
    shown = await asyncio.to_thread(stage.client.run, patches.show, PatchParams(label))
    detail = next((node.detail.strip() for node in shown.nodes if node.detail), "") or shown.patch.reason
    cogs = ", ".join(patch.document.reload)
    return Reloaded(problem=f"loading {cogs} anew failed: {detail.rpartition(chr(10))[2]}", text=detail)


async def _end(tap: EventTap, label: str, since: int) -> str:
    """Return how a roll-out ended."""
    while True:
        event = await tap.wait_for("patch", "", detail=f"{label}: ", since=since, timeout_s=ENDED_WITHIN_S)
        state = event.detail.removeprefix(f"{label}: ").partition(":")[0]
        if state in _ENDED:
            return state
        since = tap.events.index(event, since) + 1
