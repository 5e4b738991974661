"""What the master does for people: a storm on a giveaway, a large draw, checks of licences.

- entries: as many people as ``--people`` press the button of one giveaway, each once, through real interactions on the
  sandbox, to a real master; beside it a hundred in a server of a hundred. "Failed" is what Discord shows as "This
  interaction failed": no answer within 3 s
- draw: ten winners of 100,000 entries, by the rule that anybody can recompute
- checks: what a person's licence is worth, and for a feature, of 1,000 people, on one core
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.giveaway_storm import StormResult, crowd, storm
from benchmarks.reporting import Outcome, parser, show
from handshake.redaction import Secret
from master.bus import EventBus
from master.configuration.settings import DatabaseSettings, LicenceTier
from master.demonstration.stage import Stage
from master.ledger.database import Ledger
from master.security.derivation import MasterSecret, check_master_secret, new_master_secret
from master.security.licence_codes import LicenceCodes
from master.services.core.actors import Actor
from master.services.people.giveaway_draw import entries_hash, pick
from master.services.people.licence_guesses import Guesses
from master.services.people.licences import Licences
from master.services.trust.licensing import Licensing
from master.supervision.clock import SystemClock
from sandbox import ChannelHandle
from sandbox.errors import SandboxError

QUIET = 100
"""People of the server beside which the storm's answers are compared."""
ENTRIES, WINNERS = 100_000, 10
CHECKED_S = 2.0
HOLDERS = 1_000
BENCHMARK = Actor(face="cli", identity="benchmark", name="benchmark", owns_box=True)
START = {"prize": "A year of pro", "duration": "1h"}


async def measure_entries(people: int, at_once: int) -> StormResult:
    """Have so many people enter a giveaway of a real master."""
    async with Stage() as stage:
        await stage.start_master()
        await stage.sandbox.gateway.wait_connected(stage.master_bot.account, timeout_s=30)
        lounge = stage.guild.create_channel("lounge")
        members = crowd(stage.sandbox, stage.guild, people)
        await _start_giveaway(stage, lounge)
        posted = await lounge.wait_for_message(lambda message: bool(message.components), timeout_s=30.0)
        return await storm(members, posted, at_once=at_once)


async def _start_giveaway(stage: Stage, lounge: ChannelHandle) -> None:
    """Start it, as soon as the master has registered its commands, which no event tells."""
    async with asyncio.timeout(30):
        while True:
            try:
                await stage.operator.runs_command(lounge, stage.master_bot, "giveaway start", START)
                return
            except SandboxError:
                await asyncio.sleep(0.2)


def measure_draw() -> dict[str, Any]:
    """Draw from many entries: their hash, and the winners."""
    rng = random.Random(5)  # noqa: S311 - people, not secrets
    entries = [(rng.randrange(10**17, 10**18), rng.choice((1, 1, 1, 2, 5))) for _ in range(ENTRIES)]
    began = time.perf_counter()
    hashed = entries_hash("01J00000000000000000000000", entries)
    won = pick(b"s" * 32, hashed, 0, entries, WINNERS)
    took_s = time.perf_counter() - began
    if len(set(won)) != WINNERS:
        raise RuntimeError("a draw has not as many winners as it was to have")
    return {"entries": ENTRIES, "winners": WINNERS, "seconds": round(took_s, 3)}


async def measure_checks() -> dict[str, Any]:
    """Check the licences of people who hold one, over a ledger in a file."""
    with tempfile.TemporaryDirectory(prefix="fleet-people-") as folder:
        ledger = await Ledger.open(DatabaseSettings(url=Secret(f"sqlite:///{Path(folder) / 'ledger.db'}")))
        try:
            licences = _licences(ledger)
            for user_id in range(1, HOLDERS + 1):
                issued = await licences.issue("pro", actor=BENCHMARK)
                await licences.redeem(issued.code.reveal(), user_id=user_id, guild_id=1, actor=BENCHMARK)
            done, began = 0, time.process_time()
            while (spent := time.process_time() - began) < CHECKED_S:
                for user_id in range(1, HOLDERS + 1):
                    status = await licences.check_person(user_id, "exports" if user_id % 2 else "")
                    if not status.valid:
                        raise RuntimeError(f"a licence is not valid: {status.reason}")
                done += HOLDERS
            return {"people": HOLDERS, "checks": done, "checks_a_second": round(done / spent)}
        finally:
            await ledger.close()


def _licences(ledger: Ledger) -> Licences:
    clock, secret = SystemClock(), MasterSecret(Secret(check_master_secret(new_master_secret())))
    tiers = (LicenceTier(name="pro", days=int(timedelta(days=365).days), features=("exports",)),)
    licensing = Licensing(LicenceCodes(secret), tiers, clock)
    return Licences(ledger=ledger, licensing=licensing, bus=EventBus(), clock=clock, guesses=Guesses(clock))


def _row(result: StormResult) -> dict[str, Any]:
    return {
        "people": result.presses,
        "entered": result.entered,
        "failed": result.failed,
        "seconds": round(result.took_s, 1),
        "p50_ms": round(result.p50_ms, 1),
        "p95_ms": round(result.p95_ms, 1),
        "worst_ms": round(result.worst_ms, 1),
    }


async def measure(people: int, at_once: int) -> Outcome:
    """Measure everything."""
    outcome = Outcome("what the master does for people")
    quiet = outcome.rows[f"{QUIET} people, one by one"] = _row(await measure_entries(QUIET, 1))
    crowded = outcome.rows[f"{people:,} people, {at_once} at once"] = _row(await measure_entries(people, at_once))
    outcome.rows["draw"] = drawn = measure_draw()
    outcome.rows["checks"] = checked = await measure_checks()
    outcome.ratio("a quiet server, p95", crowded["p95_ms"], quiet["p95_ms"])
    outcome.at_most("failed", crowded["failed"], 0)
    outcome.at_least("entered", crowded["entered"], people)
    outcome.at_most("draw_s", drawn["seconds"], 1.0)
    outcome.at_least("checks_a_second", checked["checks_a_second"], 10_000)
    return outcome


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--people", type=int, default=5_000)
    arguments.add_argument("--at-once", type=int, default=200, help="how many presses wait for their answer at a time")
    chosen = arguments.parse_args()
    show(asyncio.run(measure(chosen.people, chosen.at_once)), as_json=chosen.json)


if __name__ == "__main__":
    main()
