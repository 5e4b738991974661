"""Mails as they come: broken, hostile, forged. What is made of them is bounded, and nothing in it acts."""

from __future__ import annotations

import random
from contextlib import suppress
from email.message import EmailMessage
from typing import Any

import pytest

from master.configuration.settings import ColourSettings, MailboxSettings, MailRule, Settings
from master.ledger.rows.mail_records import Mail, MailAction
from master.services.mailbox.errors import MailServerOdd
from master.services.mailbox.html_text import text_of_html
from master.services.mailbox.imap_parsing import Part, items_of, parse, parts_of
from master.services.mailbox.imap_session import encoded_folder
from master.services.mailbox.mail_content import TEXT_CHARACTERS, Attachment, MailContent, Verdict
from master.services.mailbox.mail_notices import mail_notice
from master.services.mailbox.reading import mail_hash_of, read_head, read_text
from master.services.mailbox.rules import Rules
from master.services.mailbox.trust import judge
from sandbox import Sandbox
from tests.conftest import TurnableClock
from tests.hostile.effort import rounds
from tests.services.mailbox.dovecot import Dovecot, a_mail, needs_dovecot
from tests.services.mailbox.scene import MX, VOUCHED, mailbox_at, open_mail_scene


def head(*lines: str) -> MailContent:
    return read_head("\r\n".join((*lines, "", "")).encode("utf-8", "surrogateescape"), (), authserv_id=MX, size=1)


@pytest.mark.parametrize(
    ("headers", "trusted"),
    [
        ([VOUCHED], True),
        ([f"{MX}; dmarc=pass (p=reject) header.from=shop.example"], True),
        ([f"{MX.upper()} 1; dkim=pass (ok; really) header.i=@shop.example"], True),
        # Its parent speaks for it, a neighbour and a child do not.
        ([f"{MX}; spf=pass smtp.mailfrom=bounce@example"], False),
        ([f"{MX}; dkim=pass header.d=mail.shop.example"], False),
        ([f"{MX}; dkim=pass header.d=evil.example"], False),
        ([f"{MX}; dkim=pass header.d=notshop.example"], False),
        ([f"{MX}; spf=pass smtp.helo=shop.example"], False),
        ([f"{MX}; dkim=fail header.d=shop.example; spf=softfail smtp.mailfrom=eve@shop.example"], False),
        ([f'{MX}; dkim=fail reason="; dkim=pass header.d=shop.example"'], False),
        ([f"{MX}; dkim=none (; dkim=pass header.d=shop.example)"], False),
        ([f'{MX}; x="a\\"; dkim=pass header.d=shop.example'], False),
        ([f"{MX}; none"], False),
        # Below the topmost is whatever the sender wrote.
        (["mx.evil.example; dkim=pass header.d=shop.example"], False),
        ([f"{MX}; dkim=none", VOUCHED], False),
        (["other.example; none", VOUCHED], False),
        ([], False),
    ],
)
def test_only_ones_own_server_vouches(headers: list[str], trusted: bool) -> None:
    verdict = judge(headers, MX, "shop.example")
    assert verdict.is_trusted is trusted, verdict.why
    assert not judge(headers, "", "shop.example").is_trusted
    assert not judge(headers, MX, "").is_trusted


@pytest.mark.parametrize(
    ("lines", "sender"),
    [
        (["From: Eve <eve@shop.example>"], "eve@shop.example"),
        (["From: eve@shop.example"], "eve@shop.example"),
        (["From: =?utf-8?q?J=C3=BCrgen?= <j@shop.example>"], "j@shop.example"),
        (['From: "trusted@bank.example" <eve@shop.example>'], "eve@shop.example"),
        (["From: a@bank.example, eve@shop.example"], ""),
        (["From: a@bank.example", "From: eve@shop.example"], ""),
        (["From: eve@shop.example <a@bank.example>, x"], ""),
        (["From: a@bank.example <eve@shop.example>"], "eve@shop.example"),
        (["From: eve@shop.example (a@bank.example)"], "eve@shop.example"),
        (["From: Friends: a@bank.example, eve@shop.example;"], ""),
        (["From: <a@bank.example> <eve@shop.example>"], ""),
        (["From: "], ""),
        (["From: eve@shop.example\x00@bank.example"], ""),
        (['From: "' + "x" * 60_000], ""),
        (["From: " + "<" * 50_000 + ">" * 10_000], ""),
        (["From: " + "(" * 1_900], ""),
        (["Subject: no sender"], ""),
    ],
)
def test_a_sender_is_one_address_or_none(lines: list[str], sender: str) -> None:
    assert head(*lines).sender == sender


