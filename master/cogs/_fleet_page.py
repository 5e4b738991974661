"""One page of /runbots, as a message that holds its own state: what it shows is read back from its menus and buttons.

So a press on a message from before a restart of the master works. What is read back is checked, like any input.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import discord

from master.bot.node_lines import is_troubled, node_lines, troubled_first
from master.configuration.settings import ColourSettings, EmojiSettings
from master.services.core.views import FleetStatus, NodeStatus
from master.wording import as_markdown, duration

PREFIX = "runbots1"
"""Of all custom ids; another number when their meaning changes, so that old messages are answered as old."""
PAGE = 20
_MAX_OPTIONS = 25
"""Of a select menu: https://discord.com/developers/docs/components/reference#string-select"""

Verb = Literal["filter", "choose", "page", "refresh", "start", "stop", "restart"]
_CUSTOM_ID = re.compile(rf"{PREFIX}:({'|'.join(get_args(Verb))}):(\d{{1,4}})", re.ASCII)
_FILTER = re.compile(r"(all|troubled|state|tag|name):(.{0,64})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which nodes are shown."""

    kind: str = "all"
    text: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.text}"

    @classmethod
    def read(cls, value: str) -> Filter:
        """Read what ``str`` wrote; anything else shows all."""
        found = _FILTER.fullmatch(value)
        return cls(found[1], found[2]) if found else cls()

    def fits(self, node: NodeStatus) -> bool:
        """Tell whether a node is shown."""
        match self.kind:
            case "troubled":
                return is_troubled(node)
            case "state":
                return node.state == self.text
            case "tag":
                return self.text in node.tags
            case "name":
                return self.text.casefold() in node.name.casefold()
            case _:
                return True

    @property
    def label(self) -> str:
        """What people read."""
        return {
            "all": "all nodes",
            "troubled": "troubled",
            "tag": f"tag {self.text}",
            "name": f"named {self.text}",
        }.get(self.kind, self.text)


@dataclass(frozen=True, slots=True)
class PageState:
    """What a message shows.

    Parameters
    ----------
    page
        From 1.
    chosen
        Ids of the chosen nodes.
    shown
        Ids of the nodes in its menu. While some are chosen, these stay: no node moves away beneath a finger.
    """

    filter: Filter = field(default_factory=Filter)
    page: int = 1
    chosen: frozenset[str] = frozenset()
    shown: tuple[str, ...] = ()

    def turned(self, page: int) -> PageState:
        """Return the state after turning to a page."""
        return replace(self, page=page, chosen=frozenset(), shown=())

    def filtered(self, value: str) -> PageState:
        """Return the state after choosing a filter."""
        return PageState(Filter.read(value))

    def choosing(self, values: list[str]) -> PageState:
        """Return the state after choosing nodes of the menu."""
        return replace(self, chosen=frozenset(values) & frozenset(self.shown))


@dataclass(frozen=True, slots=True)
class Pressed:
    """A press on a page.

    Parameters
    ----------
    number
        The page to turn to, of the verb ``page``.
    values
        What was chosen in a menu.
    """

    verb: Verb
    number: int
    values: list[str]


def pressed(data: Any) -> Pressed | None:
    """Read what was pressed; None if it is nothing of a page."""
    found = _CUSTOM_ID.fullmatch(str(data.get("custom_id", "")))
    if found is None:
        return None
    verb: Any = found[1]
    return Pressed(verb, int(found[2]), [str(value) for value in data.get("values", ())][:_MAX_OPTIONS])


def state_of(message: discord.Message) -> PageState:
    """Return what a message shows, from its components; what cannot be read is as at the beginning."""
    state = PageState()
    for row in message.components:
        for item in row.children if isinstance(row, discord.ActionRow) else ():
            found = _CUSTOM_ID.fullmatch(item.custom_id or "") if isinstance(item, discord.SelectMenu) else None
            if found is None or not isinstance(item, discord.SelectMenu):
                continue
            defaults = [option.value for option in item.options if option.default]
            if found[1] == "filter" and defaults:
                state = replace(state, filter=Filter.read(defaults[0]))
            elif found[1] == "choose":
                shown = tuple(option.value for option in item.options)
                state = replace(state, page=int(found[2]), shown=shown, chosen=frozenset(defaults) & frozenset(shown))
    return state


class _Buttons(discord.ui.View):
    """The menus and buttons of a page. No view waits for them: ``MasterBot.press_handlers`` does."""

    def __init__(self) -> None:
        super().__init__(timeout=None)

    def is_dispatchable(self) -> bool:
        """Tell discord.py not to keep the view: it would be one for each /runbots ever shown."""
        return False


