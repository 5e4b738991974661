"""Whoever writes mails attacks those who read them: is vouched for as another, writes in another's ticket, keeps a mail
from being seen, has an answer sent elsewhere. Each test here failed once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import Connection

from master.configuration.settings import ColourSettings, MailRule, Settings
from master.ledger.identifiers import new_ulid
from master.ledger.rows import mailboxes, mails, tickets
from master.ledger.rows.mail_records import Mail, MailAction
from master.services.core.errors import DiscordUnavailable
from master.services.mailbox.acting import Acting, Deed, Job
from master.services.mailbox.mail_content import Attachment, MailContent, Verdict
from master.services.mailbox.mail_notices import mail_notice
from master.services.mailbox.reading import read_head
from master.services.mailbox.trust import judge
from master.services.onboarding.saga import CloneRequest
from sandbox import Sandbox
from tests.services.conftest import OPERATOR, open_house
from tests.services.mailbox.conftest import server
from tests.services.mailbox.dovecot import Dovecot, a_mail, needs_dovecot
from tests.services.mailbox.scene import MX, VOUCHED, mailbox_at, open_mail_scene

__all__ = ["server"]

pytestmark = pytest.mark.timeout(120)
BANK = "bank.example"
DESK = {"desk": MailRule(action="ticket", category="support", trusted=False)}
_INSIDE = f'"a) ; dkim=pass header.d={BANK}; x=("@evil.example'


def head(*lines: str) -> MailContent:
    return read_head("\r\n".join((*lines, "", "")).encode(), (), authserv_id=MX, size=1)


def a_row(mail_id: str) -> Mail:
    now = datetime.now(UTC)
    return Mail(
        id=mail_id,
        mailbox="support",
        uid_validity=1,
        uid=1,
        mail_hash=b"",
        message_id="",
        sender="",
        subject="",
        at=now,
        is_trusted=False,
        content="",
        state="acting",
        changed_at=now,
    )


def an_action(mail_id: str) -> MailAction:
    now = datetime.now(UTC)
    return MailAction(mail_id=mail_id, number=0, rule="desk", action="post", plan="", state="doing", changed_at=now)


@pytest.mark.parametrize(
    "results",
    [
        # What is before the @ is anybody's, also within quotes.
        f'spf=pass smtp.mailfrom="{BANK}"@evil.example',
        f'spf=pass smtp.mailfrom="x@{BANK}"@evil.example',
        f'dkim=pass header.i="{BANK}"@evil.example',
        # Servers say whose mail it is in a comment too.
        f"spf=pass ({MX}: domain of {_INSIDE} designates 192.0.2.1) smtp.mailfrom={_INSIDE}",
        # A text that looks like a property; a property that is there twice.
        f'dkim=pass header.d=evil.example reason="x header.d={BANK}"',
        f'dkim=pass header.d=evil.example policy.x=" header.d={BANK}',
        f"spf=pass smtp.mailfrom=x@evil.example smtp.mailfrom=x@{BANK}",
    ],
)
def test_a_sender_with_odd_addresses_is_not_vouched_for_as_another(results: str) -> None:
    verdict = judge([f"{MX}; {results}"], MX, BANK)
    assert not verdict.is_trusted, verdict.why


@pytest.mark.parametrize(
    "results",
    [
        f'spf=pass smtp.mailfrom="odd name"@{BANK}',
        f'spf=pass smtp.mailfrom="x@{BANK}"',
        f'dkim=pass reason="good (2048 bits)" header.d="{BANK}"',
        f"dkim = pass (2048-bit key) header.d = {BANK} header.d={BANK}",
    ],
)
def test_an_odd_address_of_the_domain_itself_is_vouched_for(results: str) -> None:
    assert judge([f"{MX}; {results}"], MX, BANK).is_trusted


@pytest.mark.parametrize(
    "local", ["=?utf-8?q?=0D=0ABcc:?=", "=?utf-8?q?mallory=40evil.example=2C?=", "a\x00b", "a\x7f"]
)
def test_an_address_that_would_be_another_one_in_an_answer_is_none(local: str) -> None:
    assert head(f"From: <{local}@{BANK}>").sender == ""
    assert head("From: <eve@shop.example>", f"Reply-To: {local}@{BANK}").reply_to == ""


@needs_dovecot
async def test_a_copy_that_nobody_vouches_for_keeps_no_mail_from_being_seen(
    house_settings: Settings, sandbox: Sandbox, server: Dovecot
) -> None:
    """Who is in copy of a mail that is still on its way sends one with the same headers first."""
    rules = {"bank": MailRule(action="post", sender="@shop\\.example")}
    async with open_mail_scene(house_settings, sandbox, {"inbox": mailbox_at(server, rules)}) as scene:
        await scene.state("ready")
        same = {"Message_ID": "<1@shop.example>", "Date": "Mon, 23 Nov 2026 03:00:00 +0000"}
        server.deliver(a_mail("Pay", "Nothing.", Authentication_Results=f"{MX}; dkim=none", **same))
        await scene.mail_in("ignored")
        genuine = a_mail("Pay", "42", Authentication_Results=VOUCHED, **same)
        server.deliver(genuine)
        await scene.acted(1, "post")
        # What is delivered twice is still one.
        server.deliver(genuine)
        server.deliver(a_mail("Last", Authentication_Results=VOUCHED))
        await scene.acted(2, "post")
        assert [m.embeds[0]["title"] for m in scene.posts()] == ["Pay", "Last"]


def test_the_longest_mail_fits_into_a_message() -> None:
    content = MailContent(
        sender=f"{'e' * 100}@{'x' * 180}.example",
        sender_name="\U000e0001" * 300,
        reply_to=f"{'_' * 128}@{'x' * 180}.example",
        subject="*" * 300,
        text="x" * 6_000,
        automatic="Auto-Submitted: " + "*" * 40,
        attachments=(Attachment("*" * 200, "a/b", 5),) * 20,
        verdict=Verdict(False, f"Authentication-Results is of {'*' * 80}, not of {MX}"),
    )
    mail_id = "0" * 26
    (embed,) = mail_notice(a_row(mail_id), content, an_action(mail_id), ColourSettings()).embeds
    parts = [
        embed.title,
        embed.description,
        embed.footer,
        *(text for one in embed.fields for text in (one.name, one.value)),
    ]
    # https://docs.discord.com/developers/resources/message#embed-object-embed-limits
    assert sum(map(len, parts)) <= 6_000
    assert embed.description.endswith("```\n*There is more of it.*")


@needs_dovecot
async def test_nobody_writes_in_anothers_ticket_by_guessing_its_number(
    house_settings: Settings, sandbox: Sandbox, server: Dovecot
) -> None:
    async with open_mail_scene(house_settings, sandbox, {"inbox": mailbox_at(server, DESK)}) as scene:
        node = CloneRequest(name="atlas", token=scene.house.token("atlas"), start=False)
        await scene.house.clone(OPERATOR, node)
        await scene.state("ready")
        server.deliver(a_mail("Help", Authentication_Results=VOUCHED))
        await scene.acted(1, "write")
        # With the victim's address in Reply-To; then in From, which nobody vouches for.
        server.deliver(a_mail("Aw: Help [#1]", sender="mallory@evil.example", Reply_To="eve@shop.example"))
        server.deliver(a_mail("Aw: Help [#1]"))
        server.deliver(a_mail("Still [#1]", Authentication_Results=VOUCHED))
        await scene.acted(4, "write")
        ledger = scene.house.services.ledger
        topics = {one.number: one for one in await ledger.read(lambda c: tickets.recent(c, limit=10))}
        assert sorted(topics) == [1, 2, 3]
        messages = scene.guild.channel(topics[1].channel_id or 0).messages
        assert [m.embeds[0]["title"] for m in messages if m.embeds] == ["Help", "Still \\[#1\\]"]
        # Whoever answers there sees where the answer goes.
        (shown,) = [m for m in scene.guild.channel(topics[2].channel_id or 0).messages if m.embeds]
        fields = {one["name"]: one["value"] for one in shown.embeds[0]["fields"]}
        assert fields["From"].endswith("mallory\\@evil.example")
        assert fields["Answers go to"] == "eve\\@shop.example"


@needs_dovecot
async def test_a_refused_login_is_on_record_before_anybody_hears_of_it(
    house_settings: Settings, sandbox: Sandbox, server: Dovecot
) -> None:
    async with open_mail_scene(house_settings, sandbox, {"inbox": mailbox_at(server)}, password="wrong") as scene:
        await scene.state("quarantined")
        # A master that ends in this moment leaves it so: its next one does not have the account locked.
        row = await scene.house.services.ledger.read(lambda c: mailboxes.find(c, "inbox"))
        assert row is not None
        assert row.state == "quarantined"


async def test_a_heap_of_mails_that_wait_is_gone_through_once_a_round(
    house_settings: Settings, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends many mails while Discord is away had the master read all of them for each of them."""
    count, read, tried = 300, 0, list[str]()
    looked_at = mails.open_actions

    def counted(connection: Connection, **query: Any) -> list[MailAction]:
        nonlocal read
        found = looked_at(connection, **query)
        read += len(found)
        return found

    async def is_away(job: Job) -> str:
        tried.append(job.mail.id)
        raise DiscordUnavailable("Discord is away")

    # It counts, and does what it did.
    monkeypatch.setattr(mails, "open_actions", counted)
    async with open_house(house_settings, sandbox) as house:
        services = house.services
        content = msgspec.json.encode(MailContent(verdict=Verdict(False, ""))).decode()
        heap = [
            replace(a_row(new_ulid(services.clock)), mail_hash=f"{number:032}".encode(), content=content)
            for number in range(count)
        ]

        def fill(connection: Connection) -> None:
            for mail in heap:
                mails.insert(connection, mail, [an_action(mail.id)])

        await services.ledger.write(fill)
        await Acting(services.mailboxes.tools, {"post": Deed(is_away, is_away)}).step()
    assert tried == sorted(mail.id for mail in heap)
    assert read <= 3 * count
    print(f"{count} mails wait: {read} rows were read")


@needs_dovecot
async def test_a_subject_is_no_link_in_the_alert_about_its_mail(
    house_settings: Settings, sandbox: Sandbox, server: Dovecot
) -> None:
    """No bot may open a ticket here: the mail fails, and operators read why."""
    async with open_mail_scene(house_settings, sandbox, {"inbox": mailbox_at(server, DESK)}) as scene:
        await scene.state("ready")
        server.deliver(a_mail("[Log in again](https://evil.example) <@1>"))
        await scene.until(lambda: scene.alerts)
        (alert,) = scene.alerts
        assert dict(alert.fields)["Subject"] == "\\[Log in again\\](https://evil.example) \\<\\@1\\>"
