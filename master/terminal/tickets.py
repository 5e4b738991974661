"""Tickets, and who is let into them, in the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rich.text import Text

from master.services.core.ticket_views import TicketDetails, TicketFinding, TicketPermissionRow, TicketRow, form_of
from master.terminal.columns import Column, Row, lay_out
from master.terminal.output import local_time, one_line
from master.wording import duration, visible

SHOWN_ID = 12
_STYLES = {
    **{"open": "green", "queued": "yellow", "opening": "cyan", "closing": "cyan", "closed": "dim", "deleted": "dim"},
    **{"asking": "yellow", "granting": "cyan", "granted": "green", "revoking": "cyan", "revoked": "dim"},
    **{"refused": "dim", "failed": "red", "ok": "green", "warn": "yellow", "fail": "red"},
}
_PRIORITIES = {"urgent": "red", "high": "yellow", "low": "dim"}
_COLUMNS = (
    Column("NO"),
    Column("NODE", 1, 16),
    Column("CATEGORY", 3),
    Column("STATE"),
    Column("PRIORITY", 4),
    Column("AUTHOR", 6),
    Column("CLAIMED BY", 7),
    Column("IDLE", 2),
)
_PERMISSION_COLUMNS = (
    Column("ID"),
    Column("TICKET"),
    Column("NODE", 2, 16),
    Column("WHO"),
    Column("AS"),
    Column("STATE"),
    Column("UNTIL", 1),
)


def ticket_lines(rows: Sequence[TicketRow], *, width: int | None) -> list[Text]:
    """Return tickets as a table, newest first, with their topics below."""
    now = time.time()
    laid = []
    for row in rows:
        cells: list[str | Text] = [
            str(row.number),
            visible(row.node),
            visible(row.category),
            _state(row),
            one_line((row.priority, _PRIORITIES.get(row.priority, ""))),
            str(row.author_id) if row.author_id else "by mail",
            str(row.claimed_by) if row.claimed_by else "-",
            duration(max(0.0, now - row.last_at)) if row.state == "open" else "-",
        ]
        laid.append(Row(cells, one_line(visible(row.topic or row.reason))))
    return lay_out(_COLUMNS, laid, width=width).lines


def _state(row: TicketRow) -> Text:
    words = f"queued ({row.position})" if row.position else row.state
    if row.warned_at is not None and row.state == "open":
        return one_line(("open, stale", "yellow"))
    return one_line((words, _STYLES.get(row.state, "")))


def details_lines(found: TicketDetails, *, width: int | None) -> Iterator[Text]:
    """Return one ticket with all that there is to it."""
    ticket = found.ticket
    yield one_line((f"ticket {ticket.number}", "bold"), "  ", _state(ticket), "  ", visible(ticket.topic))
    facts = {
        "id": ticket.id,
        "node": ticket.node,
        "category": ticket.category,
        "channel": (f"{ticket.channel_id}" + (", a thread" if ticket.is_thread else ""))
        if ticket.channel_id
        else "none",
        "author": str(ticket.author_id) if ticket.author_id else "by mail",
        "claimed by": str(ticket.claimed_by) if ticket.claimed_by else "nobody",
        "priority": ticket.priority,
        "opened": local_time(ticket.opened_at, "%Y-%m-%d %H:%M:%S"),
        "last written in": local_time(ticket.last_at, "%Y-%m-%d %H:%M:%S"),
    }
    if ticket.closed_at is not None:
        by = f" by {ticket.closed_by}" if ticket.closed_by else ""
        facts["closed"] = local_time(ticket.closed_at, "%Y-%m-%d %H:%M:%S") + by
    if ticket.reason:
        facts["reason"] = ticket.reason
    for label, words in facts.items():
        yield one_line((f"  {label:<16}", "dim"), visible(words))
    for question, answer in form_of(found):
        yield one_line((f"  {visible(question)}", "dim"))
        yield one_line("    ", visible(answer))
    if found.permissions:
        yield Text()
        yield from permission_lines(found.permissions, width=width)


def permission_lines(rows: Sequence[TicketPermissionRow], *, width: int | None) -> list[Text]:
    """Return permissions as a table, newest first; below it how to answer those that ask."""
    laid = []
    for row in rows:
        cells: list[str | Text] = [
            _short_id(row, rows),
            str(row.ticket),
            visible(row.node),
            str(row.subject_id),
            row.permission_set,
            one_line((row.state, _STYLES.get(row.state, ""))),
            local_time(row.until, "%m-%d %H:%M") if row.until else "-",
        ]
        note = "; ".join(filter(None, (row.detail, f"by {row.decided_by}" if row.decided_by else "")))
        laid.append(Row(cells, one_line(visible(note))))
    lines = lay_out(_PERMISSION_COLUMNS, laid, width=width).lines
    asking = [row for row in rows if row.state == "asking"]
    if asking:
        asks = f"{len(asking)} ask{'s' if len(asking) == 1 else ''}"
        words = f"{asks}: fleet tickets grant {_short_id(asking[0], rows)} or fleet tickets refuse ..."
        lines += [Text(), one_line((words, "yellow"))]
    return lines


def _short_id(row: TicketPermissionRow, rows: Sequence[TicketPermissionRow]) -> str:
    """Return as much of an id as tells it from the others."""
    for length in range(SHOWN_ID, len(row.id)):
        if sum(other.id.startswith(row.id[:length]) for other in rows) == 1:
            return visible(row.id[:length])
    return visible(row.id)


def finding_lines(found: Sequence[TicketFinding]) -> Iterator[Text]:
    """Return what is the matter with each category, as ``fleet doctor`` says it."""
    widest = max((len(one.category) for one in found), default=0)
    for one in found:
        mark = (f"{one.verdict:<4} ", _STYLES.get(one.verdict, ""))
        yield one_line(mark, f"{visible(one.category):<{widest}}  {visible(one.detail)}")
        if one.fix:
            yield one_line((f"     {'':<{widest}}  {visible(one.fix)}", "dim"))