def test_headers_are_read_as_far_as_they_can_be() -> None:
    found = head(
        "Subject: =?utf-8?q?caf=C3=A9?= =?no-such-charset?q?x?= \udcff",
        "References: <a@b> <c@d>",
        "In-Reply-To: <e@f>",
        "List-Id: News <news.shop.example>",
        "Date: not a date",
        "Precedence: bulk",
    )
    assert found.subject.startswith(("café", "=?utf-8?q?caf"))
    assert found.references == ("<e@f>", "<c@d>", "<a@b>")
    assert (found.list_id, found.sent_at, found.automatic) == ("news.shop.example", None, "Precedence: bulk")
    one, other = (f"Message-ID: <a@b>\r\nFrom: {who}\r\n\r\n".encode() for who in ("eve@x.example", "mal@x.example"))
    assert mail_hash_of(one) == mail_hash_of(one) != mail_hash_of(other)


def test_html_is_text() -> None:
    page = """<html><head><title>no</title><style>p{}</style></head><body><script>alert(1)</script>
    <p>Dear&nbsp;you,</p><p>pay <a href="https://evil.example/?a=1&amp;b=2">your bank</a>
    <a href="javascript:x()">or not</a></p><ul><li>one<li>two</ul><img alt="logo" src=x> 3 < 4 <!-- gone --> end"""
    text = text_of_html(page, 10_000)
    assert "your bank <https://evil.example/?a=1&b=2>" in text
    assert all(word in text for word in ("Dear\xa0you", "- one", "- two", "[logo]", "3 < 4", "end"))
    assert not any(word in text for word in ("alert", "p{}", "javascript", "gone", "title"))


@pytest.mark.parametrize(
    "bomb",
    [
        *("<" * 131_072, "<a" * 65_536, "<!--" * 32_768, "<!-" * 43_000, "<p " + "a='" * 40_000, "<div>" * 26_000),
        *("&" * 131_072, "&#x" * 43_000, "<script>" * 16_000, "</" * 65_000, "<a href=" * 16_000, "<![CDATA[" * 14_000),
    ],
)
def test_an_html_bomb_is_small_and_soon_read(bomb: str) -> None:
    # Each of them is read once: with a search for each of its characters this would take minutes.
    part = Part(section="1", kind="text/html", charset="utf-8", encoding="8bit", size=len(bomb))
    text, _ = read_text(part, bomb.encode())
    assert len(text) <= TEXT_CHARACTERS


def test_parts_are_found_whatever_they_are() -> None:
    shape = (
        b'(UID 7 BODYSTRUCTURE ((("TEXT" "PLAIN" ("CHARSET" "utf-8") NIL NIL "QUOTED-PRINTABLE" 12 1)'
        b'("TEXT" "HTML" NIL NIL NIL "BASE64" 99 1) "ALTERNATIVE")'
        b'("APPLICATION" "PDF" ("NAME" "a) (b\\".pdf") NIL NIL "BASE64" 50000000 NIL ("ATTACHMENT" '
        b'("FILENAME*" "utf-8\'\'%E2%82%AC%20rates.pdf")) NIL NIL)'
        b'("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 10 ("envelope") ("TEXT" "PLAIN" NIL NIL NIL "7BIT" 1 1) 1) "MIXED"))'
    )
    (fetched,) = parse([shape])
    parts = parts_of(items_of(fetched)["BODYSTRUCTURE"])
    assert [(part.section, part.kind, part.is_attachment) for part in parts] == [
        ("1.1", "text/plain", False),
        ("1.2", "text/html", False),
        ("2", "application/pdf", True),
        ("3", "message/rfc822", True),
    ]
    assert (parts[2].name, parts[2].size) == ("€ rates.pdf", 50_000_000)
    assert encoded_folder("Entwürfe & mehr") == "Entw&APw-rfe &- mehr"


def test_rules_are_tried_in_their_order() -> None:
    rules = Rules(
        MailboxSettings(
            host="h",
            user="u",
            rules={
                "pay": MailRule(sender=r"@shop\.example", subject="payment", action="notify"),
                "loose": MailRule(subject="payment", action="post", trusted=False),
                "cure": MailRule(body="leaked", action="solution", trusted=False),
            },
        )
    )
    trusted, not_trusted = Verdict(True, "dkim"), Verdict(False, "no dkim")
    mail = MailContent(sender="a@shop.example", subject="PAYMENT failed", text="x", verdict=trusted)
    evil = MailContent(sender="a@shop.example.evil.org", subject="payment failed", text="x", verdict=trusted)
    forged = MailContent(sender="a@shop.example", subject="Payment failed", text="x", verdict=not_trusted)
    acting = MailContent(sender="a@shop.example", subject="x", text="your token leaked", verdict=not_trusted)
    found = [rules.first_that_fits(one) for one in (mail, evil, forged, acting)]
    assert [None if one is None else one[0] for one in found] == ["pay", "loose", "loose", None]
    assert rules.why_not(acting) == "cure would fit, but no dkim"


