"""/solutions: from an error that none knows to a solution, by a draft, a form that is refused, and one that is not."""

from __future__ import annotations

import asyncio
from functools import partial

from sqlalchemy import Connection

from master.ledger.rows import audit
from master.ledger.rows.records import Outcome
from master.ledger.schema.tables import error_groups
from sandbox import Interaction
from tests.cogs.conftest import Scene

FOREIGN = "@everyone ```\n**loud**"


async def error_group(scene: Scene, fingerprint: str, sample: str) -> None:
    now = scene.house.services.clock.now()
    statement = error_groups.insert().values(
        fingerprint=fingerprint,
        kind="line",
        title=FOREIGN,
        state="new",
        first_at=now,
        last_at=now,
        count=3,
        sample=sample,
        changed_by="",
    )
    await scene.house.services.ledger.write(partial(Connection.execute, statement=statement))


async def finishes(scene: Scene, message: Interaction, label: str, text: str) -> Interaction:
    """Press the button under a message, fill the form, and wait for the answer."""
    form = await scene.ada.presses(message, label)
    answered = await scene.ada.submits_modal(form, {"TOML": text, "Why": "it happens each night"})
    return await answered.wait_until(lambda i: bool(i.embeds))


async def test_a_draft_becomes_a_solution_in_a_form_that_loses_nothing(scene: Scene) -> None:
    await error_group(scene, "f" * 16, "music: cannot reach lavalink at 10.0.0.7:2333")
    drafted = await scene.runs("solutions draft", {"fingerprint": "ffff"})
    assert drafted.ephemeral
    (embed,) = drafted.embeds
    assert embed["title"].replace("\\", "") == "A draft: music_cannot_reach_lavalink"
    # A block of code begins and ends: what a program wrote is within it.
    assert embed["description"].count("```") == 2
    draft = embed["description"].removeprefix("```toml\n").removesuffix("\n```")
    broken = draft.replace('risk = "ask"', 'risk = "often"')
    refused = await finishes(scene, drafted, "Finish it", broken)
    assert "risk" in refused.embeds[0]["title"]
    assert "music_cannot_reach_lavalink" not in scene.house.services.library.entries
    again = await scene.ada.presses(refused, "Edit again")
    assert again.modal is not None
    assert broken in str(again.modal).replace("\\n", "\n").replace("\\'", "'")
    saved = await finishes(scene, refused, "Edit again", draft)
    assert saved.embeds[0]["title"].endswith("version 1")
    rows = await scene.house.services.ledger.read(lambda c: audit.search(c))
    assert f"discord:{scene.ada.id}" in [row.actor for row in rows if row.action == "solution_save"]

    typed = {"solution": "music"}
    choices = await scene.ada.autocompletes(scene.office, scene.account, "solutions show", typed, focused="solution")
    assert [choice["value"] for choice in choices] == ["music_cannot_reach_lavalink"]
    await checks_the_rest(scene, choices[0]["value"])


async def checks_the_rest(scene: Scene, solution: str) -> None:
    """Use each other command on a solution."""
    chosen = {"solution": solution}
    listed = await scene.runs("solutions list")
    # Foreign text is no markup.
    assert r"\@everyone" in listed.embeds[0]["description"]
    assert r"\*\*loud\*\*" in listed.embeds[0]["description"]
    shown = await scene.runs("solutions show", chosen)
    assert shown.embeds[0]["description"].count("```") == 2
    tested = await scene.runs("solutions test", chosen)
    assert tested.embeds[0]["title"].endswith("0 lines matched")
    await scene.runs("solutions disable", {**chosen, "why": "too eager"})
    enabled = await scene.runs("solutions enable", {**chosen, "now": True})
    assert "on: switched on" in enabled.embeds[0]["description"]
    history = await scene.runs("solutions history", chosen)
    assert "it happens each night" in history.embeds[0]["description"]
    form = await scene.ada.runs_command(scene.office, scene.account, "solutions edit", chosen)
    assert form.modal is not None
    question = await scene.runs("solutions remove", chosen)
    await scene.ada.presses(question, "Remove")
    await audited(scene, "solution_remove")
    assert solution not in scene.house.services.library.entries
    question = await scene.runs("solutions take-back", {**chosen, "version": 1})
    await scene.ada.presses(question, "Take back")
    await audited(scene, "solution_take_back")
    assert solution in scene.house.services.library.entries


async def audited(scene: Scene, action: str) -> None:
    """Wait until an action is in the audit log: a press is answered before what it asks for is done."""
    async with asyncio.timeout(20):
        while True:
            rows = await scene.house.services.ledger.read(lambda c: audit.search(c))
            if any(row.action == action and row.outcome is Outcome.DONE for row in rows):
                return
            await asyncio.sleep(0.02)
