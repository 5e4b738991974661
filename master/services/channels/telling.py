"""What operators are told about channels: one alert for what one burst of changes came to, with buttons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from master.events import AlertButton, AlertLevel
from master.ledger.rows.records import ChannelRepair
from master.services.channels.repairing import found_of, wanted_of
from master.services.channels.survey import Survey
from master.services.channels.tools import ChannelTools
from master.services.channels.tree import Look
from master.services.channels.wording import in_words
from master.wording import as_markdown

PREFIX = "selffix"
"""What the custom ids of buttons begin with."""
MOST_LINES = 15


class Telling:
    """Raise alerts about channels."""

    def __init__(self, tools: ChannelTools) -> None:
        self._tools = tools
        self._told_failures: dict[str, str] = {}
        self._told_troubles: tuple[str, ...] = ()

    def report(self, repairs: Sequence[ChannelRepair]) -> None:
        """Tell what became of the drifts of one look."""
        by_state: dict[str, list[ChannelRepair]] = defaultdict(list)
        for one in repairs:
            by_state[one.state].append(one)
        for one in by_state["repaired"]:
            self._told_failures.pop(f"{one.key}:{one.drift}", None)
        if done := [one for one in by_state["repaired"] if one.changed_by.startswith("system:")]:
            self._tell_repaired(done)
        if asked := by_state["asked"]:
            self._ask(asked)
        news = [one for one in by_state["failed"] if self._told_failures.get(f"{one.key}:{one.drift}") != one.detail]
        if news:
            self._told_failures |= {f"{one.key}:{one.drift}": one.detail for one in news}
            self._tools.alerts.raise_alert(
                AlertLevel.ERROR,
                f"{_count(news)} could not be put right",
                key=f"{PREFIX}:failed:{news[0].id}",
                text=_lines(news, why=True),
            )

    def troubles(self, survey: Survey) -> None:
        """Tell what is wrong with what is wanted, once for each time that it changes."""
        found = (
            *survey.troubles,
            *(f"{key}: there is no channel {channel_id}" for key, channel_id in survey.unknown.items()),
        )
        if found and found != self._told_troubles:
            self._tools.alerts.raise_alert(
                AlertLevel.WARNING,
                "Some channels cannot be looked after",
                key=f"{PREFIX}:troubles",
                text="\n".join(found)[:1_500],
            )
        self._told_troubles = tuple(found)

    def _tell_repaired(self, done: Sequence[ChannelRepair]) -> None:
        self._tools.alerts.raise_alert(
            AlertLevel.WARNING,
            f"{_count(done)} put right",
            key=f"{PREFIX}:{done[0].id}",
            text=_lines(done, why=True),
            fields=_who(done),
            buttons=(AlertButton(label="Undo", custom_id=f"{PREFIX}:undo:{_span(done)}", style="danger"),),
        )

    def _ask(self, asked: Sequence[ChannelRepair]) -> None:
        span = _span(asked)
        self._tools.alerts.raise_alert(
            AlertLevel.WARNING,
            f"{_count(asked)} changed: put right?",
            key=f"{PREFIX}:{asked[0].id}",
            text=f"{_lines(asked)}\nWhy this is asked: {asked[0].detail}.",
            fields=_who(asked),
            buttons=(
                AlertButton(label="Repair", custom_id=f"{PREFIX}:repair:{span}", style="primary"),
                AlertButton(label="Leave it", custom_id=f"{PREFIX}:leave:{span}", style="secondary"),
                AlertButton(label="Mute 1 h", custom_id=f"{PREFIX}:mute:{span}", style="secondary"),
            ),
        )


def line_of(repair: ChannelRepair) -> str:
    """Return what a repair is about, in one line."""
    found: Look | None = found_of(repair).look
    return in_words(repair.drift, repair.key, wanted_of(repair), found)


def _lines(repairs: Sequence[ChannelRepair], *, why: bool = False) -> str:
    lines = [f"{line_of(one)}{f': {one.detail}' if one.detail and why else ''}" for one in repairs[:MOST_LINES]]
    more = len(repairs) - len(lines)
    return "\n".join([*lines, *([f"... and {more} more: `fleet channels history`"] if more else [])])


def _who(repairs: Sequence[ChannelRepair]) -> tuple[tuple[str, str], ...]:
    people = {one.culprit_id: one.culprit for one in repairs if one.culprit_id}
    if not people:
        return (
            ("Who", "Discord's audit log does not say; the master needs View Audit Log, and moves are never in it"),
        )
    names = [f"<@{user_id}>{f' ({as_markdown(name)})' if name else ''}" for user_id, name in people.items()]
    return (("Who", ", ".join(names[:10])),)


def _count(repairs: Sequence[ChannelRepair]) -> str:
    count = len({one.key for one in repairs})
    return "1 channel" if count == 1 else f"{count} channels"


def _span(repairs: Sequence[ChannelRepair]) -> str:
    """Return what names repairs of one look in a button: the first and the last of them."""
    ids = sorted(one.id for one in repairs)
    return f"{ids[0]}:{ids[-1]}"
