"""Another MASTER_SECRET than the ledger was made with: the master does not start on it, and doctor is red."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from master.demonstration.stage import Stage, StageError
from master.security.derivation import new_master_secret

pytestmark = pytest.mark.timeout(120)


def with_other_secret(home: Path) -> str:
    """Replace the secret in .env; returns the one before."""
    text = (home / ".env").read_text()
    found = re.search(r"MASTER_SECRET=(.*)", text)
    assert found is not None
    (home / ".env").write_text(text.replace(found[1], new_master_secret()))
    return found[1]


def run(command: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "master.cli", command, "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ},
        check=False,
    )


def findings(home: Path) -> dict[str, Any]:
    done = run("doctor", home, "--json", "--offline")
    return {finding["what"]: finding for finding in json.loads(done.stdout)} | {"exit": done.returncode}


def rows(home: Path) -> int:
    with sqlite3.connect(home / "state" / "ledger.db") as ledger:
        return int(ledger.execute("SELECT count(*) FROM audit_log").fetchone()[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "has_tokens",
    [pytest.param(True, id="a token"), pytest.param(False, id="only the audit log")],
)
async def test_a_master_with_another_secret_does_not_start_and_says_why(empty_ledger: Path, has_tokens: bool) -> None:
    async with Stage(pulse_s=0.5, ledger=empty_ledger) as stage:
        await stage.start_master()
        await stage.register("atlas")
        assert stage.master is not None
        assert (await asyncio.to_thread(run, "shutdown", stage.home, "--yes")).returncode == 0
        await stage.master.process.wait()
        assert "secret" not in await asyncio.to_thread(findings, stage.home)
        if not has_tokens:
            with sqlite3.connect(stage.home / "state" / "ledger.db") as ledger:
                ledger.execute("DELETE FROM node_tokens")
        before = rows(stage.home)
        own = with_other_secret(stage.home)

        found = await asyncio.to_thread(findings, stage.home)
        assert (found["exit"], found["secret"]["verdict"]) == (1, "fail")
        assert "another MASTER_SECRET" in found["secret"]["detail"]
        assert "put the MASTER_SECRET it was made with" in found["secret"]["fix"]
        with pytest.raises(StageError) as failed:
            await stage.start_master()
        assert "another MASTER_SECRET" in failed.value.hint
        assert "Traceback" not in failed.value.hint
        done = await asyncio.to_thread(run, "run", stage.home)
        assert (done.returncode, "another MASTER_SECRET" in done.stdout + done.stderr) == (5, True)
        assert rows(stage.home) == before
        for secret in (own, new_master_secret()):
            assert secret not in done.stdout + done.stderr + stage.log_tail()

        env = stage.home / ".env"
        env.write_text(re.sub(r"MASTER_SECRET=.*", f"MASTER_SECRET={own}", env.read_text()))
        assert "secret" not in await asyncio.to_thread(findings, stage.home)
        await stage.start_master()


@pytest.mark.slow
async def test_a_token_that_is_damaged_is_no_other_secret(empty_ledger: Path) -> None:
    async with Stage(pulse_s=0.5, ledger=empty_ledger) as stage:
        await stage.start_master()
        await stage.register("atlas")
        assert stage.master is not None
        assert (await asyncio.to_thread(run, "shutdown", stage.home, "--yes")).returncode == 0
        await stage.master.process.wait()
        with sqlite3.connect(stage.home / "state" / "ledger.db") as ledger:
            ledger.execute("UPDATE node_tokens SET sealed = zeroblob(length(sealed))")
        assert "secret" not in await asyncio.to_thread(findings, stage.home)
        await stage.start_master()
