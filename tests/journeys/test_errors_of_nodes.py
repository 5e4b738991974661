"""What nodes report, write and end with is one list of errors, which an operator reads, mutes and resolves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

import pytest

from master.demonstration.stage import EventTap, Stage

pytestmark = pytest.mark.timeout(120)

WIDTH = 80
BREAKS = """\
import asyncio
import logging
import signal
import sys

from discord.ext import commands

class Broken(commands.Cog):
    @commands.Cog.listener()
    async def on_nudge(self):
        print("loading page 7", file=sys.stderr)
        raise LookupError("page 4711 is gone")

    @commands.Cog.listener()
    async def on_prod(self):
        logging.getLogger("atlas").error("payment %s of user %s failed", 17, 4711)

async def setup(bot):
    await bot.add_cog(Broken())
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, bot.dispatch, "nudge")
    loop.add_signal_handler(signal.SIGUSR2, bot.dispatch, "prod")
"""


async def fleet(stage: Stage, *arguments: str, width: int | None = WIDTH) -> tuple[int, str]:
    """Return the exit code of a command, and what it prints in a terminal of some columns or into a pipe."""
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "master.cli", *arguments, "--home", str(stage.home)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment if width is None else environment | {"COLUMNS": str(width)},
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def listed(stage: Stage, *arguments: str) -> list[dict[str, Any]]:
    code, out = await fleet(stage, "errors", "list", "--json", *arguments)
    assert code == 0, out
    found: list[dict[str, Any]] = json.loads(out)
    return found


@pytest.mark.slow
async def test_an_error_is_listed_shown_muted_and_resolved(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    (stage.home / "bots" / "atlas" / "cogs" / "broken.py").write_text(BREAKS)
    since = len(tap.events)
    await stage.act("restart", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)
    since, pid = len(tap.events), (await stage.node("atlas")).pid or 0
    os.kill(pid, signal.SIGUSR1)
    await tap.wait_for("error_group", "atlas", since=since)
    await stage.log.wait_for_message(
        lambda m: any(e["title"].startswith("atlas: LookupError in on") for e in m.embeds), timeout_s=30
    )
    (group,) = await listed(stage)
    assert (group["state"], group["kind"], group["count"]) == ("new", "exception", 1), "its report and its log are one"
    assert [one["node"] for one in group["nodes"]] == ["atlas"]
    short = group["fingerprint"][:8]
    code, shown = await fleet(stage, "errors", "list")
    assert code == 0
    assert all(len(line) <= WIDTH for line in shown.splitlines())
    assert shown.splitlines()[1].startswith(f"new   {short}")
    code, shown = await fleet(stage, "errors", "show", short, width=None)
    assert code == 0
    assert "page 4711 is gone" in shown
    assert "Traceback (most recent call last)" in shown
    assert f"fleet solutions draft {short}" in shown
    code, told = await fleet(stage, "errors", "mute", short, "--for", "1h")
    assert code == 0
    assert f"{short} is muted until" in told
    assert "by cli:" in told
    assert [one["state"] for one in await listed(stage, "--state", "muted")] == ["muted"]
    assert (await fleet(stage, "errors", "mute", short, "--for", "soon"))[0] == 2
    assert (await fleet(stage, "errors", "unmute", short))[0] == 0
    assert (await fleet(stage, "errors", "resolve", short))[0] == 0
    since = len(tap.events)
    os.kill(pid, signal.SIGUSR1)
    await tap.wait_for("error_group", "atlas", since=since)
    assert [one["state"] for one in await listed(stage)] == ["regressed"]
    since = len(tap.events)
    os.kill(pid, signal.SIGUSR2)
    await tap.wait_for("error_group", "atlas", since=since)
    titles = {one["title"]: one["kind"] for one in await listed(stage, "--node", "atlas", "--since", "1h")}
    assert "line" in titles.values(), titles
    assert (await fleet(stage, "errors", "show", "ffffffffffffffff"))[0] == 3
    code, why = await fleet(stage, "why", "atlas", width=None)
    assert f"(error {short})" in why, why
    code, actions = await fleet(stage, "audit", "show", "--action", "error_mute", width=None)
    assert group["fingerprint"] in actions
    assert "until" in actions
