"""/fleet doctor: the checks of the command line, in private, within Discord's limits, in a master that goes on."""

from __future__ import annotations

import pytest

from master.cogs._doctor_embeds import doctor_pages
from master.services.core.findings import Finding
from sandbox import CommandNotVisible
from tests.cogs.conftest import Scene


async def test_what_is_the_matter_comes_first_and_what_is_well_is_named(scene: Scene) -> None:
    eve = scene.sandbox.create_human("eve")
    scene.guild.add_member(eve)
    answer = await scene.runs("fleet doctor")
    assert answer.ephemeral
    (embed,) = answer.embeds
    # The scene has no config.py: the master that runs says so, as the command line does.
    assert "to mend" in embed["title"]
    assert embed["description"].startswith("❌ **config**")
    assert "master" in embed["fields"][0]["value"]
    with pytest.raises(CommandNotVisible):
        await eve.runs_command(scene.office, scene.account, "fleet doctor")


async def test_however_much_is_found_each_page_is_within_discords_limits(scene: Scene) -> None:
    settings = scene.house.services.settings
    worst = [Finding(f"`*{n}*", "fail" if n % 2 else "warn", "@everyone " * 90, "`fleet up`\n" * 20) for n in range(60)]
    pages = doctor_pages(settings, [*worst, *(Finding(f"well {n}", "ok", "x") for n in range(400))])
    assert len(pages) > 10
    assert all(len(page) <= 6_000 and len(page.description or "") <= 4_096 for page in pages)
    assert all("@everyone" not in (page.description or "").replace("\\@everyone", "") for page in pages)
    (fine,) = doctor_pages(settings, [Finding("disk", "ok", "much")])
    assert fine.title == "✅ All is well"
