"""A bot that has sentry-sdk is monitored, and repaired, with not a line changed."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from tests.intake.conftest import free_port

pytest.importorskip("sentry_sdk")
pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

HAS_SENTRY = """\
import asyncio
import logging
import os
import pathlib
import signal

import sentry_sdk
from discord.ext import commands

sentry_sdk.init()
pathlib.Path("address").write_text(os.environ.get("SENTRY_DSN", "none"))

def complain():
    sentry_sdk.capture_message("the coin store is closed", level="error")

async def setup(bot):
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, complain)
"""
SOLUTION = """\
id = "closed_store"
title = "Its store is closed"
risk = "auto"
applies_to = ["report"]
patterns = ['''^sentry .*: error: the coin store is closed$''']
cooldown_s = 0
stays_away_s = 5
action = {name = "restart"}
[samples]
match = ["sentry bot: error: the coin store is closed"]
"""


@pytest.fixture
async def stage(empty_ledger: Path) -> AsyncIterator[Stage]:
    """Yield a master with an intake, and a solution that acts from the start."""
    async with Stage(pulse_s=0.5, ledger=empty_ledger) as up:
        (up.home / "solutions").mkdir()
        (up.home / "solutions" / "closed_store.toml").write_text(SOLUTION)
        with (up.home / "config.py").open("a") as config:
            config.write(f'HEALING = {{"DETECT_ONLY_S": 0, "SENTRY_PORT": {free_port()}}}\n')
        await up.start_master()
        yield up


async def test_a_bot_with_sentry_sdk_is_repaired(stage: Stage, tap: EventTap) -> None:
    status = (await stage.status()).master
    assert status.sentry.startswith("listening on 127.0.0.1:")
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    folder = stage.home / "bots" / "atlas"
    (folder / "cogs" / "sentry.py").write_text(HAS_SENTRY)
    since = len(tap.events)
    await stage.act("restart", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)
    since, pid = len(tap.events), (await stage.node("atlas")).pid or 0
    os.kill(pid, signal.SIGUSR1)
    await tap.wait_for("stopped", "atlas", since=since)
    ready = await tap.wait_for("ready", "atlas", since=since)
    assert ready.pid != pid
    assert (folder / "address").read_text().startswith("http://")
    # One of its own is not laid over: what reads .env leaves variables alone that are there already.
    (folder / ".env").write_text("export SENTRY_DSN=https://key@sentry.example/1\n")
    since = len(tap.events)
    await stage.act("restart", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)
    assert (folder / "address").read_text() == "none"
