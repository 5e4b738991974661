"""The clock of the box is set at random, back and forth, by seconds and by years, while a real fleet runs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from master.demonstration.stage import Stage
from tests.hostile.effort import rounds

LIBRARY = next(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"), None)
NAMES = ("atlas", "borealis")
YEAR_S = 365 * 86_400
STEPS_S = (-90, 90, -3_600, 3_600, 2 * 86_400, -5 * YEAR_S, 10 * YEAR_S)
UNTOUCHED = {"exited", "degraded", "replaced", "flagged", "refused", "backoff", "quarantined", "spawned"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (apt-get install faketime)"),
]


class FakedClock:
    """The clock of a stage's master and nodes, moved against the real one by what a file says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._file = folder / "clock"
        self.set(0)
        for name, value in (
            ("LD_PRELOAD", str(LIBRARY)),
            ("FAKETIME_TIMESTAMP_FILE", str(self._file)),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ):
            monkeypatch.setenv(name, value)
        # Measured as well, a faked process takes half a minute to start: each line asks for the time.
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)

    def set(self, seconds: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)


async def test_a_clock_that_is_set_flags_and_replaces_nobody(
    tmp_path: Path, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, faked = random.Random(8), FakedClock(tmp_path, monkeypatch)  # noqa: S311 - a test's own
    async with Stage(pulse_s=2.0, ledger=empty_ledger, program="tests.hostile.faked_master") as stage:
        await stage.start_master()
        async with stage.listen() as tap:
            for name in NAMES:
                await stage.register(name)
                await tap.wait_for("ready", name)
            began, pids = len(tap.events), {name: (await stage.node(name)).pid for name in NAMES}
            steps = [rng.choice(STEPS_S) for _ in range(rounds(4))]
            for step in steps:
                since = len(tap.events)
                faked.set(step)
                told = await tap.wait_for("clock_stepped", "", since=since)
                assert told.detail.startswith(("back by", "forward by"))
                for name in NAMES:
                    node = await stage.node(name)
                    assert (node.state, node.pid, node.flag_reason) == ("ready", pids[name], ""), stage.log_tail(40)
                    assert (node.uptime_s or -1) >= 0
                    assert (node.last_pulse_s_ago or 0) < 6
                assert (await stage.status()).master.uptime_s > 0
            kinds = [event.kind for event in tap.events[began:]]
            assert not UNTOUCHED & set(kinds), kinds
            print(f"clock: {len(steps)} steps {steps}, {kinds.count('verified')} new sessions, nobody flagged")
