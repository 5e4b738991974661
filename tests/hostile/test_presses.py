"""Presses that no client of Discord's would send: each is answered, acts on nothing, and is no defect of the master."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from typing import Any

import pytest

from master.cogs._fleet_page import PREFIX
from sandbox import Message
from sandbox.interactions import COMPONENT
from tests.cogs.conftest import Scene, scene
from tests.hostile.effort import rounds
from tests.hostile.hostile_texts import HOSTILE

__all__ = ["scene"]

SEED = 12
VERBS = ("filter", "choose", "page", "refresh", "start", "stop", "restart", "drop", "")
PIECES = (
    PREFIX,
    "runbots0",
    ":",
    "::",
    "0",
    "1",
    "-1",
    "9999",
    "10000",
    "1e9",
    "\u0661",
    "\n",
    "all:",
    "tag:",
    "state:ready",
)


def custom_id(rng: random.Random) -> str:
    """Return one that a page could have, one that is nearly such, or noise."""
    if rng.random() < 0.6:
        number = rng.choice(PIECES) if rng.random() < 0.3 else str(rng.randrange(10_000))
        return f"{PREFIX}:{rng.choice(VERBS)}:{number}"[:100]
    return "".join(rng.choices((*PIECES, *HOSTILE), k=rng.randrange(1, 6)))[:100]


def values(rng: random.Random, ids: list[str]) -> list[str]:
    return rng.choices(
        [*ids, *HOSTILE, "all:", "tag:\n", "name:" + "x" * 64, "troubled:", "-", ""], k=rng.randrange(0, 26)
    )


def spoil(rng: random.Random, message: Message, ids: list[str]) -> None:
    """Change what the message holds, as another version of the master might have left it."""
    for row in message.components:
        for leaf in row["components"]:
            if rng.random() < 0.2:
                leaf["custom_id"] = custom_id(rng) or "x"
            for option in leaf.get("options", ()):
                if rng.random() < 0.1:
                    option.update(value=rng.choice([*ids, *HOSTILE, "all"])[:100], default=rng.random() < 0.5)


async def test_hostile_presses_are_answered_and_act_on_nothing(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    await scene.register("atlas", "borealis")
    ids = [scene.node_id("atlas"), scene.node_id("borealis")]
    eve = scene.sandbox.create_human("eve")
    scene.guild.add_member(eve)
    rng, kinds = random.Random(SEED), Counter[str]()  # noqa: S311 - a fuzzer
    shown = (await scene.runs("runbots")).message
    assert shown is not None
    untouched = [dict(row, components=[dict(leaf) for leaf in row["components"]]) for row in shown.components]
    presses = rounds(25)
    with caplog.at_level(logging.ERROR):
        for _ in range(presses):
            shown.components = [dict(row, components=[copied(leaf) for leaf in row["components"]]) for row in untouched]
            spoil(rng, shown, ids)
            data: dict[str, Any] = {"custom_id": custom_id(rng), "component_type": rng.choice((2, 3)), "id": 1}
            if data["component_type"] == 3:
                data["values"] = values(rng, ids)
            begun = scene.sandbox.interactions.begin(
                COMPONENT, scene.account.account, eve.user, scene.office.channel, data, source=shown
            )
            answered = await begun.wait_until(lambda i: i.kind != "pending")
            kinds[answered.kind] += 1
            # She may do nothing, and so nothing is shown to her either.
            assert answered.kind == "message", data
            assert answered.ephemeral
    print(f"{presses} hostile presses: {dict(kinds)}")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert all(one.pid is None for one in (await scene_status(scene)))


async def test_hostile_presses_of_an_operator_break_nothing(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    await scene.register("atlas")
    rng, kinds = random.Random(SEED + 1), Counter[str]()  # noqa: S311 - a fuzzer
    shown = (await scene.runs("runbots")).message
    assert shown is not None
    untouched = [dict(row, components=[dict(leaf) for leaf in row["components"]]) for row in shown.components]
    presses = rounds(25)
    with caplog.at_level(logging.ERROR):
        for _ in range(presses):
            shown.components = [dict(row, components=[copied(leaf) for leaf in row["components"]]) for row in untouched]
            # Without the node: nothing hostile starts it, so all that is asked for must be refused or shown.
            spoil(rng, shown, [])
            data: dict[str, Any] = {
                "custom_id": custom_id(rng),
                "component_type": 3,
                "id": 1,
                "values": values(rng, []),
            }
            begun = scene.sandbox.interactions.begin(
                COMPONENT, scene.account.account, scene.ada.user, scene.office.channel, data, source=shown
            )
            answered = await asyncio.wait_for(begun.wait_until(lambda i: i.kind != "pending"), 10)
            kinds[answered.kind] += 1
    print(f"{presses} hostile presses of an operator: {dict(kinds)}")
    assert set(kinds) <= {"message", "update"}
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def copied(leaf: dict[str, Any]) -> dict[str, Any]:
    return {**leaf, "options": [dict(one) for one in leaf["options"]]} if "options" in leaf else dict(leaf)


async def scene_status(scene: Scene) -> list[Any]:
    return [scene.house.services.overview.node(node) for node in scene.house.services.directory]
