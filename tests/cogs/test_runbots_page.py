"""What /runbots looks like on a phone: with 3, 25 and 200 nodes, in any state, with any name.

``python -m tests.cogs.test_runbots_page`` prints the pages.
"""

from __future__ import annotations

import itertools
import random
import re
from typing import Any

import discord
import pytest
from msgspec.structs import replace

from master.bot.embeds import DESCRIPTION_CHARACTERS, fitted
from master.bot.node_lines import LINE_CHARACTERS, is_troubled, node_lines
from master.cogs._fleet_page import PAGE, Filter, PageState, pressed, render
from master.configuration.settings import ColourSettings, EmojiSettings
from master.services.core.views import FleetStatus, MasterStatus, NodeStatus

NOW = 1_795_342_316.0
STATES = ("ready", "stopped", "starting", "degraded", "offline", "backoff", "quarantined", "missing", "stopping")
REASONS = {
    "degraded": "2 cogs failed: music, fun",
    "backoff": "exited with code 1: ModuleNotFoundError: No module named 'nextcord'",
    "quarantined": "6 exits in 60 s: discord.errors.LoginFailure: Improper token has been passed.",
    "missing": "its folder is gone",
}
NAMES = ("atlas", "borealis", "cassini", "dione", "europa", "music_bot", "a-bot-with-a-name-as-long-as-it-may-be-1")


def node(number: int, state: str, name: str = "") -> NodeStatus:
    runs = state in ("ready", "degraded", "starting", "offline", "stopping")
    return NodeStatus(
        id=f"01HZ{number:022}",
        name=name or f"{NAMES[number % len(NAMES) - 1][:36]}-{number}",
        state=state,
        desired="stopped" if state == "stopped" else "running",
        readiness="handshake",
        folder="x",
        bot_user_id="1",
        tags=("music",) if number % 2 else (),
        pid=4000 + number if runs else None,
        uptime_s=61.0 * number * number + 7 if runs else None,
        rss_bytes=41 * 2**20 if runs else None,
        restarts=number % 3,
        offline_since=NOW - 90 if state == "offline" else None,
        next_start_in_s=240.0 if state in ("backoff", "quarantined") else None,
        last_exit=REASONS.get(state, ""),
        detail=REASONS.get(state, ""),
    )


