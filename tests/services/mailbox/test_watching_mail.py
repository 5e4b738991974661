"""A mailbox on a real IMAP server: what comes is posted once, whatever becomes of the line."""

from __future__ import annotations

import os

import msgspec
import pytest
from sqlalchemy import Connection

from handshake.redaction import Secret
from master.configuration.settings import Settings
from master.ledger.rows import mails
from master.services.mailbox.mail_content import MailContent, Verdict
from sandbox import Sandbox, permissions
from sandbox.records import Overwrite
from tests.services.mailbox.dovecot import PASSWORD, Dovecot, a_mail, needs_dovecot
from tests.services.mailbox.scene import VOUCHED, mailbox_at, open_mail_scene

pytestmark = [needs_dovecot, pytest.mark.timeout(120)]


async def test_a_mail_is_posted_once(house_settings: Settings, sandbox: Sandbox, server: Dovecot) -> None:
    server.deliver(a_mail("Before it was watched"))
    async with open_mail_scene(house_settings, sandbox, {"inbox": mailbox_at(server)}) as scene:
        await scene.state("ready")
        server.deliver(a_mail("Payment failed", "Dear @everyone,\nsee https://shop.example/x\n"))
        server.deliver(a_mail("Vouched for", Authentication_Results=VOUCHED))
        await scene.acted(2)
        (first, second) = (message.embeds[0] for message in scene.posts())
        assert first["title"] == "Payment failed"
        assert first["description"] == "```\nDear @everyone,\nsee https://shop.example/x\n```"
        assert [f["name"] for f in first["fields"]] == ["From", "Not vouched for"]
        assert [f["name"] for f in second["fields"]] == ["From", "Vouched for"]
        await scene.restart()
        await scene.state("ready")
        server.deliver(a_mail("After the restart"))
        await scene.acted(3)
        assert [m.embeds[0]["title"] for m in scene.posts()] == ["Payment failed", "Vouched for", "After the restart"]
        assert [mail.state for mail in await scene.mails()] == ["done"] * 3


async def test_a_refused_login_is_not_tried_again_until_somebody_says_so(
    house_settings: Settings, sandbox: Sandbox, server: Dovecot
) -> None:
    async with open_mail_scene(house_settings, sandbox, {"inbox": mailbox_at(server)}, password="wrong") as scene:
        await scene.state("quarantined")
        (alert,) = scene.alerts
        assert alert.title == "The mailbox inbox cannot be opened"
        assert "fleet mailbox password inbox" in alert.text
        # Nor by the next master: trying again may lock the account.
        await scene.restart()
        await scene.until(lambda: scene.mailboxes.state_of("inbox")[0] == "quarantined")
        assert server.log.count("auth failed") == 1, server.log
        row = await scene.mailboxes.set_password("inbox", Secret(PASSWORD))
        assert row.state == "starting"
        await scene.state("ready")
        assert scene.mailboxes.facts() == ("inbox ready",)
        server.deliver(a_mail("Here"))
        await scene.acted(1)


async def test_what_comes_while_it_is_paused_is_seen_later(
    house_settings: Settings, sandbox: Sandbox, server: Dovecot
) -> None:
    async with open_mail_scene(house_settings, sandbox, {"inbox": mailbox_at(server)}) as scene:
        await scene.state("ready")
        await scene.mailboxes.set_paused("inbox", paused=True)
        assert (await scene.state("stopped")).detail == "paused"
        server.deliver(a_mail("Meanwhile"))
        await scene.restart()
        await scene.state("stopped")
        await scene.mailboxes.set_paused("inbox", paused=False)
        await scene.acted(1)
        assert [m.embeds[0]["title"] for m in scene.posts()] == ["Meanwhile"]


async def test_other_uids_are_no_other_mails(house_settings: Settings, sandbox: Sandbox, server: Dovecot) -> None:
    server.deliver(a_mail("From before it was watched", Date="Mon, 1 Jan 2024 03:00:00 +0000"))
    old = next((server.mail / "new").iterdir())
    os.utime(old, (1_700_000_000, 1_700_000_000))
    async with open_mail_scene(house_settings, sandbox, {"inbox": mailbox_at(server)}) as scene:
        await scene.state("ready")
        for number in range(3):
            server.deliver(a_mail(f"Mail {number}"))
        await scene.acted(3)
        before = await scene.house.services.mailboxes.tools.row("inbox")
        await server.change_uid_validity()
        server.deliver(a_mail("After it"))
        scene.mailboxes._look_again("inbox")
        await scene.acted(4)
        after = await scene.house.services.mailboxes.tools.row("inbox")
        assert before.uid_validity != after.uid_validity
        titles = [m.embeds[0]["title"] for m in scene.posts()]
        assert sorted(titles) == ["After it", "Mail 0", "Mail 1", "Mail 2"]


async def test_a_post_whose_end_was_not_written_down_is_found_and_not_made_again(
    house_settings: Settings, sandbox: Sandbox, server: Dovecot
) -> None:
    async with open_mail_scene(house_settings, sandbox, {"inbox": mailbox_at(server)}) as scene:
        await scene.state("ready")
        server.deliver(a_mail("Once"))
        (done,) = await scene.acted(1)
        await scene.stop()
        ledger, now = scene.house.services.ledger, scene.house.services.clock.now()
        content = msgspec.json.encode(MailContent(verdict=Verdict(False, ""))).decode()

        def forget(c: Connection) -> None:
            """Leave it as a master does that is killed between the post and the ledger."""
            mails.change_action(c, done.mail_id, 0, was=("done",), at=now, state="doing", result="")
            mails.change(c, done.mail_id, at=now, state="acting", content=content)

        await ledger.write(forget)
        # Discord forgets a nonce after minutes: only the message itself tells.
        for message in scene.posts():
            message.nonce = None
        await scene.restart()
        await scene.acted(2)
        assert len(scene.posts()) == 1
        # Where it cannot be looked for, an operator is asked.
        await scene.stop()
        await ledger.write(forget)
        own = scene.mailboxes.tools.own_user_id()
        closed = Overwrite(id=own, type=1, allow=0, deny=permissions.READ_MESSAGE_HISTORY)
        sandbox.world.channels[scene.inbox.id].overwrites[own] = closed
        await scene.restart()
        (failed,) = await scene.mail_in("failed")
        assert "cannot be seen" in failed.detail
        assert len(scene.posts()) == 1
        assert [alert.title for alert in scene.alerts] == ["A mail to inbox may have been acted on before"]
