"""A mail opens a ticket, staff answer it by mail from there, and what comes back is in the same ticket."""

from __future__ import annotations

import asyncio
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from msgspec.structs import replace

from master.configuration.settings import MailRule, Settings
from master.ledger.rows import mail_threads, tickets
from master.ledger.rows.records import Ticket
from master.services.mailbox.errors import MailRefused
from master.services.onboarding.saga import CloneRequest
from sandbox import Sandbox, permissions
from tests.services.conftest import OPERATOR
from tests.services.mailbox.dovecot import PASSWORD, Dovecot, a_mail, free_port, needs_dovecot
from tests.services.mailbox.scene import MailScene, mailbox_at, open_mail_scene

pytestmark = [needs_dovecot, pytest.mark.timeout(120)]
DESK = {"desk": MailRule(action="ticket", category="support", trusted=False)}


class Post:
    """A real SMTP server that keeps what it is given, or answers as it is told."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answer = "250 OK"
        self.taken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.controller = Controller(
            self,
            hostname="127.0.0.1",
            port=free_port(),
            authenticator=self._authenticate,
            auth_require_tls=False,
            auth_required=True,
        )

    def _authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=data.password == PASSWORD.encode())

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # its name there
        if self.answer.startswith("250"):
            found = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(found, EmailMessage)
            self.mails.append(found)
        self._loop.call_soon_threadsafe(self.taken.set)
        return self.answer


@pytest.fixture
async def post() -> Any:
    running = Post()
    running.controller.start()
    yield running
    running.controller.stop()


async def with_node(scene: MailScene) -> None:
    await scene.house.clone(OPERATOR, CloneRequest(name="atlas", token=scene.house.token("atlas"), start=False))


async def tickets_of(scene: MailScene) -> list[Ticket]:
    return await scene.house.services.ledger.read(lambda c: tickets.recent(c, limit=100))


def desk_at(server: Dovecot, post: Post | None = None) -> Any:
    smtp = (
        {} if post is None else {"smtp_host": "127.0.0.1", "smtp_port": post.controller.port, "smtp_security": "none"}
    )
    return {"inbox": mailbox_at(server, DESK, **smtp)}


async def test_a_mail_opens_a_ticket_that_staff_see_and_no_bot_is_in(
    house_settings: Settings, sandbox: Sandbox, server: Dovecot
) -> None:
    async with open_mail_scene(house_settings, sandbox, desk_at(server)) as scene:
        await with_node(scene)
        await scene.state("ready")
        server.deliver(a_mail("My bot is down", "It does not start."))
        await scene.acted(1, "write")
        (ticket,) = await tickets_of(scene)
        assert (ticket.state, ticket.author_id, ticket.topic) == ("open", 0, "eve@shop.example: My bot is down")
        channel = sandbox.world.channels[ticket.channel_id or 0]
        assert permissions.in_channel(scene.guild.guild, channel, scene.sam.id) & permissions.SEND_MESSAGES
        assert {o.id for o in channel.overwrites.values()}.isdisjoint({0})
        (message,) = scene.guild.channel(channel.id).messages
        assert message.embeds[0]["title"] == "My bot is down"
        # Nobody can send from here: there is no button that says so.
        assert [b["label"] for row in message.components for b in row["components"]] == ["Close"]
        # An automatic mail is no ticket: two machines would write to each other.
        server.deliver(a_mail("Out of office", Auto_Submitted="auto-replied"))
        await scene.acted(1, "post")
        assert len(await tickets_of(scene)) == 1
        assert scene.posts()[0].embeds[0]["title"] == "Out of office"


@pytest.mark.slow
async def test_an_answer_goes_out_and_what_comes_back_is_in_the_same_ticket(
    house_settings: Settings, sandbox: Sandbox, server: Dovecot, post: Post
) -> None:
    async with open_mail_scene(house_settings, sandbox, desk_at(server, post)) as scene:
        await with_node(scene)
        await scene.state("ready")
        asked = a_mail("My bot is down")
        server.deliver(asked)
        await scene.acted(1, "write")
        (ticket,) = await tickets_of(scene)
        channel = scene.guild.channel(ticket.channel_id or 0)
        done = await scene.mailboxes.answer(ticket, "Try again.\n", actor=f"discord:{scene.sam.id}")
        assert (done.to, done.state) == ("eve@shop.example", "waiting")
        await scene.acted(1, "answer")
        (sent,) = post.mails
        assert sent["To"] == "eve@shop.example"
        assert sent["Subject"] == "Re: My bot is down [#1]"
        assert sent["In-Reply-To"] == sent["References"] == asked["Message-ID"]
        assert sent.get_content().strip() == "Try again."
        # By its references, without them by its number; nobody else by that.
        server.deliver(a_mail("Aw: My bot is down", "Still down.", In_Reply_To=str(sent["Message-ID"])))
        server.deliver(a_mail("New words [#1]", "And now?"))
        await scene.acted(3, "write")
        assert [m.embeds[0]["title"] for m in channel.messages if m.embeds] == [
            "My bot is down",
            "Answered by mail, to eve\\@shop.example",
            "Aw: My bot is down",
            "New words \\[#1\\]",
        ]
        server.deliver(a_mail("Mine [#1]", sender="mallory@evil.example"))
        await scene.acted(4, "write")
        assert len(await tickets_of(scene)) == 2
        # An absence note to the answer is neither a ticket nor in one.
        server.deliver(a_mail("Away", In_Reply_To=str(sent["Message-ID"]), Auto_Submitted="auto-replied"))
        (ignored,) = await scene.mail_in("ignored")
        assert ignored.detail == "an automatic answer (Auto-Submitted: auto-replied)"
        # Who writes into a closed ticket has it opened again.
        await scene.house.services.ticketing.tickets.close(ticket, "done")
        await scene.house.services.ticketing.work.do(ticket.id)
        server.deliver(a_mail("Aw: My bot is down", "Once more.", References=str(asked["Message-ID"])))
        await scene.acted(5, "write")
        assert [one.state for one in await tickets_of(scene)] == ["open", "open"]


async def test_an_answer_that_may_have_been_sent_is_asked_about_and_never_sent_again(
    house_settings: Settings, sandbox: Sandbox, server: Dovecot, post: Post
) -> None:
    async with open_mail_scene(house_settings, sandbox, desk_at(server, post)) as scene:
        await with_node(scene)
        await scene.state("ready")
        server.deliver(a_mail("Help"))
        await scene.acted(1, "write")
        (ticket,) = await tickets_of(scene)
        post.answer = "550 no such person"
        await scene.mailboxes.answer(ticket, "One", actor="cli:ada")
        (refused,) = await scene.acted(1, "answer")
        assert refused.detail.startswith("failed: 127.0.0.1 answers 550")
        post.answer = "250 OK"
        # A master that was killed while it sent leaves it so.
        await scene.stop()
        await scene.mailboxes.answer(ticket, "Two", actor="cli:ada")
        ledger = scene.house.services.ledger
        (waiting,) = await ledger.read(lambda c: mail_threads.answers_in(c, ("waiting",), limit=5))
        now = scene.house.services.clock.now()
        await ledger.write(
            lambda c: mail_threads.change_answer(c, waiting.id, was=("waiting",), at=now, state="sending")
        )
        await scene.restart()
        await scene.acted(2, "answer")
        assert post.mails == []
        assert [a.title for a in scene.alerts] == [
            "An answer by mail was not sent",
            "An answer by mail may not have been sent",
        ]
        with pytest.raises(MailRefused, match="did not come by mail"):
            await scene.mailboxes.answer(replace(ticket, id="01" + "A" * 24), "x", actor="cli:ada")
