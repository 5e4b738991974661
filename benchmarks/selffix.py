"""Sixty channels and categories, deleted at once: how long until all are there again, and followed by all nodes.

A real master and real nodes on the sandbox, which limits the creation of channels as Discord was seen to: 50 in 10 s.
What those limits allow at best is printed beside. Everything is deleted in one go by one person: VERIFY, PATCH and LOG,
and a tree of channels.toml with its categories.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.reporting import Outcome, parser, show
from master.demonstration.stage import EventTap, Stage
from sandbox import ChannelHandle

CREATED_AT_ONCE, WINDOW_S = 50, 10.0
"""Channels that Discord lets a bot create, and in what time (``sandbox.ratelimits``)."""
NAMED = ("verify", "patch", "fleet-log")
PATIENCE_S = 180.0
SLACK_S = 15.0
"""What the rest may take on a slow box: requests one after another, the records of each."""


def tree_of(count: int) -> str:
    """Return a channels.toml with so many channels and categories: nine channels in each."""
    lines = []
    category = ""
    for number in range(count):
        if number % 10 == 0:
            category = f"c{number}"
            lines.append(f'[[category]]\nkey = "{category}"\nname = "Area {number}"\n')
        else:
            head = f'[[channel]]\nkey = "k{number}"\nname = "room-{number}"\ncategory = "{category}"'
            lines.append(f'{head}\ntopic = "Room {number}"\n')
    return "\n".join(lines)


def owned(stage: Stage) -> list[ChannelHandle]:
    """Return the channels of the fleet that are there."""
    channels = stage.guild.guild.channels.values()
    return [
        stage.guild.channel(one.id) for one in channels if one.name in NAMED or one.name.startswith(("Area ", "room-"))
    ]


async def measure(count: int, nodes: int) -> dict[str, float]:
    """Delete so many channels, and wait until all is as it was."""
    async with Stage() as stage:
        (stage.home / "channels.toml").write_text(tree_of(count - len(NAMED)))
        await stage.start_master()
        async with stage.listen() as tap:
            for number in range(nodes):
                await stage.register(f"node{number}")
                await tap.wait_for("ready", f"node{number}", timeout_s=60)
            await _until(lambda: len(owned(stage)) == count)
            await _quiet(tap)
            # The tree's creation took of the same limit: the deletion begins with a fresh one.
            await asyncio.sleep(WINDOW_S)
            since, began = len(tap.events), time.monotonic()
            for channel in owned(stage):
                await stage.operator.deletes_channel(channel)
            await _until(lambda: len(owned(stage)) == count)
            created_s = time.monotonic() - began
            (verify,) = [one for one in owned(stage) if one.channel.name == "verify"]
            await _until(lambda: followers(stage.home, verify.id) == nodes)
            followed_s = time.monotonic() - began
            await _quiet(tap)
            moved = [event for event in tap.events[since:] if event.kind == "channel_moved"]
            inside = sum(one.channel.parent_id is not None for one in owned(stage))
            return {
                "channels": count,
                "nodes": nodes,
                "there_s": round(created_s, 1),
                "followed_s": round(followed_s, 1),
                "at_best_s": math.floor((count - 1) / CREATED_AT_ONCE) * WINDOW_S,
                "made": len(moved),
                "too_many": len(owned(stage)) - count,
                "in_categories": inside,
            }


def followers(home: Path, channel_id: int) -> int:
    """Return how many nodes say that they follow VERIFY_CHANNEL."""
    logs = (home / "state" / "logs").rglob("*.log")
    return sum(f"VERIFY_CHANNEL is {channel_id} now" in path.read_text("utf-8", "replace") for path in logs)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - the sandbox, and logs of other processes
            await asyncio.sleep(0.05)


async def _quiet(tap: EventTap) -> None:
    """Wait until nothing is repaired any more: a loop would never be."""
    async with asyncio.timeout(PATIENCE_S):
        seen = -1
        while seen != (now := sum(event.kind.startswith("channel_") for event in tap.events)):
            seen = now
            await asyncio.sleep(2.0)


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--channels", type=int, default=60)
    arguments.add_argument("--nodes", type=int, default=10)
    given = arguments.parse_args()
    row = asyncio.run(measure(given.channels, given.nodes))
    outcome = Outcome(f"{given.channels} channels deleted at once, {given.nodes} nodes", rows={"fleet": row})
    outcome.at_most("all there and followed, seconds", row["followed_s"], row["at_best_s"] + SLACK_S)
    outcome.at_most("made more than once", row["made"] - given.channels + row["too_many"], 0)
    show(outcome, as_json=given.json)


if __name__ == "__main__":
    main()
