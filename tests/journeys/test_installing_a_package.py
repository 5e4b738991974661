"""A cog needs a module that is missing: with nobody there it is installed, from what config.py allows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from tests.journeys.nudging import step
from tests.services.repair.actions.test_packages import COG, wheel

pytestmark = pytest.mark.timeout(120)

SOLUTION = """\
id = "missing_for_a_cog"
title = "A module is not installed"
risk = "auto"
priority = 50
applies_to = ["report"]
patterns = ['''ModuleNotFoundError: No module named '(?P<module>[A-Za-z0-9_.]{1,80})'$''']
stays_away_s = 5
action = {name = "install_package", module = "{module}"}
[samples]
match = ["startup cogs/tiny.py: ModuleNotFoundError: No module named 'tinymod'"]
"""


@pytest.fixture
async def stage(empty_ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    wheel(tmp_path)
    async with Stage(pulse_s=0.5, ledger=empty_ledger) as up:
        (up.home / "solutions").mkdir()
        (up.home / "solutions" / "missing_for_a_cog.toml").write_text(SOLUTION)
        with (up.home / "config.py").open("a") as config:
            config.write('HEALING = {"DETECT_ONLY_S": 0, "PACKAGES": {"tinymod": "tinymod==1.2"}}\n')
        await up.start_master()
        yield up


@pytest.mark.slow
async def test_a_cog_whose_module_is_missing_is_well_again_with_nobody_there(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    (stage.home / "bots" / "atlas" / "cogs" / "tiny.py").write_text(COG)
    since = len(tap.events)
    await stage.act("restart", ["atlas"])
    await tap.wait_for("degraded", "atlas", since=since)
    await tap.wait_for("ready", "atlas", since=since)
    await step(tap, "helped", since=since)
    found = (stage.home / "bots" / "atlas" / "found").read_text()
    assert found.endswith("/tinymod==1.2/tinymod.py")
    assert found.startswith(str(stage.home / "state" / "packages"))
