"""A program that prints its token before it dies: the token stays in its log file."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PRINTS = """\
import sys
print("logging in with {token}", file=sys.stderr)
sys.exit("no good: {token}")
"""


async def fleet(stage: Stage, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "master.cli", *arguments, "--home", str(stage.home)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "200"},
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_a_token_that_a_program_prints_stays_in_its_log(stage: Stage, tap: EventTap, tmp_path: Path) -> None:
    bot = stage.create_bot("leaky")
    (tmp_path / "bot.py").write_text(PRINTS.format(token=bot.token))
    await fleet(stage, "register", "leaky", "--folder", str(tmp_path), "--no-token")
    event = await tap.wait_for("backoff", "leaky")
    assert f"no good: [token of {bot.id}]" in event.detail
    await stage.log.wait_for_message(lambda message: any("leaky" in one["title"] for one in message.embeds))
    said = [str(message.embeds) for message in stage.log.messages]
    for command in ("describe", "why"):
        said += [await fleet(stage, command, "leaky"), await fleet(stage, command, "leaky", "--json")]
    assert all("token of" in one for one in said), [one for one in said if "token of" not in one]
    stored = [path.read_bytes() for path in (stage.home / "state").glob("*") if path.is_file()]
    secret = bot.token.rpartition(".")[2]
    assert not [one for one in said if secret in one]
    assert not [one for one in (*stored, (stage.home / "master.log").read_bytes()) if secret.encode() in one]
    assert secret in (stage.home / "state" / "logs" / "leaky.err.log").read_text()
