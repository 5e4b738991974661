"""Giveaways on the terminal: the list, one of them, a draw that was checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from rich.text import Text

from master.services.core.giveaway_views import GiveawayDetails, GiveawayRules, GiveawaysView, GiveawayView
from master.terminal.columns import Column, Row, lay_out
from master.terminal.output import local_time, one_line
from master.wording import duration, visible, visible_lines

_STYLES = {"open": "green", "scheduled": "cyan", "drawing": "yellow", "drawn": "", "cancelled": "bright_black"}
_COLUMNS = (
    Column("ID"),
    Column("STATE"),
    Column("ENDS", 1),
    Column("ENTRIES", 2, align="right"),
    Column("WINNERS", 3, align="right"),
)
_LABEL = 12
SHOWN_ID = 13
"""Characters of an id: the millisecond in which it was made, and 15 random bits."""


class DrawOf(Protocol):
    """One draw of a checked file."""

    @property
    def winners(self) -> Sequence[int]:
        """Return who won it."""
        ...


def giveaways_lines(found: GiveawaysView, *, width: int | None) -> Iterator[Text]:
    """Render the list, a line at a time."""
    if not found.giveaways:
        yield Text("there was no giveaway yet: /giveaway start, on Discord, starts one")
        return
    rows = [
        Row(
            [
                view.id[:SHOWN_ID],
                one_line((view.state, _STYLES.get(view.state, ""))),
                local_time(view.ends_at, "%m-%d %H:%M"),
                str(view.entries),
                str(view.winners),
            ],
            one_line(visible(view.prize)),
        )
        for view in found.giveaways
    ]
    yield from lay_out(_COLUMNS, rows, width=width, note="PRIZE").lines


def giveaway_lines(details: GiveawayDetails) -> Iterator[Text]:
    """Render one giveaway, a line at a time."""
    view = details.giveaway
    yield one_line((visible(view.prize), "bold"))
    for label, text in _facts(details, view):
        yield Text(f"{label:<{_LABEL}}") + Text(text)
    if details.winners:
        yield Text()
    for winner in details.winners:
        note = f": {visible(winner.detail)}" if winner.detail else ""
        until = ""
        if winner.state == "told" and winner.claim_until is not None:
            until = f", may claim until {local_time(winner.claim_until, '%m-%d %H:%M')}"
        yield Text(f"draw {winner.draw}, place {winner.place + 1}: {winner.user_id} {winner.state}{until}{note}")


def checked_lines(
    *, prize: str, giveaway_id: str, seed_hash: str, entries: int, draws: Sequence[DrawOf], problems: Sequence[str]
) -> Iterator[Text]:
    """Render what the check of a draw's file found."""
    if problems:
        yield one_line(("✗ this draw does not fit", "bold red"))
        for problem in problems:
            yield Text(f"  {visible(problem)}")
    else:
        people = "entry" if entries == 1 else "entries"
        times = "1 draw" if len(draws) == 1 else f"{len(draws)} draws"
        yield one_line((f"✓ the draw is as its rule says: {times} of {entries:,} {people}", "bold green"))
    yield Text(f"{'giveaway':<{_LABEL}}{visible(giveaway_id)}: {visible(prize)}")
    yield Text(f"{'seed hash':<{_LABEL}}{visible(seed_hash)}")
    for number, draw in enumerate(draws):
        winners = ", ".join(str(user_id) for user_id in draw.winners) or "nobody"
        yield Text(f"{f'draw {number}':<{_LABEL}}{winners}")
    yield Text()
    yield Text(
        "The seed hash must be the one that the giveaway's message showed before it ended.", style="bright_black"
    )


def _facts(details: GiveawayDetails, view: GiveawayView) -> Iterator[tuple[str, str]]:
    yield "id", view.id
    yield "state", view.state + (f": {visible(details.reason)}" if details.reason else "")
    if details.description:
        yield "text", visible_lines(details.description).replace("\n", f"\n{' ' * _LABEL}")
    yield "starts", local_time(view.starts_at, "%Y-%m-%d %H:%M:%S")
    yield "ends", local_time(view.ends_at, "%Y-%m-%d %H:%M:%S")
    yield "entries", f"{view.entries:,}"
    yield "winners", f"{view.winners}"
    if rules := _rules(details.rules):
        yield "to enter", rules
    if details.prize_tier:
        yield "prize", f"a licence of the tier {visible(details.prize_tier)}"
    if details.claim_s:
        yield "claim", f"within {duration(details.claim_s)}"
    yield "seed hash", view.seed_hash
    if details.entries_hash:
        yield "entry hash", details.entries_hash
    yield "where", f"server {view.guild_id}, channel {view.channel_id}, message {view.message_id or '-'}"
    yield "started by", str(details.started_by)
    yield "changed", f"{local_time(details.changed_at, '%Y-%m-%d %H:%M:%S')} by {visible(details.changed_by)}"


def _rules(rules: GiveawayRules) -> str:
    said = [f"role {role_id}" for role_id in rules.role_ids]
    if rules.account_days:
        said.append(f"account {rules.account_days} d old")
    if rules.member_days:
        said.append(f"member for {rules.member_days} d")
    if rules.tier:
        said.append(f"licence {visible(rules.tier)}")
    said += [f"role {bonus.role_id}: +{bonus.entries}" for bonus in rules.bonus]
    return ", ".join(said)
