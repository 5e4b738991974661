"""The cogs of the template, as people use them."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from sandbox.permissions import MANAGE_MESSAGES
from tests.child_template.template_nodes import ask, copy_template, start_node, told

DOCS = Path(__file__).resolve().parents[2] / "docs"

pytestmark = pytest.mark.timeout(120)


@pytest.mark.slow
async def test_tags_are_kept_over_a_kill_and_dice_have_a_cooldown(stage: Stage, tap: EventTap) -> None:
    # With the cog of docs/first-bot.md.
    (greet,) = re.findall(r"```python\n(import discord.*?)```", (DOCS / "first-bot.md").read_text("utf-8"), re.DOTALL)
    folder = stage.home / "bots" / "atlas"
    copy_template(folder, {"greet.py": greet})
    atlas, office = await start_node(stage, tap, folder), stage.office
    ann, moderator = stage.sandbox.create_human("ann"), stage.sandbox.create_human("mod")
    stage.guild.add_member(ann)
    stage.guild.add_member(moderator, [stage.guild.create_role("mods", MANAGE_MESSAGES)])

    refused = await ann.runs_command(office, atlas, "tag set", {"name": "Rules", "text": "be kind"})
    assert told(refused) == "You need the permission **Manage Messages** for that."
    kept = await moderator.runs_command(office, atlas, "tag set", {"name": "Rules", "text": "be kind"})
    assert (kept.content, kept.ephemeral) == ("The tag 'Rules' is set.", True)

    since, pid = len(tap.events), (await stage.node("atlas")).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await tap.wait_for("ready", "atlas", since=since)
    shown = await ann.runs_command(office, atlas, "tag show", {"name": "rules"})
    assert (shown.content, shown.ephemeral) == ("be kind", False)
    suggested = await ann.autocompletes(office, atlas, "tag show", {"name": "ul"}, focused="name")
    assert [choice["value"] for choice in suggested] == ["rules"]
    assert (await ann.runs_command(office, atlas, "tag list")).content == "`rules`"
    await moderator.runs_command(office, atlas, "tag remove", {"name": "RULES"})
    gone = await moderator.runs_command(office, atlas, "tag remove", {"name": "rules"})
    assert told(gone) == "There is no tag 'rules'."
    assert (await ann.runs_command(office, atlas, "tag list")).content == "There are none."

    # Dice roll as text too, and not too fast.
    ada = stage.operator
    for _ in range(5):
        assert (await ask(stage, ada, atlas, "roll 2 20")).embeds[0]["title"].startswith("2d20: ")
    fast = await ada.runs_command(stage.office, atlas, "roll")
    assert told(fast).startswith("Not so fast: try again in ")
    assert fast.ephemeral
    assert told(await ask(stage, ada, atlas, "roll 99")).startswith("Not so fast")
    assert (await ask(stage, ada, atlas, f"greet {ann.id}")).content == "Hello Ann!"
    assert told(await ask(stage, ada, atlas, "greet")).startswith("Not so fast")
