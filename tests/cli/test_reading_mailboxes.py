"""What `fleet mailbox` shows: reasons in whole, foreign text as text, at any width."""

from __future__ import annotations

import pytest

from master.services.core.mailbox_views import MailboxRow, MailboxStep, MailboxTested, MailRow, MailTried
from master.terminal import mailboxes as shown

WHY = "imap.example.org refuses the login of support@example.org: [AUTHENTICATIONFAILED] Invalid credentials"


@pytest.mark.parametrize("width", [40, 80, None])
def test_a_reason_is_never_cut_off(width: int | None) -> None:
    row = MailboxRow(
        name="support", user="support@example.org", host="imap.example.org", state="quarantined", detail=WHY
    )
    other = MailboxRow(name="billing", user="b", host="h", state="ready", failed=2, last_mail_at=0.0)
    lines = [line.plain.rstrip() for line in shown.mailbox_lines([row, other], width=width)]
    assert f"  {WHY}" in lines
    assert len(lines) == 4
    assert lines[1].split()[:2] == ["support", "quarantined"]


def test_a_mail_says_what_came_of_it_and_nothing_in_it_acts() -> None:
    row = MailRow(
        id="01M83BP6B9PRX" + "0" * 13,
        mailbox="support",
        at=1_795_409_254.0,
        sender="eve@shop.example",
        subject="pay \x1b[31m\u202enow",
        is_trusted=False,
        state="failed",
        actions=("ticket: failed, TICKETS has no category 'x'",),
    )
    lines = [line.plain.rstrip() for line in shown.mail_lines([row], width=80)]
    assert lines[2:] == ["  pay \\x1b[31m\\u202enow", "  ticket: failed, TICKETS has no category 'x'"]
    assert "01M83BP6B9PRX" in lines[1]


def test_a_test_says_each_step_and_what_the_rules_would_do() -> None:
    step = MailboxStep(step="login", verdict="fail", detail=WHY, fix="an app password")
    tried = MailTried(
        sender="a@b.example", subject="", is_trusted=True, why="dkim of b.example", rule="r", action="post"
    )
    ignored = MailTried(sender="a@b.example", subject="x", is_trusted=False, why="none", detail="no rule fits")
    found = MailboxTested(name="support", steps=(step,), mails=(tried, ignored))
    lines = [line.plain.rstrip() for line in shown.tested_lines(found, width=80)]
    assert lines[0] == f"fail login  {WHY}"
    assert lines[1].strip() == "an app password"
    assert "  r: post  (no subject)  a@b.example" in lines
    assert lines[-2:] == ["  nothing  x  a@b.example", "    no rule fits"]
    assert not found.works
