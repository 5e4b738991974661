"""Names in the config that no node has: said by the master's log, by `fleet check config` and by `fleet doctor`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from master.demonstration.stage import Stage
from master.services.core.ledger_cache import load_cached_ledger
from tests.cli.test_commands import fleet

pytestmark = pytest.mark.timeout(120)

CACHED_WITHIN_S = 30.0


@pytest.mark.slow
async def test_a_name_that_no_node_has_is_told_wherever_somebody_looks(empty_ledger: Path) -> None:
    async with Stage(ledger=empty_ledger) as stage:
        config = stage.home / "config.py"
        config.write_text(config.read_text() + 'NODES = {"atlass": {"PRIORITY": 1}}\n')
        await stage.start_master()
        assert "NODES['atlass'] in config.py: there is no node called 'atlass'" in stage.log_tail(50)
        await stage.register("atlas")
        cache = stage.home / "state" / "memory.bin"
        async with asyncio.timeout(CACHED_WITHIN_S):
            while (found := await load_cached_ledger(cache)) is None or not found.nodes:  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.05)
        for source in ("cache", "ledger"):
            if source == "ledger":
                cache.unlink()
            checked = await asyncio.to_thread(fleet, "check", "config", home=stage.home)
            assert checked.returncode == 0
            assert "NODES['atlass']: there is no node called 'atlass' -> did you mean 'atlas'?" in checked.stdout
        done = await asyncio.to_thread(fleet, "doctor", "--json", "--offline", home=stage.home)
        (finding,) = [finding for finding in json.loads(done.stdout) if finding["what"] == "node names"]
        assert (finding["verdict"], finding["fix"]) == ("warn", "did you mean 'atlas'?")
