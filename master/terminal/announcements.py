"""Announcements, and what becomes of them at each place, in the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.text import Text

from master.services.core.announcement_views import (
    AnnouncementPlaceRow,
    AnnouncementPreview,
    AnnouncementRow,
    PlaceRow,
)
from master.terminal.columns import Column, Row, lay_out
from master.terminal.output import one_line
from master.wording import duration, moment, visible, visible_lines

_STYLES = {
    **{"sent": "green", "sending": "cyan", "waiting": "yellow", "scheduled": "cyan", "cancelled": "dim"},
    **{"failed": "red", "given_up": "red", "asked": "yellow"},
}
_WORDS = {"given_up": "given up", "asked": "not known"}
SHOWN_ID = 12
_COLUMNS = (Column("ID"), Column("STATE"), Column("DUE", 2), Column("PLACES", 1), Column("BY", 3, 40))
_PLACES = (Column("PLACE"), Column("SERVICE", 1), Column("CHARACTERS", 2))


def announcement_lines(rows: Sequence[AnnouncementRow], *, width: int | None) -> list[Text]:
    """Return announcements as a table, newest first, with how they begin below."""
    laid = []
    for row in rows:
        sent = sum(place.state == "sent" for place in row.places)
        cells: list[str | Text] = [
            row.id[:SHOWN_ID],
            _state(row.state),
            _moment(row.due_at),
            f"{sent} of {len(row.places)}" if not row.schedule else str(len(row.places)),
            visible(row.written_by),
        ]
        every = f"({row.schedule}) " if row.schedule else ""
        laid.append(Row(cells, one_line(visible(f"{every}{row.title or row.text}"))))
    return lay_out(_COLUMNS, laid, width=width).lines


def _when(row: AnnouncementRow) -> str:
    every = f", then {row.schedule}" if row.schedule else ""
    return f"{_moment(row.due_at)}{every}"


def _moment(at: float) -> str:
    """Write a moment in local time; of one that is to come on another day also the weekday and the date."""
    coming, now = datetime.fromtimestamp(at).astimezone(), datetime.now().astimezone()
    if coming <= now:
        return moment(at)
    return f"{coming:%H:%M}" if coming.date() == now.date() else f"{coming:%a %Y-%m-%d %H:%M}"


def _state(state: str) -> Text:
    return one_line((_WORDS.get(state, state), _STYLES.get(state, "")))


def result_lines(row: AnnouncementRow) -> Iterator[Text]:
    """Return what became of an announcement, a line for each place."""
    if row.state == "scheduled":
        every = f", and then at {row.schedule}" if row.schedule else ""
        names = ", ".join(visible(place.place) for place in row.places)
        yield one_line(("scheduled", "cyan"), f"  {row.id}  for {_moment(row.due_at)}{every}, to {names}")
        return
    longest = max((len(visible(place.place)) for place in row.places), default=0)
    for place in row.places:
        name = visible(place.place).ljust(longest)
        yield one_line(f"{name}  ", _state(place.state), f"  {_told(place)}".rstrip())
    if row.state not in ("sent", "cancelled"):
        sent = sum(place.state == "sent" for place in row.places)
        yield one_line(f"{sent} of {len(row.places)} places; `fleet announcements show {row.id[:SHOWN_ID]}` says more")


def _told(place: AnnouncementPlaceRow) -> str:
    words = visible(place.url if place.state == "sent" else place.detail)
    if place.state == "waiting" and place.next_at is not None and place.attempts:
        again = max(0.0, place.next_at - time.time())
        return f"{words}; attempt {place.attempts + 1} in {duration(again)}"
    if place.state == "asked":
        return f"{words}; look there, and `resend --to` if it is missing"
    return words


def details_lines(row: AnnouncementRow) -> Iterator[Text]:
    """Return an announcement with all that there is to it."""
    yield one_line((row.id, "bold"), "  ", _state(row.state), f"  by {visible(row.written_by)}")
    yield one_line(
        f"due {_when(row)}"
        + (f", {visible(row.detail)}" if row.detail else "")
        + (f", one time of {row.parent_id}" if row.parent_id else "")
    )
    if row.title:
        yield one_line((visible(row.title), "bold"))
    for line in visible_lines(row.text).split("\n"):
        yield one_line(f"  {line}")
    yield from result_lines(row)


def preview_lines(found: AnnouncementPreview) -> Iterator[Text]:
    """Return an announcement as each place would get it."""
    for one in found.places:
        head = f"{visible(one.place)}  {visible(one.service)}".rstrip()
        if one.problem:
            yield one_line((head, "bold"), "  ", (f"cannot be sent there: {visible(one.problem)}", "red"))
            continue
        cut = (f"  {one.cut} characters are cut off", "yellow") if one.cut else ""
        yield one_line((head, "bold"), *([cut] if cut else []))
        shown = [one.title] if one.title else []
        for line in [*shown, *visible_lines(_plain(one.text)).split("\n")]:
            yield one_line(f"  | {visible(line)}")
    if found.times:
        yield one_line(f"at {', '.join(_moment(at) for at in found.times)}")


def _plain(text: str) -> str:
    """Return a text without what keeps its mentions apart, which a terminal would show as an escape."""
    return text.replace("\u200b", "")


def place_lines(rows: Sequence[PlaceRow], *, width: int | None) -> list[Text]:
    """Return the places as a table; what is wrong with one below it."""
    laid = []
    for row in rows:
        most = "" if row.problem else str(row.text or "any number")
        below = one_line((visible(row.problem), "red")) if row.problem else Text()
        laid.append(Row([visible(row.place), visible(row.service) or "-", most], below, whole=True))
    return lay_out(_PLACES, laid, width=width).lines
