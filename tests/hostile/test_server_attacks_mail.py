"""Whoever writes mails attacks those who read them: is vouched for as another, writes in another's ticket, keeps a mail
from being seen, has an answer sent elsewhere. Each test here failed once."""

from __future__ import annotations

import pytest

from master.services.mailbox.mail_content import MailContent
from master.services.mailbox.reading import read_head
from master.services.mailbox.trust import judge
from tests.services.mailbox.scene import MX

BANK = "bank.example"
_INSIDE = f'"a) ; dkim=pass header.d={BANK}; x=("@evil.example'


def head(*lines: str) -> MailContent:
    return read_head("\r\n".join((*lines, "", "")).encode(), (), authserv_id=MX, size=1)


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
