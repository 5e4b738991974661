"""What the command line shows of nodes."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

import master
from master.bot.node_lines import node_lines
from master.configuration.settings import EmojiSettings
from master.services.core.views import FleetStatus, MasterStatus, NodeStatus
from master.terminal import fleet_table, summary_line
from master.wording import moment

DEGRADED = NodeStatus(
    id="01A",
    name="atlas",
    state="degraded",
    desired="running",
    readiness="handshake",
    folder="atlas",
    bot_user_id="1",
    pid=42,
    latency_ms=41.6,
    guilds=7,
    version="1.2.3",
    cogs_failed=("music", "fun"),
    detail="2 cogs failed: music, fun",
)


def test_the_note_of_a_revoked_node_says_what_gives_its_licence_back_whatever_else_is_wrong_with_it() -> None:
    revoked = msgspec.structs.replace(
        DEGRADED, state="stopped", pid=None, licence_revoked=True, flag_reason="revoked_license", last_exit="stopped"
    )
    console = Console(width=80, force_terminal=False)
    with console.capture() as captured:
        console.print(fleet_table([revoked], width=80))
    assert "licence revoked: fleet reinstate atlas" in captured.get()
    assert node_lines(EmojiSettings(), [revoked], 0.0).endswith("licence revoked: /fleet reinstate atlas")


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"state": "missing", "detail": "the folder of atlas is gone: /x"}, "the folder of atlas is gone: /x"),
        (
            {"state": "backoff", "todo": "Discord refuses its token: fleet set-token atlas"},
            "fleet set-token atlas",
        ),
    ],
)
def test_the_note_says_what_is_wrong_now_not_how_it_ended_before(changes: dict[str, str], note: str) -> None:
    """Both look again by themselves, which is no reason to tell only of that."""
    lost = msgspec.structs.replace(DEGRADED, pid=None, next_start_in_s=4.0, last_exit="asked to restart", **changes)
    console = Console(width=120, force_terminal=False)
    with console.capture() as captured:
        console.print(fleet_table([lost], width=120))
    on_discord = node_lines(EmojiSettings(), [lost], 0.0)
    assert note in captured.get()
    assert note.replace("fleet set", "/fleet set") in on_discord
    assert "asked to restart" not in captured.get() + on_discord


@pytest.mark.parametrize(("width", "figures"), [(80, ()), (120, ("42ms", " 7 ", "1.2.3"))])
def test_a_degraded_node_is_shown_with_what_is_wrong(width: int, figures: tuple[str, ...]) -> None:
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(fleet_table([DEGRADED], width=width))
    row = captured.get().splitlines()[1]
    assert "◍ degraded" in row
    assert row.rstrip().endswith("2 cogs failed: music, fun")
    for figure in figures:
        assert figure in row


@pytest.mark.parametrize("width", [80, 100, 120])
def test_only_the_note_gives_way_where_it_is_narrow(width: int) -> None:
    nodes = [
        msgspec.structs.replace(
            DEGRADED,
            state="ready",
            name=name,
            cpu_percent=12.5,
            rss_bytes=123 << 20,
            uptime_s=8000,
            last_exit="x" * 200,
        )
        for name in ("atlas", "a-name-of-some-20-ch")
    ]
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(fleet_table(nodes, width=width))
    _, first, second = captured.get().splitlines()
    for row, name in ((first, "atlas"), (second, "a-name-of-some-20-ch")):
        assert all(cell in row.split() for cell in (name, "ready", "2h13m", "12.5", "123.0"))
        assert row.rstrip().endswith("…")
        assert len(row) <= width


NOW = 1_795_342_316.9
MASTER = MasterStatus(
    pid=1,
    version="1",
    uptime_s=60.0,
    cpu_percent=0.1,
    cpu_seconds=1.0,
    rss_bytes=70 << 20,
    discord="offline",
    offline_since=NOW - 302,
    offline_why="its API answers HTTP 503",
    ledger="sqlite",
    home="/srv/fleet",
)


@pytest.mark.parametrize(("pid", "note"), [(1234567, ""), (None, ", held")])
def test_an_offline_node_is_shown_with_since_when_at_80_columns(pid: int | None, note: str) -> None:
    node = msgspec.structs.replace(
        DEGRADED, state="offline", pid=pid, offline_since=NOW - 300, cogs_failed=(), detail="", last_exit="exit 1"
    )
    console = Console(width=80, force_terminal=False)
    with console.capture() as captured:
        console.print(fleet_table([node], width=80))
    row = captured.get().splitlines()[1].rstrip()
    assert "◇ offline" in row
    assert row.endswith(f"offline since {moment(NOW - 300)}{note}")
    assert len(row) <= 80


def test_the_summary_says_since_when_the_box_is_without_discord_and_why() -> None:
    status = FleetStatus(at=NOW, master=MASTER, nodes=())
    first, second = summary_line(status).plain.split("\n")[1:]
    assert "discord offline" in first
    assert second == f"offline since {moment(NOW - 302)} (5m02s): its API answers HTTP 503"
    well = msgspec.structs.replace(MASTER, discord="ready", offline_since=None)
    assert "offline" not in summary_line(msgspec.structs.replace(status, master=well)).plain


def test_no_text_of_ours_is_written_as_markup() -> None:
    """The console reads no markup, because foreign text must not be any: it would be shown as it stands."""
    tag = re.compile(r"\[/?(?:bold|dim|italic|red|green|yellow|cyan|blue|magenta)\b[^\]]*\]|\[/\]")
    found = [
        f"{path}:{number}"
        for path in Path(master.__path__[0]).rglob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if tag.search(line)
    ]
    assert found == []
