"""Bytes on the wire of 25 nodes that pulse, beyond discord.py's own: what a fleet costs on mobile data.

Three fleets of the same bots at the same time, each with a sandbox of its own behind a relay that counts: with the
transport ``auto`` (the local socket carries the pulses, as on one box), with ``channel`` (VERIFY_CHANNEL does, and
every node hears every other), and plain processes without a master. From when all are up, a stretch of whole heartbeats
is measured, and **extrapolated to an hour**: what it holds repeats itself. What was said at the start is told apart.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.fleets import copy_and_start, ending, start_wanted
from benchmarks.relay import RelayedSandbox, Traffic
from benchmarks.reporting import MB, Outcome, parser, show
from master.demonstration.stage import Stage

HEARTBEAT_S = 41.25
"""What the sandbox asks its clients for, as Discord does; a stretch is a multiple of it."""
QUIET_S, PATIENCE_S = 15.0, 240.0
"""A start is over when nothing was asked of Discord for so long. In the channel, which has limits, it takes longer."""
HOUR_S = 3600.0
PULSE_S = 9.0
HEARTBEATS = 6
CHANNEL_PULSE_S = HEARTBEATS * HEARTBEAT_S
"""Near the 240 s of every day, so that a stretch holds exactly one pulse of each node."""


@dataclass(slots=True)
class Fleet:
    """A fleet that is up, and whose tokens are which row's."""

    sandbox: RelayedSandbox
    rows: dict[str, set[str]] = field(default_factory=dict)


def _stage(transport: str) -> tuple[Stage, RelayedSandbox]:
    stage = Stage(pulse_s=PULSE_S, transport=transport, channel_pulse_s=CHANNEL_PULSE_S)
    stage.sandbox = sandbox = RelayedSandbox()
    return stage, sandbox


@asynccontextmanager
async def ours(transport: str, count: int) -> AsyncIterator[Fleet]:
    """Bring up a master with its nodes."""
    stage, sandbox = _stage(transport)
    async with stage:
        await stage.start_master()
        names = await start_wanted(stage, count)
        yield Fleet(
            sandbox,
            {
                f"{transport}, {count} nodes": {stage.bots[name].token for name in names},
                f"{transport}, master": {stage.master_bot.token},
            },
        )
        pulses = [node.last_pulse_s_ago for node in (await stage.status()).nodes]
        limit = 2 * (PULSE_S if transport == "auto" else CHANNEL_PULSE_S)
        if any(age is None or age > limit for age in pulses):
            raise RuntimeError(f"{transport}: a node did not pulse")


@asynccontextmanager
async def plain(count: int) -> AsyncIterator[Fleet]:
    """Start the same bots as plain processes."""
    stage, sandbox = _stage("auto")
    started: list[psutil.Popen] = []
    async with stage:
        with tempfile.TemporaryDirectory(prefix="fleet-wire-") as folder, ending(started):
            names = [f"node-{number}" for number in range(count)]
            for name in names:
                stage.create_bot(name)
                started.append(await asyncio.to_thread(copy_and_start, stage, Path(folder, name), name))
            for name in names:
                await sandbox.gateway.wait_connected(stage.bots[name].account, timeout_s=120.0)
            yield Fleet(sandbox, {f"plain exec, {count} bots": {stage.bots[name].token for name in names}})


async def measure(count: int, seconds: float) -> Outcome:
    """Let all three say what they have to say for the same stretch."""
    outcome = Outcome(
        f"{count} pulsing nodes: {seconds:g} s measured, extrapolated to an hour "
        f"(pulses every {PULSE_S:g} s; in VERIFY_CHANNEL every {CHANNEL_PULSE_S:g} s)"
    )
    async with ours("auto", count) as local, ours("channel", count) as channel, plain(count) as bare:
        fleets = (local, channel, bare)
        await asyncio.gather(*(_quiet(fleet.sandbox) for fleet in fleets))
        before = [_counted(fleet) for fleet in fleets]
        await asyncio.sleep(seconds)
        after = [_counted(fleet) for fleet in fleets]
    for began, ended in zip(before, after, strict=True):
        for name in began:
            outcome.rows[name] = _row(began[name], ended[name], seconds)
    return outcome


async def _quiet(sandbox: RelayedSandbox) -> None:
    """Wait until what a start has to say is said."""
    async with asyncio.timeout(PATIENCE_S):
        seen, since = -1, 0.0
        while seen != (asked := sum(sandbox.requests.values())) or time.monotonic() - since < QUIET_S:
            if asked != seen:
                seen, since = asked, time.monotonic()
            await asyncio.sleep(0.5)


def _counted(fleet: Fleet) -> dict[str, Traffic]:
    return {name: fleet.sandbox.traffic_of(tokens) for name, tokens in fleet.rows.items()}


def _row(began: Traffic, ended: Traffic, seconds: float) -> dict[str, Any]:
    hours = seconds / HOUR_S
    kinds = {kind: size - began.kinds.get(kind, 0) for kind, size in ended.kinds.items()}
    return {
        "start_kb": round((began.own + began.ours) / 1024, 1),
        "discord_py_bytes": ended.own - began.own,
        "our_bytes": ended.ours - began.ours,
        "discord_py_an_hour_kb": round((ended.own - began.own) / hours / 1024, 1),
        "ours_an_hour_kb": round((ended.ours - began.ours) / hours / 1024, 1),
        "of_it": " ".join(f"{kind}={size}" for kind, size in kinds.items() if size) or "nothing",
    }


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=25)
    arguments.add_argument("--heartbeats", type=int, default=HEARTBEATS, help=f"{HEARTBEAT_S:g} s each")
    options = arguments.parse_args()
    seconds = options.heartbeats * HEARTBEAT_S
    outcome = asyncio.run(measure(options.nodes, seconds))
    rows, count = outcome.rows, options.nodes
    own = sum(rows[f"auto, {part}"]["our_bytes"] for part in (f"{count} nodes", "master"))
    outcome.at_most("bytes_an_hour", round(own * HOUR_S / seconds), MB)
    everything = [row["discord_py_bytes"] + row["our_bytes"] for row in rows.values()]
    outcome.ratio("plain exec, all bytes of the nodes", everything[0], everything[-1])
    show(outcome, as_json=options.json)


if __name__ == "__main__":
    main()
