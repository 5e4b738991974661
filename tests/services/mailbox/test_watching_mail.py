"""A mailbox on a real IMAP server: what comes is posted once, whatever becomes of the line."""

from __future__ import annotations

import pytest

from master.configuration.settings import Settings
from sandbox import Sandbox
from tests.services.mailbox.dovecot import Dovecot, a_mail, needs_dovecot
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
