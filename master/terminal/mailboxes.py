"""Mailboxes and mails in the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rich.text import Text

from master.services.core.mailbox_views import MailboxRow, MailboxTested, MailRow, MailTried
from master.terminal.columns import Column, Row, lay_out
from master.terminal.output import local_time, one_line
from master.wording import duration, visible

SHOWN_ID = 13
_STYLES = {
    **{"ready": "green", "starting": "yellow", "stopped": "dim", "degraded": "dark_orange", "backoff": "red"},
    **{"quarantined": "red", "done": "green", "acting": "cyan", "seen": "cyan", "ignored": "dim", "failed": "red"},
    **{"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"},
}
_MAILBOX_COLUMNS = (
    Column("MAILBOX"),
    Column("STATE"),
    Column("USER", 1, 24),
    Column("OPEN"),
    Column("DONE", 3),
    Column("IGNORED", 4),
    Column("FAILED"),
    Column("LAST MAIL", 2),
)
_MAIL_COLUMNS = (
    Column("ID"),
    Column("AT", 2),
    Column("MAILBOX", 4),
    Column("FROM", 1, 28),
    Column("VOUCHED", 3),
    Column("STATE"),
)


def mailbox_lines(rows: Sequence[MailboxRow], *, width: int | None) -> list[Text]:
    """Return mailboxes as a table, with what is wrong below each."""
    now = time.time()
    laid = []
    for row in rows:
        cells: list[str | Text] = [
            visible(row.name),
            _styled(row.state),
            visible(f"{row.user} at {row.host}"),
            str(row.open),
            str(row.done),
            str(row.ignored),
            one_line((str(row.failed), "red" if row.failed else "")),
            "-" if row.last_mail_at is None else f"{duration(max(0.0, now - row.last_mail_at))} ago",
        ]
        laid.append(Row(cells, Text()))
    return _with_notes(lay_out(_MAILBOX_COLUMNS, laid, width=width).lines, [[row.detail] for row in rows])


def _with_notes(table: list[Text], notes: Sequence[Sequence[str]]) -> list[Text]:
    """Put what there is to say of each row below it, whole: a reason that is cut off is none."""
    head, rows = table[: len(table) - len(notes)], table[len(table) - len(notes) :]
    lines = list(head)
    for row, below in zip(rows, notes, strict=True):
        lines += [row, *(one_line((f"  {visible(note)}", "dim")) for note in below if note)]
    return lines


def mail_lines(rows: Sequence[MailRow], *, width: int | None) -> list[Text]:
    """Return mails as a table, newest first, each with its subject and what came of it below."""
    laid = []
    for row in rows:
        cells: list[str | Text] = [
            row.id[:SHOWN_ID],
            local_time(row.at, "%m-%d %H:%M"),
            visible(row.mailbox),
            visible(row.sender) or "-",
            "yes" if row.is_trusted else "no",
            _styled(row.state),
        ]
        laid.append(Row(cells, Text()))
    notes = [[row.subject or "(no subject)", "; ".join(row.actions) or row.detail] for row in rows]
    return _with_notes(lay_out(_MAIL_COLUMNS, laid, width=width).lines, notes)


def tested_lines(found: MailboxTested, *, width: int | None) -> Iterator[Text]:
    """Return the steps of a test, and what would be done about the last mails."""
    widest = max((len(step.step) for step in found.steps), default=0)
    for step in found.steps:
        mark = (f"{step.verdict:<4} ", _STYLES.get(step.verdict, ""))
        yield one_line(mark, f"{step.step:<{widest}}  {visible(step.detail)}")
        if step.fix:
            yield one_line((f"     {'':<{widest}}  {visible(step.fix)}", "dim"))
    if not found.mails:
        return
    yield Text()
    yield one_line((f"What the rules would do with the last {len(found.mails)}; nothing was done:", "bold"))
    for mail in found.mails:
        yield one_line(
            f"  {_outcome(mail)}  ", visible(mail.subject) or "(no subject)", (f"  {visible(mail.sender)}", "dim")
        )
        why = mail.detail or mail.why
        yield one_line((f"    {visible(why)}", "dim"))


def _outcome(mail: MailTried) -> str:
    return f"{visible(mail.rule)}: {mail.action}" if mail.action else "nothing"


def _styled(state: str) -> Text:
    return one_line((state, _STYLES.get(state, "")))
