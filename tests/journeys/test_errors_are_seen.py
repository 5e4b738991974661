"""Errors of real nodes reach the solutions, wherever they show: output, end of a process, gateway."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from master.operations.parameters import RegisterParams
from master.services.core.views import Registered

pytestmark = pytest.mark.timeout(120)

SOLUTION = """\
id = "{id}"
title = "It is seen in {seen_in}"
risk = "auto"
applies_to = ["{seen_in}"]
patterns = ['''{pattern}''']
cooldown_s = 0
stays_away_s = 5
action = {{name = "restart"}}
[samples]
match = ["{sample}"]
"""
PRINTS = """\
import signal, sys, time

def print_errors(*_):
    for number in range(10_000):
        print(f"line {number}", file=sys.stderr)
    print("the pool is exhausted", file=sys.stderr, flush=True)

signal.signal(signal.SIGUSR1, print_errors)
while True:
    time.sleep(60)
"""


@pytest.fixture
async def stage(empty_ledger: Path) -> AsyncIterator[Stage]:
    """Yield a master with a solution for each place."""
    async with Stage(pulse_s=0.5, ledger=empty_ledger) as up:
        (up.home / "solutions").mkdir()
        for name, seen_in, pattern, sample in (
            ("pool", "stderr", "^the pool is exhausted$", "the pool is exhausted"),
            ("limited", "gateway_close", "^gateway closed with 4020$", "gateway closed with 4020"),
        ):
            text = SOLUTION.format(id=name, seen_in=seen_in, pattern=pattern, sample=sample)
            (up.home / "solutions" / f"{name}.toml").write_text(text)
        with (up.home / "config.py").open("a") as config:
            config.write('HEALING = {"DETECT_ONLY_S": 0}\n')
        await up.start_master()
        yield up


async def test_what_a_plain_program_prints_and_what_discord_closes_reach_their_solutions(
    stage: Stage, tap: EventTap
) -> None:
    folder = stage.home / "bots" / "plain"
    folder.mkdir(parents=True)
    (folder / "bot.py").write_text(PRINTS)
    wanted = RegisterParams(name="plain", no_token=True, folder=str(folder), readiness="process")
    await asyncio.to_thread(stage.client.call, "register", wanted, answer=Registered, timeout_s=60.0)
    await stage.register("atlas")
    for name in ("plain", "atlas"):
        await tap.wait_for("ready", name)
    since, pid = len(tap.events), (await stage.node("plain")).pid or 0
    os.kill(pid, signal.SIGUSR1)
    await stage.sandbox.faults.drop_connections(stage.bots["atlas"].account, code=4020)
    for name in ("plain", "atlas"):
        await tap.wait_for("stopped", name, since=since)
        await tap.wait_for("ready", name, since=since)
    reported = next(event for event in tap.events[since:] if event.kind == "error")
    assert reported.node == "atlas"
    assert reported.detail == "close 4020: ConnectionClosed: unknown error"
