"""A mailbox under kill -9, and an idle one: mails acted on exactly once, and what watching costs.

A real master on the sandbox watches a real IMAP server (dovecot). While mails come it is killed at random moments and
started again; each mail has to be posted once. Then an idle master with the mailbox is held beside the same without
one: CPU, memory, and what goes over the line to the mail server.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from typing import Any

import psutil

from benchmarks.idle import used_s
from benchmarks.reporting import MB, Outcome, parser, show
from master.demonstration.stage import Stage
from master.operations.parameters import MailboxPasswordParams, MailsParams
from master.services.core.mailbox_views import MailboxRow, MailRow
from tests.services.mailbox.dovecot import PASSWORD, PROGRAM, USER, Dovecot, a_mail, running_dovecot

CHANNELS = 8
"""Discord takes five messages in five seconds, of each channel."""
LONGEST_S = 0.8
"""That a master lives before it is killed."""
SETTLE_S = 10.0
PATIENCE_S = 3_600.0
_CONFIG = """
MAILBOXES = {{"inbox": {{
    "HOST": "127.0.0.1", "PORT": {port}, "SECURITY": "none", "USER": {user!r},
    "RULES": {{f"c{{n}}": {{"SUBJECT": f"^c{{n}} ", "ACTION": "post", "TRUSTED": False, "CHANNEL_ID": channel}}
              for n, channel in enumerate({channels})}},
}}}}
"""


async def _watch(stage: Stage, server: Dovecot, channels: list[int]) -> None:
    """Start a master that watches the mailbox; what comes before that is not acted on."""
    with (stage.home / "config.py").open("a") as config:
        config.write(_CONFIG.format(port=server.port, user=USER, channels=channels))
    await stage.start_master()
    params = MailboxPasswordParams("inbox", PASSWORD)
    await asyncio.to_thread(stage.client.call, "mailbox_password", params, answer=MailboxRow, timeout_s=20.0)
    while "inbox ready" not in (await stage.status()).master.mailboxes:  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.05)


async def kills(count: int, mails: int) -> dict[str, Any]:
    """Have mails come while the master is killed, and count what was posted."""
    rng, began = random.Random(16), time.monotonic()  # noqa: S311 # not for secrets
    async with running_dovecot() as server, Stage(pulse_s=2.0) as stage:
        channels = [stage.guild.create_channel(f"mails-{number}") for number in range(CHANNELS)]
        await _watch(stage, server, [channel.id for channel in channels])
        for number in range(mails):
            server.deliver(a_mail(f"c{number % CHANNELS} number {number}", Message_ID=f"<{number}@shop.example>"))
            if (number + 1) * count // mails > number * count // mails:
                await asyncio.sleep(rng.uniform(0.0, LONGEST_S))
                if stage.master is not None:
                    stage.master.process.kill()
                    await stage.master.process.wait()
                await stage.start_master()
        states = await _all_done(stage, mails)
        posted = Counter(
            found[1]
            for channel in channels
            for message in channel.messages
            if message.embeds and (found := re.search(r"number (\d+)", str(message.embeds[0]["title"])))
        )
    return {
        "mails": mails,
        "kills": count,
        "posted_once": sum(times == 1 for times in posted.values()),
        "twice": sum(times > 1 for times in posted.values()),
        "never": mails - len(posted),
        "asked_or_failed": states["failed"],
        "s": round(time.monotonic() - began, 1),
    }


async def _all_done(stage: Stage, mails: int) -> Counter[str]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            params = MailsParams(limit=1_000)
            call = stage.client.call
            rows = await asyncio.to_thread(call, "mails", params, answer=list[MailRow], timeout_s=20.0)
            found = Counter(row.state for row in rows)
            if found["done"] + found["failed"] >= min(mails, 1_000):
                return found
            await asyncio.sleep(0.2)


async def idle(seconds: float, *, with_mailbox: bool) -> dict[str, Any]:
    """Measure a master that has nothing to do."""
    async with running_dovecot() as server, Stage(pulse_s=9.0) as stage:
        if with_mailbox:
            await _watch(stage, server, [])
        else:
            await stage.start_master()
        master = psutil.Process((await stage.status()).master.pid)
        await asyncio.sleep(SETTLE_S)
        before, bytes_before = used_s([master]), _wire_bytes(server.port)
        await asyncio.sleep(seconds)
        return {
            "cpu_s": round(used_s([master]) - before, 3),
            "rss_mb": round(master.memory_info().rss / MB, 1),
            "pss_mb": round(master.memory_full_info().pss / MB, 1),
            "wire_bytes": _wire_bytes(server.port) - bytes_before,
        }


def _wire_bytes(port: int) -> int:
    """Return what went over the lines to a port so far, as the kernel counts it."""
    import subprocess

    found = subprocess.run(
        ["ss", "-tinH", f"( dport = :{port} )"],
        capture_output=True,
        text=True,
        check=True,
    )
    return sum(int(value) for value in re.findall(r"bytes_(?:sent|received):(\d+)", found.stdout))


async def measure(given: Any) -> Outcome:
    """Measure both."""
    outcome = Outcome(f"{given.mails} mails, {given.kills} kills; a mailbox idle for {given.seconds:g} s")
    if PROGRAM is None:
        outcome.rows["a mailbox"] = {"missing": "dovecot is not installed"}
        return outcome
    row = outcome.rows["killed"] = await kills(given.kills, given.mails)
    outcome.at_most("mails acted on twice or never", row["twice"] + row["never"], 0)
    bare, watched = await asyncio.gather(
        idle(given.seconds, with_mailbox=False), idle(given.seconds, with_mailbox=True)
    )
    outcome.rows["idle without"], outcome.rows["idle with"] = bare, watched
    outcome.at_most("CPU of a mailbox, s more", round(watched["cpu_s"] - bare["cpu_s"], 3), 0.05)
    return outcome


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--mails", type=int, default=1_000)
    arguments.add_argument("--kills", type=int, default=50)
    arguments.add_argument("--seconds", type=float, default=60.0)
    given = arguments.parse_args()
    show(asyncio.run(measure(given)), as_json=given.json)


if __name__ == "__main__":
    main()
