"""An operator writes a solution: tested on the logs, saved, changed in an editor, refused, taken back, removed."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from tests.cli.window import Window
from tests.journeys.test_changing_nodes import fleet

pytestmark = pytest.mark.timeout(180)

TEXT = """\
id = "lavalink_away"
title = "The music server cannot be reached"
applies_to = ["stderr"]
risk = "ask"
patterns = ['^music: cannot reach lavalink at (?P<server>[0-9.:]{7,21})$']
[action]
name = "restart"
[samples]
match = ["music: cannot reach lavalink at 10.0.0.1:2333"]
"""


@pytest.mark.slow  # five commands are five processes
async def test_a_solution_is_written_tested_changed_and_taken_back(stage: Stage, tap: EventTap, tmp_path: Path) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    file = tmp_path / "mine.toml"
    file.write_text(TEXT)
    began = datetime.now().astimezone() - timedelta(hours=5)
    with (stage.home / "state" / "logs" / "atlas.err.log").open("a") as log:
        for hour in range(3):
            at = (began + timedelta(hours=hour)).strftime("%Y-%m-%d %H:%M:%S")
            log.write(f"{at} music: cannot reach lavalink at 10.0.0.7:2333\n")
    code, said = await fleet(stage, "solutions", "test", str(file))
    assert code == 0
    assert "3 lines matched: atlas 3" in said
    assert "it would have acted 3 times" in said

    code, said = await fleet(stage, "solutions", "save", str(file), "-m", "each night")
    assert (code, said.split("  (")[0]) == (0, "✓ lavalink_away, version 1  ◐ detecting")
    installed = stage.home / "solutions" / "lavalink_away.toml"
    assert installed.read_text() == TEXT

    said = await asyncio.to_thread(edit, stage.home, tmp_path, "sed -i s/ask/often/", "n")
    assert "line 4: `risk`: 'often' is none of auto, ask, manual" in said
    assert "Edit it again?" in said
    (kept,) = tmp_path.glob("fleet-lavalink_away-*.toml")
    assert kept.name in said.replace("\n", "")
    assert 'risk = "often"' in kept.read_text()
    assert installed.read_text() == TEXT

    said = await asyncio.to_thread(edit, stage.home, tmp_path, "sed -i s/ask/auto/", "")
    assert "version 2" in said
    assert 'risk = "auto"' in installed.read_text()
    assert list(tmp_path.glob("fleet-*.toml")) == [kept]
    code, said = await fleet(stage, "solutions", "take-back", "lavalink_away", "1", "--yes")
    assert (code, said.split("  (")[0]) == (0, "✓ lavalink_away, version 3  ◐ detecting")
    assert installed.read_text() == TEXT


def edit(home: Path, folder: Path, editor: str, answer: str) -> str:
    """Edit it at a terminal; returns what stood there."""
    with Window(["solutions", "edit", "lavalink_away"], home, EDITOR=editor, VISUAL="", TMPDIR=str(folder)) as window:
        if answer:
            window.wait_until(lambda screen: any("Edit it again?" in line for line in screen))
            window.type(f"{answer}\r")
        window.wait()
        return window.text
