"""Tickets as people use them: a panel, a form, a channel, the staff, a transcript; through kills and restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from tests.child_template.ticket_scene import answered, buttons, field, restart, scene

pytestmark = pytest.mark.timeout(120)


async def test_a_ticket_from_the_panel_to_the_transcript_of_a_node_without_any_right(empty_ledger: Path) -> None:
    async with scene(empty_ledger) as up:
        panel = await up.panel()
        channel = await up.open(
            up.ann, panel, {"What is it about?": "<b>Stove</b> [x](http://e.vil)", "Which order?": "17"}
        )
        greeting = await up.greeting(channel)
        assert up.ann.id in [user.id for user in greeting.mentions]
        assert field(greeting, "Which order?") == "17"
        assert "\\[x\\]\\(http" in field(greeting, "What is it about?")
        assert buttons(greeting) == ["Claim", "Close"]
        await up.ann.sends(channel, "Hello <script>alert(1)</script>")

        refused = await up.press(up.ann, greeting, "Claim")
        assert "not of the staff" in refused.content
        assert refused.ephemeral
        assert "It is yours" in (await up.press(up.sam, greeting, "Claim")).content
        greeting = await up.greeting(channel, lambda m: buttons(m) == ["Release", "Close"])
        assert field(greeting, "Claimed by") == f"<@{up.sam.id}>"

        bob = up.stage.sandbox.create_human("bob")
        up.stage.guild.add_member(bob)
        with pytest.raises(SandboxError):
            await bob.sends(channel, "may I?")
        added = await answered(await up.sam.runs_command(channel, up.node, "ticket add", {"person": bob}))
        assert added.content.startswith(f"<@{bob.id}> is in"), added.content
        await bob.sends(channel, "thanks")

        await restart(up)
        form = await up.press(up.sam, greeting, "Close")
        assert form.modal is not None
        assert form.modal["title"] == "Close ticket 1?"
        closed = await answered(await up.sam.submits_modal(form, {"answer0": "Sent a new one"}))
        assert closed.content == "The ticket is closed."
        logged = await up.log.wait_for_message(lambda m: bool(m.attachments), timeout_s=20)
        assert "Its author has it too" in field(logged, "Transcript")
        page, text = (file.content.decode() for file in logged.attachments)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "<script" not in page
        for words in ("Hello <script>", "thanks", "Reason: Sent a new one", f"Closed by: sam ({up.sam.id})"):
            assert words in text, text
        with pytest.raises(SandboxError):
            await up.ann.sends(channel, "one more thing")
        greeting = await up.greeting(channel, lambda m: buttons(m) == ["Reopen", "Delete"])

        assert "is open again" in (await up.press(up.sam, logged, "Reopen")).content
        await up.greeting(channel, lambda m: buttons(m) == ["Claim", "Close"] or buttons(m) == ["Release", "Close"])
        await up.ann.sends(channel, "one more thing")
