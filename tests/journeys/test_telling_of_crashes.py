"""What LOG_CHANNEL says of nodes that are killed, crash, hang, or die at once, and what it does not."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage

pytestmark = pytest.mark.timeout(180)

HANGS_ON_SIGUSR1 = """\
import asyncio
import signal
import time

async def setup(bot):
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, time.sleep, 3600)
"""


def told(stage: Stage) -> list[tuple[str, str]]:
    """Return the title and the text of each alert in LOG_CHANNEL."""
    embeds = [embed for message in stage.log.messages for embed in message.embeds]
    return [(embed["title"].replace("\\", ""), embed.get("description", "").replace("\\", "")) for embed in embeds]


async def wait_for_alert(stage: Stage, beginning: str) -> None:
    await stage.log.wait_for_message(
        lambda m: any(e["title"].replace("\\", "").startswith(beginning) for e in m.embeds), timeout_s=60
    )


async def ready(stage: Stage, tap: EventTap, *names: str) -> dict[str, int]:
    await asyncio.gather(*(stage.register(name) for name in names))
    for name in names:
        await tap.wait_for("ready", name, timeout_s=60)
    return {node.name: node.pid or 0 for node in (await stage.status()).nodes}


def folder_of(stage: Stage, name: str) -> Path:
    return stage.home / "bots" / name


@pytest.mark.slow
async def test_a_killed_node_is_one_line_and_a_restart_that_was_asked_for_is_none(stage: Stage, tap: EventTap) -> None:
    pids = await ready(stage, tap, "atlas", "borealis")
    await stage.act("restart", ["borealis"])
    os.kill(pids["atlas"], signal.SIGKILL)
    await wait_for_alert(stage, "atlas")
    ((title, text),) = told(stage)
    assert title == "atlas was killed by SIGKILL, by somebody outside of the fleet (kill -9)"
    assert text.startswith("It is ready again, after ")


@pytest.mark.slow
async def test_eight_nodes_that_die_at_once_are_one_alert(stage: Stage, tap: EventTap) -> None:
    names = [f"n{number}" for number in range(8)]
    pids = await ready(stage, tap, *names)
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    await wait_for_alert(stage, "8 nodes went down")
    ((_, text),) = told(stage)
    cause = "was killed by SIGKILL, by somebody outside of the fleet (kill -9)"
    assert text.splitlines()[0] == f"{', '.join(names)}: {cause}"
    assert text.splitlines()[1] == "All are ready again."


@pytest.mark.slow
async def test_a_crash_loop_is_told_with_its_last_words_and_that_it_is_over(stage: Stage, tap: EventTap) -> None:
    pids = await ready(stage, tap, "atlas")
    program = folder_of(stage, "atlas") / "bot.py"
    whole = program.read_text()
    program.write_text("raise ValueError('no strings on me')\n")
    os.kill(pids["atlas"], signal.SIGKILL)
    for _ in range(3):
        since = len(tap.events)
        await tap.wait_for("backoff", "atlas", since=since)
    await wait_for_alert(stage, "atlas exited")
    program.write_text(whole)
    await stage.act("start", ["atlas"])
    await wait_for_alert(stage, "atlas is ready again")
    found = told(stage)
    assert found[0][0] == "atlas was killed by SIGKILL, by somebody outside of the fleet (kill -9)"
    assert found[1][0] == "atlas exited with code 1: ValueError: no strings on me"
    assert found[1][1].endswith("Mend it: `fleet logs atlas` has all that it wrote.")
    assert found[-1][0] == "atlas is ready again"
    # Of the loop itself there is one more at most: that it goes on.
    assert len(found) <= 4, found


@pytest.mark.slow
async def test_a_node_that_hangs_is_told_to_be_replaced_and_one_that_is_stopped_to_go_on(
    stage: Stage, tap: EventTap
) -> None:
    await ready(stage, tap, "atlas", "borealis")
    (folder_of(stage, "atlas") / "cogs" / "hanging.py").write_text(HANGS_ON_SIGUSR1)
    since = len(tap.events)
    await stage.act("restart", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)
    os.kill((await stage.node("atlas")).pid or 0, signal.SIGUSR1)
    os.kill((await stage.node("borealis")).pid or 0, signal.SIGSTOP)
    await wait_for_alert(stage, "atlas: The bot hung, and was replaced")
    await wait_for_alert(stage, "atlas is ready again")
    found = told(stage)
    assert "borealis was stopped by a signal (SIGSTOP), and continued at once" in dict(found)
    of_atlas = [(title, text) for title, text in found if title.startswith("atlas")]
    assert of_atlas[0][0] == "atlas is degraded"
    # By the solution that knows it, and not as a crash too.
    titles = [title for title, _ in of_atlas]
    assert titles == ["atlas is degraded", "atlas: The bot hung, and was replaced", "atlas is ready again"], of_atlas