def test_nothing_in_a_mail_acts_on_discord(clock: TurnableClock) -> None:
    evil = "@everyone <@1> [x](https://evil.example) ``` \u202egnp.exe ||x||"
    content = MailContent(
        sender="eve@shop.example",
        sender_name=evil,
        subject=evil,
        text=f"{evil}\n" * 500,
        attachments=tuple(Attachment(evil, evil, 5_000_000) for _ in range(20)),
        more_attachments=7,
        verdict=Verdict(False, evil),
    )
    now = clock.now()
    mail = Mail(
        id="01" * 13, mailbox="inbox", uid_validity=1, uid=1, mail_hash=b"", message_id="", sender="", subject=evil,
        at=now, is_trusted=False, content="", state="acting", changed_at=now,
    )  # fmt: skip
    action = MailAction(mail_id=mail.id, number=0, rule="r", action="post", plan="", state="doing", changed_at=now)
    notice = mail_notice(mail, content, action, ColourSettings())
    (embed,) = notice.embeds
    assert notice.text == ""
    assert notice.mention_users == ()
    assert embed.description.count("```") == 2
    assert "\u202e" not in embed.description
    whole = embed.title + embed.description + embed.footer + "".join(f.name + f.value for f in embed.fields)
    assert len(whole) <= 6_000
    assert all(len(field.value) <= 1_024 for field in embed.fields)
    assert embed.fields[-1].value.endswith("more")


def test_whatever_comes_is_read_without_an_error() -> None:
    rng = random.Random(11)  # noqa: S311 # not for secrets
    samples = [a_mail("Hi", Authentication_Results=VOUCHED, List_Id="<a.b>").as_bytes(), b"\x00" * 100, b""]
    words = (b"=?utf-8?b?", b"?=", b"\r\n ", b"(", b'"', b"<", b"@", b";", b"\xff", b"=?idna?q?", b"\\", b"From: ")
    for _ in range(rounds(400)):
        raw = bytearray(rng.choice(samples))
        for _ in range(rng.randint(1, 12)):
            at = rng.randrange(len(raw) + 1)
            raw[at:at] = rng.choice(words) * rng.choice((1, 1, 2, 300))
        mail_hash_of(bytes(raw))
        content = read_head(bytes(raw), (), authserv_id=MX, size=1)
        kind, encoding = rng.choice(("text/plain", "text/html")), rng.choice(("base64", "quoted-printable", "8bit"))
        part = Part(section="1", kind=kind, charset=rng.choice(("utf-8", "utf-16", "zip", "\x00")), encoding=encoding)
        text, _ = read_text(part, bytes(raw))
        assert len(text) <= TEXT_CHARACTERS
        assert len(content.subject) <= 300
        with suppress(MailServerOdd):
            parse([bytes(raw)])


@needs_dovecot
async def test_real_mails_are_read_and_a_huge_one_costs_its_text(
    house_settings: Settings, sandbox: Sandbox, server: Dovecot
) -> None:
    big = a_mail("Big", "Only this is fetched.\n")
    big.add_attachment(b"\x00" * (8 << 20), maintype="application", subtype="zip", filename="dump (1).zip")
    broken = b'From: eve@shop.example\nSubject: Broken\nContent-Type: multipart/mixed; boundary="x\n\n--x\n\nhm'
    both = EmailMessage()
    both["From"], both["Subject"], both["Message-ID"] = "eve@shop.example", "Both", "<both@shop.example>"
    both.set_content("<b>only</b> HTML", subtype="html")
    async with open_mail_scene(house_settings, sandbox, {"inbox": mailbox_at(server)}) as scene:
        await scene.state("ready")
        for mail in (big, broken, both):
            server.deliver(mail)
        await scene.acted(3)
        shown: dict[str, Any] = {m.embeds[0]["title"]: m.embeds[0] for m in scene.posts()}
        assert "Only this is fetched." in shown["Big"]["description"]
        listed = shown["Big"]["fields"][-1]
        assert listed["name"] == "Attachments, not fetched"
        assert listed["value"].startswith("dump (1).zip (application/zip, 1")
        assert set(shown) == {"Big", "Broken", "Both"}
        assert shown["Both"]["description"] == "```\nonly HTML\n```"
