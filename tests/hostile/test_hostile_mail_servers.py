"""A mail server that stalls for ever, hangs up, floods or talks nonsense at each step: each mail is posted once all the
same, and nothing waits without end."""

from __future__ import annotations

import asyncio
import os
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from master.configuration.settings import MailRule, Settings
from master.services.mailbox import imap_client, watcher
from master.services.mailbox.watcher import pause_s
from sandbox import Sandbox
from tests.hostile.effort import rounds
from tests.hostile.faulty_imap import STAGES, FaultyImap, faulty_imap
from tests.services.conftest import settings_in
from tests.services.mailbox.scene import MailScene, mailbox_at, open_mail_scene

pytestmark = pytest.mark.timeout(3600 if os.environ.get("FLEET_FUZZ") else 180)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a fraction of what the master waits; what it waits for is the same."""
    for module, name, value in (
        (imap_client, "CONNECT_S", 2.0),
        (imap_client, "COMMAND_S", 0.4),
        (watcher, "FIRST_PAUSE_S", 0.02),
        (watcher, "LAST_PAUSE_S", 0.2),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def base(tmp_path: Path, sandbox: Sandbox, empty_ledger: Path) -> Settings:
    return settings_in(tmp_path, sandbox, empty_ledger)


def plain(number: int) -> bytes:
    return (
        f"From: eve@shop.example\r\nTo: bots@fleet.example\r\nSubject: Mail {number}\r\n"
        f"Message-ID: <{number}@shop.example>\r\nDate: Mon, 23 Nov 2026 03:00:00 +0000\r\n\r\nText {number}\r\n"
    ).encode()


def without_actions(server: FaultyImap) -> dict[str, Any]:
    return {"inbox": mailbox_at(server, {"all": MailRule(action="ignore")})}


async def subjects(scene: MailScene, count: int) -> list[str]:
    found = await scene.mail_in("ignored", count)
    return sorted(mail.subject for mail in found)


@pytest.mark.slow
async def test_each_fault_at_each_step_is_survived(base: Settings, sandbox: Sandbox) -> None:
    async with faulty_imap() as server, open_mail_scene(base, sandbox, without_actions(server)) as scene:
        await scene.state("ready")
        number = 0
        for stage in STAGES:
            for kind in ("stall", "drop", "half", "garbage", "flood"):
                before, number = server.failed, number + 1
                await server.until(lambda: server.idling > 0)
                server.fault = (stage, kind)
                # DONE comes before the line is cut, everything else after it.
                if stage != "DONE":
                    server.mails.append(plain(number))
                    server.drop_all()
                else:
                    server.deliver(plain(number))
                assert len(await subjects(scene, number)) == number, (stage, kind)
                await server.until(lambda expected=before + 1: server.failed >= expected)  # type: ignore[misc]
        assert server.failed == len(STAGES) * 5
        server.deliver(plain(number + 1))
        assert await subjects(scene, number + 1) == sorted(f"Mail {n}" for n in range(1, number + 2))
        print(f"{server.failed} faults, {number + 1} mails, {server.logins} logins")


async def test_a_login_that_is_refused_is_not_tried_again(base: Settings, sandbox: Sandbox) -> None:
    async with faulty_imap() as server:
        server.fault = ("LOGIN", "refuse")
        async with open_mail_scene(base, sandbox, without_actions(server)) as scene:
            # The server says that it is its own trouble: that is tried again.
            await scene.state("ready")
            assert server.failed == 1


async def test_a_flood_costs_no_memory(base: Settings, sandbox: Sandbox) -> None:
    async with faulty_imap() as server, open_mail_scene(base, sandbox, without_actions(server)) as scene:
        await scene.state("ready")
        tracemalloc.start()
        try:
            server.fault = ("FETCH", "flood")
            server.deliver(plain(1))
            await subjects(scene, 1)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 24 << 20


async def test_spoilt_answers_lose_no_mail(base: Settings, sandbox: Sandbox) -> None:
    """Whatever of its answers is spoilt, what the server tells right in the end is on record."""
    async with faulty_imap() as server, open_mail_scene(base, sandbox, without_actions(server)) as scene:
        await scene.state("ready")
        server.fuzz = 0.5
        for number in range(1, rounds(60) + 1):
            server.deliver(plain(number))
            if server.rng.random() < 0.3:
                server.drop_all()
            await asyncio.sleep(0)
        server.fuzz = 0.0
        await scene.state("ready")
        server.deliver(plain(0))
        async with asyncio.timeout(60):
            while True:
                if any(mail.subject == "Mail 0" for mail in await scene.mails()):
                    break
                # No event says that a mail is ignored.
                await asyncio.sleep(0.02)
        # It may be on record before the watcher has told that it is well again.
        await scene.state("ready")


def test_pauses_grow_and_differ() -> None:
    rng = random.Random(1)  # noqa: S311 # not for secrets
    found = [pause_s(failures, rng) for failures in range(1, 12)]
    assert all(0.75 * 0.02 <= one <= 1.25 * 0.2 for one in found)
    assert len(set(found)) == len(found)
