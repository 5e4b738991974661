"""A trusted mail issues or renews a licence, or runs a solution: once, and nobody's mail but a trusted one does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, text

from master.configuration.settings import HealingSettings, LicenceTier, MailRule, Settings
from master.events import NodeSpawned
from master.ledger.rows import licence_events, licences, mails
from master.ledger.rows.records import Licence, LicenceState
from master.services.mailbox.mail_content import MailContent, Verdict
from sandbox import Sandbox
from tests.services.conftest import OPERATOR
from tests.services.mailbox.dovecot import Dovecot, a_mail, needs_dovecot
from tests.services.mailbox.scene import VOUCHED, MailScene, mailbox_at, open_mail_scene
from tests.services.mailbox.test_tickets_by_mail import Post
from tests.services.repair.conftest import Ward, write_solution

pytestmark = [needs_dovecot, pytest.mark.timeout(120)]

# "trusted" cannot open what only a trusted sender may.
SHOP = MailRule(sender="eve@shop\\.example", action="licence", tier="pro", trusted=False)
CODE = re.compile(r"FM1(?:-[0-9A-Z]{5}){8}")


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    running = Post()
    running.controller.start()
    yield running
    running.controller.stop()


@pytest.fixture
def base(house_settings: Settings) -> Settings:
    tiers = (LicenceTier(name="standard"), LicenceTier(name="pro", days=30))
    return replace(house_settings, licence_tiers=tiers, healing=HealingSettings(detect_only_s=0))


def inbox(server: Dovecot, rule: MailRule, post: Post | None = None) -> Any:
    smtp = (
        {} if post is None else {"smtp_host": "127.0.0.1", "smtp_port": post.controller.port, "smtp_security": "none"}
    )
    return {"inbox": mailbox_at(server, {"shop": rule}, **smtp)}


def trusted(subject: str, body: str = "Please.\n", **headers: str) -> Any:
    return a_mail(subject, body, Authentication_Results=VOUCHED, **headers)


async def of_mails(scene: MailScene) -> list[Licence]:
    found = await scene.house.services.ledger.read(lambda c: licences.list_matching(c, tier="pro"))
    return [one for one in found if one.origin.startswith("mail:")]


async def begun(scene: MailScene, mail_id: str, subject: str = "") -> None:
    """Leave a mail's action as a master does that is killed while it acts."""
    now = scene.house.services.clock.now()
    content = MailContent(verdict=Verdict(True, ""), sender="eve@shop.example", subject=subject)
    kept = msgspec.json.encode(content).decode()

    def forget(c: Connection) -> None:
        mails.change_action(c, mail_id, 0, was=("done",), at=now, state="doing", result="")
        mails.change(c, mail_id, at=now, state="acting", content=kept)

    await scene.house.services.ledger.write(forget)