def fleet(count: int) -> FleetStatus:
    """Return a fleet in which about one node of eight is in trouble."""
    rng = random.Random(count)  # noqa: S311 - a fleet, no secret
    nodes = [node(at, "ready" if rng.random() < 0.85 else rng.choice(STATES)) for at in range(1, count + 1)]
    nodes[count // 2] = node(count // 2 + 1, "backoff")
    master = MasterStatus(
        pid=1,
        version="1",
        uptime_s=7_800.0,
        cpu_percent=0.3,
        cpu_seconds=1.0,
        rss_bytes=61 * 2**20,
        discord="ready",
        ledger="sqlite",
        home="/srv/fleet",
    )
    return FleetStatus(at=NOW, master=master, nodes=tuple(nodes))


def page_of(status: FleetStatus, state: PageState) -> tuple[discord.Embed, discord.ui.View, PageState]:
    return render(EmojiSettings(), ColourSettings(), status, state)


def phone(text: str) -> list[str]:
    """Return the lines as a phone shows them: no markup, and moments as words."""
    text = re.sub(r"<t:\d+:R>", "in 4 minutes", re.sub(r"<t:\d+:t>", "18:11", text))
    return re.sub(r"\\([\\*_~|`<>\[\]@#+-])", r"\1", text.replace("**", "")).split("\n")


def on_pages(status: FleetStatus, state: PageState) -> list[list[str]]:
    shown = []
    for number in range(1, 100):
        embed, _, at = page_of(status, state.turned(number))
        if at.page < number:
            break
        shown.append(phone(embed.description or ""))
    return shown


@pytest.mark.parametrize("count", [3, 25, 200])
def test_each_node_is_one_short_line_and_the_troubled_come_first_with_their_reasons(count: int) -> None:
    status = fleet(count)
    pages = on_pages(status, PageState())
    assert len(pages) == (count - 1) // PAGE + 1
    lines = [line for page in pages for line in page]
    of_nodes = [line for line in lines if not line.startswith("└")]
    reasons = [line for line in lines if line.startswith("└")]
    by_name = {node.name: node for node in status.nodes}
    seen = [line.split()[1] for line in of_nodes]
    assert sorted(seen) == sorted(by_name)
    for line, name in zip(of_nodes, seen, strict=True):
        # Name and state are whole, and the width is a phone's unless they alone are wider.
        assert f" {name} {by_name[name].state}" in line
        assert len(line) + 1 <= max(LINE_CHARACTERS, len(name) + len(by_name[name].state) + 4), line
    troubled = [is_troubled(by_name[name]) for name in seen]
    assert troubled == sorted(troubled, reverse=True)
    assert all(len(line) <= 2 * LINE_CHARACTERS + 2 for line in reasons)
    told = {line.split()[1] for line, after in itertools.pairwise(lines) if after.startswith("└")}
    assert {node.name for node in status.nodes if is_troubled(node)} <= told


def test_a_page_of_the_longest_names_and_reasons_fits_into_an_embed() -> None:
    wide = "_".join(["x"] * 20) + "y"
    nodes = tuple(node(at, "backoff", f"{wide[:37]}{at:03}") for at in range(PAGE))
    worst = [discord.utils.escape_markdown(one.name) for one in nodes]
    assert len(worst[0]) > 50
    reasons = node_lines(EmojiSettings(failed="<:" + "e" * 32 + ":" + "1" * 20 + ">"), nodes, NOW)
    assert len(reasons) <= DESCRIPTION_CHARACTERS
    assert all(one.name in "\n".join(phone(reasons)) for one in nodes)


def test_the_title_counts_and_the_menus_filter() -> None:
    status = fleet(200)
    embed, view, state = page_of(status, PageState())
    ready, troubled = sum(one.state == "ready" for one in status.nodes), sum(map(is_troubled, status.nodes))
    assert embed.title == f"{ready} of 200 nodes ready · {troubled} troubled"
    assert embed.colour is not None
    assert embed.colour.value == ColourSettings().error
    offered = [option.label for option in menu(view, "filter").options]
    assert offered[:2] == ["all nodes (200)", f"troubled ({troubled})"]
    assert f"ready ({ready})" in offered
    assert "tag music (100)" in offered
    assert len(menu(view, "choose").options) == PAGE
    only = on_pages(status, state.filtered("troubled:"))
    assert sum(not line.startswith("└") for page in only for line in page) == troubled
    tagged = on_pages(status, state.filtered("tag:music"))
    assert sum(not line.startswith("└") for page in tagged for line in page) == 100


def menu(view: discord.ui.View, verb: str) -> discord.ui.Select[Any]:
    found = [item for item in view.children if isinstance(item, discord.ui.Select) and f":{verb}:" in item.custom_id]
    return found[0]


def test_a_hundred_tags_do_not_push_the_chosen_filter_out() -> None:
    status = fleet(3)
    tagged = replace(status.nodes[0], tags=tuple(f"tag{at}" for at in range(100)))
    status = replace(status, nodes=(tagged, *status.nodes[1:]))
    _, view, _ = page_of(status, PageState(Filter("tag", "tag99")))
    options = menu(view, "filter").options
    assert len(options) == 25
    assert [option.value for option in options if option.default] == ["tag:tag99"]


def test_an_empty_fleet_and_an_empty_filter_say_so() -> None:
    empty = replace(fleet(3), nodes=())
    embed, view, _ = page_of(empty, PageState())
    assert embed.description == "No nodes yet: /dupbot creates the first one."
    assert menu(view, "choose").disabled
    embed, _, _ = page_of(fleet(3), PageState(Filter("name", "no_such")))
    assert "No node is shown by this filter: named no\\_such." in (embed.description or "")


@pytest.mark.parametrize(
    "custom_id",
    [
        "",
        "runbots1",
        "runbots1:page:-1",
        "runbots1:page:99999",
        "runbots1:drop:1",
        "runbots2:page:1",
        "x:page:1",
        "a" * 99,
        "runbots1:page:\uff11",
        "runbots1:page:1\n",
    ],
)
def test_a_custom_id_that_no_page_has_is_nothing_of_a_page(custom_id: str) -> None:
    assert pressed({"custom_id": custom_id}) is None


@pytest.mark.parametrize("value", ["", "troubled", "state", "drop:x", "tag:" + "x" * 65, "all\n:"])
def test_a_filter_that_no_menu_has_shows_all(value: str) -> None:
    assert Filter.read(value) == Filter()


def test_an_embed_that_is_too_long_everywhere_is_made_to_fit() -> None:
    embed = discord.Embed(title="t" * 300, description="d" * 5000)
    embed.set_footer(text="f" * 3000)
    for at in range(30):
        embed.add_field(name=f"{at}" * 200, value="v" * 2000)
    fits = fitted(embed)
    assert len(fits) <= 6000
    assert len(fits.fields) <= 25
    assert (fits.title or "").endswith("…")
    assert (fits.description or "").endswith("…")
    assert max(len(one.value or "") for one in fits.fields) <= 1024
    small = discord.Embed(title="t", description="d").add_field(name="a", value="b")
    assert fitted(small) == small


def capture() -> None:
    """Print the pages as a phone shows them."""
    for count in (3, 25, 200):
        status = fleet(count)
        for number in (1, 2):
            embed, view, at = page_of(status, PageState(page=number))
            if at.page == number:
                print("=" * LINE_CHARACTERS, embed.title, *phone(embed.description or ""), sep="\n")
                print(embed.footer.text)
                labels = [getattr(item, "label", None) or getattr(item, "placeholder", "") for item in view.children]
                print(*(f"[{label}]" for label in labels))


if __name__ == "__main__":
    capture()
