"""Tickets as people use them: a panel, a form, a channel, the staff, a transcript; through kills and restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from tests.child_template.template_nodes import told
from tests.child_template.ticket_scene import (
    QUESTIONS,
    answered,
    buttons,
    field,
    kill_node,
    picture,
    restart,
    scene,
    wait_for_channel,
)

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tickets.md").read_text("utf-8")
"""Its pictures are of the real messages."""

pytestmark = pytest.mark.timeout(120)


async def test_a_ticket_from_the_panel_to_the_transcript_of_a_node_without_any_right(empty_ledger: Path) -> None:
    async with scene(empty_ledger) as up:
        panel = await up.panel()
        channel = await up.open(up.ann, panel, {QUESTIONS[0]: "The stove does not light", QUESTIONS[1]: "4711"})
        greeting = await up.greeting(channel)
        assert up.ann.id in [user.id for user in greeting.mentions]
        assert picture(up, panel) in PAGE
        assert picture(up, greeting) in PAGE
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
        assert picture(up, logged).partition("\n  file:")[0] in PAGE
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


@pytest.mark.slow
async def test_presses_and_forms_are_answered_while_node_and_master_die(empty_ledger: Path) -> None:
    async with scene(empty_ledger) as up:
        stage, panel = up.stage, await up.panel()
        shown = await up.press(up.ann, panel, "Support")
        # The node is another process when the form is sent.
        await kill_node(up)
        sent = await answered(await up.ann.submits_modal(shown, dict.fromkeys(QUESTIONS, "x")))
        assert sent.content.startswith("Your ticket is <#"), sent.content
        channel = stage.guild.channel(int(sent.content.partition("<#")[2].partition(">")[0]))
        # It dies again, whether or not it has greeted: there is one greeting in the end.
        await kill_node(up)
        greeting = await up.greeting(channel)
        assert field(greeting, QUESTIONS[1]) == "x"

        second = await up.press(up.ann, panel, "Support")
        second = await answered(await up.ann.submits_modal(second, dict.fromkeys(QUESTIONS, "x")))
        assert second.content.startswith("You have 1 open ticket of this kind"), second.content
        assert second.ephemeral

        # Without a master nothing is done, and everybody is told so; with the next one it is.
        assert stage.master is not None
        stage.master.process.kill()
        await stage.master.process.wait()
        starting = asyncio.create_task(stage.start_master())
        away = await up.sam.presses(greeting, "Claim")
        await starting
        assert "It is yours" in (await answered(away)).content, "the question waits for the next master"
        await up.greeting(channel, lambda m: buttons(m) == ["Release", "Close"])
        assert sum("your ticket" in m.content for m in channel.messages) == 1


@pytest.mark.slow
async def test_closed_direct_messages_an_outage_and_a_missing_intent_are_told(empty_ledger: Path) -> None:
    async with scene(empty_ledger, reads=False) as up:
        answer = await answered(
            await up.stage.operator.runs_command(up.stage.office, up.node, "ticket panel", {"style": "menu"})
        )
        assert "switch MESSAGE_CONTENT_INTENT on" in answer.content
        panel = await up.stage.office.wait_for_message(lambda m: m.author.id == up.node.id and bool(m.components))
        form = await up.ann.selects(panel, "ticket:new", ["support"])
        opened = await answered(await up.ann.submits_modal(form, dict.fromkeys(QUESTIONS, "x")))
        channel = up.stage.guild.channel(int(opened.content.partition("<#")[2].partition(">")[0]))
        greeting = await up.greeting(channel)
        await up.ann.sends(channel, "my secret")
        up.ann.closes_direct_messages()
        form = await up.press(up.ann, greeting, "Close")
        await answered(await up.ann.submits_modal(form, {}))
        logged = await up.log.wait_for_message(lambda m: bool(m.attachments), timeout_s=60)
        assert "direct messages are closed" in field(logged, "Transcript")
        text = logged.attachments[1].content.decode()
        assert "What people wrote is not here: the bot lacks the intent" in text
        assert "my secret" not in text
        await restart(up)
        await up.press(up.sam, greeting, "Delete")
        assert len(up.log.messages) == 1, "a transcript is made once"


@pytest.mark.slow
async def test_in_threads_a_closed_ticket_is_reopened_from_the_log(empty_ledger: Path) -> None:
    async with scene(empty_ledger, threads=True) as up:
        channel = await up.open(up.ann, await up.panel())
        assert channel.channel.type == 12
        greeting = await up.greeting(channel)
        await up.ann.sends(channel, "hello")
        assert "It is yours" in (await up.press(up.sam, greeting, "Claim")).content
        form = await up.press(up.ann, greeting, "Close")
        up.stage.sandbox.faults.answer_next(503, method="POST", path_contains=f"/channels/{up.log.id}/")
        await answered(await up.ann.submits_modal(form, {"answer0": "solved"}))
        logged = await up.log.wait_for_message(lambda m: bool(m.attachments), timeout_s=20)
        assert "hello" in logged.attachments[1].content.decode()
        assert channel.channel.archived
        direct = up.stage.sandbox.world.direct_channel(up.node.account, up.ann.user)
        assert len(direct.messages) == 1, "the author gets it once, though the log was tried twice"
        assert "is open again" in (await up.press(up.sam, logged, "Reopen")).content
        await up.ann.sends(channel, "not solved")


@pytest.mark.slow
async def test_a_full_category_has_a_queue_with_ones_position(empty_ledger: Path) -> None:
    async with scene(empty_ledger) as up:
        guild, panel = up.stage.guild, await up.panel()
        full = [guild.create_channel(f"other-{n}", inside=up.place) for n in range(50)]
        form = await up.press(up.ann, panel, "Support")
        waits = await answered(await up.ann.submits_modal(form, dict.fromkeys(QUESTIONS, "the oven")))
        assert waits.content.startswith("All places are taken. You are number 1 in the queue."), waits.content
        before = set(guild.guild.channels)
        await up.stage.operator.deletes_channel(full[0])
        opened = await wait_for_channel(up, before)
        greeting = await up.greeting(opened)
        assert field(greeting, QUESTIONS[0]) == "the oven"
        assert up.ann.id in [user.id for user in greeting.mentions]


@pytest.mark.slow
async def test_who_may_not_is_told_why(empty_ledger: Path) -> None:
    async with scene(empty_ledger) as up:
        office, ann, node = up.stage.office, up.ann, up.node
        assert "You need the permission **Manage Server**" in told(
            await answered(await ann.runs_command(office, node, "ticket panel"))
        )
        outside = await answered(await ann.runs_command(office, node, "ticket close"))
        assert told(outside) == "Use this in the channel of a ticket."
        panel = await up.panel()
        channel = await up.open(ann, panel, dict.fromkeys(QUESTIONS, "<@1> **now** [x](http://e.vil)"))
        greeting = await up.greeting(channel)
        assert field(greeting, QUESTIONS[0]) == "\\<\\@1\\> \\*\\*now\\*\\* \\[x\\]\\(http\\://e.vil\\)"
        for name, options in (
            ("transfer", {"to": up.sam}),
            ("priority", {"priority": "urgent"}),
            ("add", {"person": up.sam}),
        ):
            answer = await answered(await ann.runs_command(channel, node, f"ticket {name}", options))
            assert answer.ephemeral, name
        topic = await answered(await ann.runs_command(channel, node, "ticket topic", {"text": "*oven*"}))
        assert topic.content == "The topic is set."
        await up.greeting(channel, lambda m: m.embeds[0].get("description") == "\\*oven\\*")
        urgent = await answered(await up.sam.runs_command(channel, node, "ticket priority", {"priority": "urgent"}))
        assert urgent.content == "Its priority is urgent."
        mine = await answered(await ann.runs_command(office, node, "ticket list"))
        assert mine.embeds[0]["title"] == "Tickets: 1"
        bob = up.stage.sandbox.create_human("bob")
        up.stage.guild.add_member(bob)
        none = await answered(await bob.runs_command(office, node, "ticket list"))
        assert none.embeds[0]["description"] == "There are none."
        files = await ann.runs_command(channel, node, "ticket transcript")
        await files.wait_until(lambda i: i.message is not None and len(i.message.attachments) == 2)