def render(
    emojis: EmojiSettings, colours: ColourSettings, status: FleetStatus, state: PageState, *, note: str = ""
) -> tuple[discord.Embed, discord.ui.View, PageState]:
    """Return the page with its buttons, and the state that it shows (a page that is no more is the last).

    Parameters
    ----------
    note
        For the footer: until when it is live.
    """
    fitting = [node for node in troubled_first(status.nodes) if state.filter.fits(node)]
    pages = max((len(fitting) - 1) // PAGE + 1, 1)
    page = min(max(state.page, 1), pages)
    shown = fitting[(page - 1) * PAGE : page * PAGE]
    if state.chosen:
        held = {node.id: node for node in status.nodes}
        shown = [held[node_id] for node_id in state.shown if node_id in held] or shown
    ids = tuple(node.id for node in shown)
    state = replace(state, page=page, shown=ids, chosen=state.chosen & frozenset(ids))
    return _embed(emojis, colours, status, state, shown, pages, note), _view(status, state, shown, pages), state


def _embed(
    emojis: EmojiSettings,
    colours: ColourSettings,
    status: FleetStatus,
    state: PageState,
    shown: list[NodeStatus],
    pages: int,
    note: str,
) -> discord.Embed:
    ready = sum(node.state == "ready" for node in status.nodes)
    troubled = sum(map(is_troubled, status.nodes))
    nothing = "No nodes yet: /dupbot creates the first one."
    if status.nodes:
        nothing = f"No node is shown by this filter: {as_markdown(state.filter.label)}."
    embed = discord.Embed(
        title=f"{ready} of {len(status.nodes)} nodes ready" + (f" · {troubled} troubled" if troubled else ""),
        description=node_lines(emojis, shown, status.at) or nothing,
        colour=colours.error if troubled else colours.success,
        timestamp=discord.utils.utcnow(),
    )
    master = status.master
    if master.troubles:
        embed.add_field(name="The master's files", value=as_markdown("\n".join(master.troubles))[:1000], inline=False)
    if master.offline_since is not None:
        since = int(master.offline_since)
        why = as_markdown(master.offline_why[:300]) or "the master is not connected to Discord"
        embed.add_field(name="Offline", value=f"since <t:{since}:T> (<t:{since}:R>): {why}", inline=False)
    footer = [f"master up {duration(master.uptime_s)}", f"{master.rss_bytes / 2**20:.0f} MB", master.ledger]
    footer += [f"page {state.page} of {pages}"] if pages > 1 else []
    footer += ["/fleet why NODE tells more"] if troubled else []
    embed.set_footer(text=" · ".join([*footer, *([note] if note else [])]))
    return embed


def _view(status: FleetStatus, state: PageState, shown: list[NodeStatus], pages: int) -> discord.ui.View:
    view = _Buttons()
    view.add_item(_filter_menu(status, state.filter))
    view.add_item(_node_menu(state, shown))
    grey, green, blue, red = (
        discord.ButtonStyle.secondary,
        discord.ButtonStyle.success,
        discord.ButtonStyle.primary,
        discord.ButtonStyle.danger,
    )
    chosen = len(state.chosen)
    for label, verb, style in (("Start", "start", green), ("Restart", "restart", blue), ("Stop", "stop", red)):
        counted = f"{label} {chosen}" if chosen else label
        view.add_item(_button(counted, verb, 0, style, row=2, disabled=not chosen))
    view.add_item(_button("Refresh", "refresh", 0, grey, row=2))
    if pages > 1:
        view.add_item(_button("Back", "page", state.page - 1, grey, row=3, disabled=state.page == 1))
        view.add_item(_button("Next", "page", state.page + 1, grey, row=3, disabled=state.page == pages))
    return view


def _button(
    label: str, verb: Verb | str, number: int, style: discord.ButtonStyle, *, row: int, disabled: bool = False
) -> discord.ui.Button[Any]:
    return discord.ui.Button(
        label=label, custom_id=f"{PREFIX}:{verb}:{number}", style=style, row=row, disabled=disabled
    )


def _filter_menu(status: FleetStatus, current: Filter) -> discord.ui.Select[Any]:
    states = Counter(node.state for node in status.nodes)
    tags = Counter(tag for node in status.nodes for tag in node.tags)
    offered = [Filter(), Filter("troubled")]
    offered += [Filter("state", state) for state in sorted(states)]
    offered += [Filter("tag", tag) for tag, _ in tags.most_common()]
    kept = offered[:_MAX_OPTIONS]
    if current not in kept:
        kept[-1 if len(kept) == _MAX_OPTIONS else len(kept) :] = [current]
    options = [
        discord.SelectOption(
            label=f"{one.label} ({sum(map(one.fits, status.nodes))})"[:100], value=str(one), default=one == current
        )
        for one in kept
    ]
    return discord.ui.Select(custom_id=f"{PREFIX}:filter:0", options=options, row=0, placeholder="Show")


def _node_menu(state: PageState, shown: list[NodeStatus]) -> discord.ui.Select[Any]:
    options = [
        discord.SelectOption(label=node.name, value=node.id, description=node.state, default=node.id in state.chosen)
        for node in shown
    ]
    return discord.ui.Select(
        custom_id=f"{PREFIX}:choose:{state.page}",
        options=options or [discord.SelectOption(label="no nodes", value="-")],
        placeholder="Choose nodes",
        min_values=0,
        max_values=max(len(options), 1),
        disabled=not options,
        row=1,
    )
