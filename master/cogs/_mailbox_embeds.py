"""How /mailbox shows mailboxes and mails. Foreign text is never markup."""

from __future__ import annotations

from collections.abc import Sequence

from master.bot.embeds import shortened
from master.configuration.settings import EmojiSettings
from master.services.core.mailbox_views import MailboxRow, MailboxTested
from master.wording import as_markdown

_LINE_CHARACTERS = 300


def mailbox_lines(emojis: EmojiSettings, rows: Sequence[MailboxRow]) -> list[str]:
    """Return what is said of each mailbox."""
    return [_mailbox_line(emojis, row) for row in rows] or ["MAILBOXES in config.py has none."]


def _mailbox_line(emojis: EmojiSettings, row: MailboxRow) -> str:
    marks = {"ready": emojis.success, "starting": emojis.starting, "stopped": emojis.stopped}
    last = f", last mail <t:{int(row.last_mail_at)}:R>" if row.last_mail_at is not None else ""
    counts = f"{row.done} done, {row.ignored} ignored" + (f", **{row.failed} failed**" if row.failed else "")
    detail = f"\n{shortened(as_markdown(row.detail), _LINE_CHARACTERS)}" if row.detail else ""
    mark = marks.get(row.state, emojis.error)
    return f"{mark} **{as_markdown(row.name)}** {row.state}: {counts}{last}{detail}"


def tested_lines(emojis: EmojiSettings, found: MailboxTested) -> list[str]:
    """Return the steps of a test, and what the rules would do."""
    marks = {"ok": emojis.success, "warn": emojis.starting, "fail": emojis.error}
    lines = []
    for step in found.steps:
        fix = f"\n{as_markdown(step.fix)}" if step.fix else ""
        lines.append(f"{marks.get(step.verdict, '-')} **{step.step}**: {as_markdown(step.detail)}{fix}")
    for mail in found.mails:
        what = f"**{as_markdown(mail.rule)}**, {mail.action}" if mail.action else "nothing"
        why = as_markdown(mail.detail or mail.why)
        head = f"{as_markdown(mail.subject) or '(no subject)'} from {as_markdown(mail.sender)}: {what}"
        lines.append(shortened(f"{head} ({why})", _LINE_CHARACTERS))
    return lines
