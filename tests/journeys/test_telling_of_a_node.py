"""`fleet describe` and `fleet why` of a node that crashed, with its master and without, at 80 columns."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import pytest

from master.demonstration.stage import EventTap, Stage

pytestmark = pytest.mark.timeout(120)

WIDTH = 80


async def typed(stage: Stage, *arguments: str) -> str:
    """Return what a command prints in a terminal of 80 columns."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "master.cli", *arguments, "--home", str(stage.home)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": str(WIDTH)},
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


def words(text: str) -> str:
    """Return a text without its line breaks; no line but an invite link may be longer than the terminal."""
    assert [line for line in text.splitlines() if len(line) > WIDTH and "https://" not in line] == []
    return " ".join(text.split())


@pytest.mark.slow
async def test_a_node_that_crashed_is_described_and_explained_with_a_master_and_without(
    stage: Stage, tap: EventTap
) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    program = stage.home / "bots" / "atlas" / "bot.py"
    program.write_text("raise ValueError('no strings on me')\n")
    os.kill((await stage.node("atlas")).pid or 0, signal.SIGKILL)
    await tap.wait_for("backoff", "atlas")
    await stage.log.wait_for_message(
        lambda m: any(e["title"].startswith("atlas exited") for e in m.embeds), timeout_s=30
    )
    described, explained = await typed(stage, "describe", "atlas"), await typed(stage, "why", "atlas")
    told = words(described)
    assert f"bot atlas ({stage.bots['atlas'].id})" in told
    for fact in ("exited with code 1: ValueError: no strings on me", "standard, active, for ever", str(program.parent)):
        assert fact in told
    told = words(explained)
    assert "was killed by SIGKILL, by somebody outside of the fleet (kill -9)" in told
    assert "exited with code 1: ValueError: no strings on me" in told
    assert "raise ValueError('no strings on me')" in told
    assert "then `fleet start atlas`" in told

    assert stage.master is not None
    stage.master.process.send_signal(signal.SIGTERM)
    await stage.master.process.wait()
    told = words(await typed(stage, "describe", "atlas"))
    assert "no master runs: this is what is on disk" in told
    assert "exited with code 1: ValueError: no strings on me" in told
    found = json.loads(await typed(stage, "why", "atlas", "--json"))
    assert found["matter"] == "no master runs; atlas starts with the master"
    assert any(entry["text"] == "exited with code 1: ValueError: no strings on me" for entry in found["entries"])
