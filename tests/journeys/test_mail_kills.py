"""A master that is killed again and again while mails come: each is posted exactly once.

``FLEET_FUZZ=50 pytest -m slow tests/journeys/test_mail_kills.py`` kills it fifty times over a thousand mails.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from master.demonstration.stage import Stage
from master.operations.parameters import MailboxPasswordParams, MailsParams
from master.services.core.mailbox_views import MailboxRow, MailRow
from tests.hostile.effort import rounds
from tests.services.mailbox.dovecot import PASSWORD, USER, Dovecot, a_mail, needs_dovecot, running_dovecot

pytestmark = [needs_dovecot, pytest.mark.slow, pytest.mark.timeout(7_200 if os.environ.get("FLEET_FUZZ") else 180)]

CHANNELS = 8
"""Discord takes five messages in five seconds, of each channel."""
MAILS_A_KILL = 20 if os.environ.get("FLEET_FUZZ") else 5

_CONFIG = """
MAILBOXES = {{"inbox": {{
    "HOST": "127.0.0.1", "PORT": {port}, "SECURITY": "none", "USER": {user!r},
    "RULES": {{
        **{{f"c{{n}}": {{"SUBJECT": f"^c{{n}} ", "ACTION": "post", "TRUSTED": False, "CHANNEL_ID": channel}}
           for n, channel in enumerate({channels})}},
    }},
}}}}
"""


def call(stage: Stage, name: str, params: object, answer: object) -> object:
    return stage.client.call(name, params, answer=answer, timeout_s=20.0)  # type: ignore[arg-type]


async def master_is_killed(stage: Stage, rng: random.Random) -> None:
    """Let it work for a moment, and kill it at whatever it does."""
    await asyncio.sleep(rng.uniform(0.0, 0.8))
    assert stage.master is not None
    stage.master.process.kill()
    await stage.master.process.wait()
    await stage.start_master()


async def all_done(stage: Stage, count: int) -> list[MailRow]:
    while True:
        found = await asyncio.to_thread(call, stage, "mails", MailsParams(limit=1_000), list[MailRow])
        assert isinstance(found, list)
        if sum(mail.state in ("done", "failed") for mail in found) >= min(count, 1_000):
            return found
        await asyncio.sleep(0.2)


async def test_each_mail_is_posted_once_over_kills(empty_ledger: Path) -> None:
    kills, rng = rounds(3), random.Random(5)  # noqa: S311 # not for secrets
    async with running_dovecot() as server, Stage(pulse_s=0.5, ledger=empty_ledger) as stage:
        channels = [stage.guild.create_channel(f"mails-{n}") for n in range(CHANNELS)]
        with (stage.home / "config.py").open("a") as config:
            config.write(_CONFIG.format(port=server.port, user=USER, channels=[channel.id for channel in channels]))
        await stage.start_master()
        await asyncio.to_thread(call, stage, "mailbox_password", MailboxPasswordParams("inbox", PASSWORD), MailboxRow)
        await ready(stage)
        number = 0
        for _ in range(kills):
            number = deliver(server, number)
            await master_is_killed(stage, rng)
        rows = await all_done(stage, number)
        assert Counter(row.state for row in rows) == {"done": min(number, 1_000)}, [
            row for row in rows if row.state != "done"
        ]
        posted = Counter(
            found[0]
            for channel in channels
            for message in channel.messages
            if message.embeds and (found := re.findall(r"number (\d+)", str(message.embeds[0]["title"])))
        )
        assert posted == {str(one): 1 for one in range(number)}
        print(f"{kills} kills, {number} mails, each posted once")


async def ready(stage: Stage) -> None:
    """Wait until the mailbox is watched: what comes before is not acted on."""
    while True:
        found = (await stage.status()).master.mailboxes
        if "inbox ready" in found:
            return
        await asyncio.sleep(0.05)


def deliver(server: Dovecot, number: int) -> int:
    for _ in range(MAILS_A_KILL):
        server.deliver(a_mail(f"c{number % CHANNELS} number {number}", Message_ID=f"<{number}@shop.example>"))
        number += 1
    return number