async def test_a_trusted_mail_is_answered_with_a_licence_and_nothing_keeps_its_code(
    base: Settings, sandbox: Sandbox, server: Dovecot, post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_mail_scene(base, sandbox, inbox(server, SHOP, post)) as scene:
        await scene.state("ready")
        server.deliver(a_mail("Forged"))
        server.deliver(a_mail("Another's", sender="eve@shop.example.evil.org", Authentication_Results=VOUCHED))
        server.deliver(trusted("A licence, please", Reply_To="mallory@evil.org"))
        await scene.acted(1, "licence")
        assert len(await scene.mail_in("ignored", 2)) == 2
        (issued,) = await of_mails(scene)
        (mail,) = post.mails
        assert mail["To"] == "eve@shop.example"
        assert mail["Subject"] == "Re: A licence, please"
        assert mail["Auto-Submitted"] == "auto-replied"
        code = CODE.search(mail.get_content())
        assert code is not None
        redeemed = await scene.house.services.licences.redeem(
            code[0], user_id=scene.ada.id, guild_id=scene.guild.id, actor=OPERATOR
        )
        assert redeemed.id == issued.id
        # Neither the ledger, nor what is told, nor the log has it.
        assert code[0] not in caplog.text + repr(scene.events)
        assert code[0] not in await scene.house.services.ledger.read(everything)


def everything(connection: Connection) -> str:
    from master.ledger.schema.tables import metadata

    return repr([connection.execute(text(f'SELECT * FROM "{name}"')).all() for name in metadata.tables])  # noqa: S608


async def test_a_master_that_ended_between_the_code_and_its_mail_asks(
    base: Settings, sandbox: Sandbox, server: Dovecot, post: Post
) -> None:
    async with open_mail_scene(base, sandbox, inbox(server, SHOP, post)) as scene:
        await scene.state("ready")
        server.deliver(trusted("Once"))
        (done,) = await scene.acted(1, "licence")
        await scene.stop()
        await begun(scene, done.mail_id)
        await scene.restart()
        (failed,) = await scene.mail_in("failed")
        assert "nobody can tell" in failed.detail
        assert len(post.mails) == 1
        # An operator says "again": the first code is worth nothing then.
        await scene.mailboxes.again(failed.id)
        await scene.acted(2, "licence")
        assert len(post.mails) == 2
        states = sorted(one.state for one in await of_mails(scene))
        assert states == [LicenceState.ISSUED, LicenceState.REVOKED]
        # A code that was redeemed was sent: there is nothing to ask.
        code = CODE.search(post.mails[1].get_content())
        assert code is not None
        await scene.house.services.licences.redeem(
            code[0], user_id=scene.ada.id, guild_id=scene.guild.id, actor=OPERATOR
        )
        await scene.stop()
        await begun(scene, done.mail_id)
        await scene.restart()
        await scene.acted(3, "licence")
        assert len(post.mails) == 2
        assert len(await of_mails(scene)) == 2


async def test_a_refused_address_leaves_no_licence_behind(
    base: Settings, sandbox: Sandbox, server: Dovecot, post: Post
) -> None:
    async with open_mail_scene(base, sandbox, inbox(server, SHOP, post)) as scene:
        await scene.state("ready")
        post.answer = "550 no such person"
        server.deliver(trusted("To nobody"))
        await scene.mail_in("failed")
        assert [one.state for one in await of_mails(scene)] == [LicenceState.REVOKED]


async def test_without_smtp_operators_are_told_how_to_issue_it(
    base: Settings, sandbox: Sandbox, server: Dovecot
) -> None:
    async with open_mail_scene(base, sandbox, inbox(server, SHOP)) as scene:
        await scene.state("ready")
        server.deliver(trusted("A licence, please"))
        await scene.acted(1, "licence")
        (alert,) = scene.alerts
        assert alert.title == "A licence waits for you: pro"
        assert "`fleet licence issue pro`" in alert.text
        assert dict(alert.fields)["To"] == "eve@shop.example"
        assert await of_mails(scene) == []


async def test_a_licence_that_a_mail_names_is_renewed_once(base: Settings, sandbox: Sandbox, server: Dovecot) -> None:
    rule = MailRule(sender="eve@shop\\.example", action="licence", renew=True)
    async with open_mail_scene(base, sandbox, inbox(server, rule)) as scene:
        services = scene.house.services
        await scene.state("ready")
        first = (await services.licences.issue("pro", actor=OPERATOR)).record
        other = (await services.licences.issue("pro", actor=OPERATOR)).record
        server.deliver(trusted("Paid again", f"order deadbeefdeadbeef, licence {first.id.upper()}\n"))
        (done,) = await scene.acted(1, "licence")
        assert done.detail == f"licence {first.id} renewed"
        await scene.stop()
        await begun(scene, done.mail_id, f"licence {first.id}")
        await scene.restart()
        await scene.acted(2, "licence")
        events = await services.ledger.read(lambda c: licence_events.list_of(c, first.id))
        assert [event.what for event in events].count("renewed") == 1
        # None, or two: nobody guesses.
        server.deliver(trusted("Which one?", f"{first.id} or {other.id}\n"))
        server.deliver(trusted("Mine!", "deadbeefdeadbeef\n"))
        failed = await scene.mail_in("failed", 2)
        assert sorted(mail.detail.split(" `")[0] for mail in failed) == [
            "the mail names 2 licences",
            "the mail names no licence by its id",
        ]


@asynccontextmanager
async def repairing(scene: MailScene) -> AsyncIterator[Ward]:
    ward, services = Ward(scene.house), scene.house.services
    await asyncio.to_thread(services.library.load)
    tasks = [asyncio.create_task(work()) for work in (services.solutions.run, services.repair.run)]
    try:
        await ward.reload()
        yield ward
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_trusted_mail_runs_a_solution_once_and_within_its_limits(
    base: Settings, sandbox: Sandbox, server: Dovecot
) -> None:
    write_solution(base, "stale_cache", most_an_hour=1)
    rule = MailRule(sender="eve@shop\\.example", action="solution", solution="stale_cache", node="web")
    async with open_mail_scene(base, sandbox, inbox(server, rule)) as scene, repairing(scene) as ward:
        await scene.state("ready")
        await ward.add()
        spawned = ward.spawns()
        server.deliver(a_mail("Forged"))
        server.deliver(trusted("Restart it"))
        (done,) = await scene.acted(1, "solution")
        await scene.mail_in("ignored")
        await ward.wait(lambda event: isinstance(event, NodeSpawned), count=spawned + 1)
        (run,) = ward.runs()
        assert (run.line, run.actor) == (f"asked for by mail {done.mail_id}", "system:mail/inbox")
        # A master that ended meanwhile finds the run, and begins none.
        await scene.stop()
        await begun(scene, done.mail_id)
        await scene.restart()
        await scene.acted(2, "solution")
        assert len(ward.runs()) == 1
        server.deliver(trusted("And again"))
        (failed,) = await scene.mail_in("failed")
        assert "as often as it may" in failed.detail
        assert ward.spawns() == spawned + 1
