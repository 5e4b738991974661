"""The real sentry-sdk in a real process, with nothing of it changed, reaches the intake."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from master.services.healing.sighting import SeenIn
from tests.intake.conftest import Intake

pytest.importorskip("sentry_sdk")

RAISES = """\
import logging
import sentry_sdk

sentry_sdk.init()
logging.getLogger("discord.gateway").warning("Shard ID None heartbeat blocked for more than 10 seconds.")

class QuotaGone(Exception):
    pass

def charge(coins):
    token = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcdE.abcdefghijklmnopqrstuvwxyz012345"
    try:
        {}["xp"]
    except KeyError as error:
        raise QuotaGone(f"no coins for {token}\\nask again") from error

charge(0)
"""
SAYS = """\
import logging
import sentry_sdk

sentry_sdk.init(traces_sample_rate=1.0)
with sentry_sdk.start_transaction(name="a tick"):
    logging.getLogger("economy").info("nothing")
logging.getLogger("economy").error("shop %s is closed", "north")
sentry_sdk.capture_message("just so")
"""
LOGS_IT = """\
import logging
import sentry_sdk

sentry_sdk.init()
try:
    open("/nowhere/at/all")
except OSError:
    logging.getLogger("discord.client").exception("Ignoring exception in on_message")
"""


async def run(source: str, dsn: str) -> str:
    """Run a program that has the address in its environment; returns what it wrote to standard error."""
    environment = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "PYTHONPATH"))}
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, env={**environment, "SENTRY_DSN": dsn}, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(program.communicate(), 60)
    return said.decode()


async def test_an_exception_that_ends_a_bot(intake: Intake) -> None:
    await run(RAISES, intake.dsn())
    seen = await intake.next()
    assert (seen.node_id, seen.seen_in, seen.exception) == ("atlas-id", SeenIn.REPORT, "QuotaGone")
    first, *traceback = seen.text.split("\n")
    assert first == "sentry __main__.charge: QuotaGone: no coins for [token of 123456789012345678]"
    # The lines that Python prints, so that what knows a traceback knows this one.
    assert traceback[0] == "Traceback (most recent call last):"
    assert "KeyError: 'xp'" in traceback
    assert traceback[-2:] == ["QuotaGone: no coins for [token of 123456789012345678]", "ask again"]
    assert "The above exception was the direct cause of the following exception:" in traceback
    assert any(line.endswith('<string>", line 15, in charge') for line in traceback)
    assert seen.lines_before == ("warning discord.gateway: Shard ID None heartbeat blocked for more than 10 seconds.",)


@pytest.mark.slow
async def test_a_logged_error_is_taken_and_what_is_none_is_not(intake: Intake) -> None:
    await run(SAYS, intake.dsn("borea"))
    seen = await intake.next()
    assert (seen.node_id, seen.text, seen.exception) == ("borea-id", "sentry economy: error: shop north is closed", "")
    # A transaction, a session, and a message of level info were sent too.
    assert intake.taken.empty()
    assert intake.server.refused == 0


@pytest.mark.slow
async def test_a_logged_exception_has_its_type(intake: Intake) -> None:
    await run(LOGS_IT, intake.dsn())
    seen = await intake.next()
    assert seen.text.split("\n")[0].endswith(
        ": FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/at/all'"
    )


@pytest.mark.slow
async def test_an_sdk_that_is_refused_does_not_harm_its_bot(intake: Intake) -> None:
    said = await run(RAISES, intake.dsn().replace("http://", "http://0"))
    assert "QuotaGone" in said
    assert intake.taken.empty()
    # What it counted of its losses was refused too.
    assert intake.server.refused >= 1
