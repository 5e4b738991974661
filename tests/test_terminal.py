"""What the command line shows of nodes."""

from __future__ import annotations

import msgspec
import pytest
from rich.console import Console

from master.services.core.views import NodeStatus
from master.terminal import fleet_table

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
            DEGRADED, name=name, pid=1234567, cpu_percent=12.5, rss_bytes=123 << 20, uptime_s=8000, detail="x" * 200
        )
        for name in ("atlas", "a-name-of-some-20-ch")
    ]
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(fleet_table(nodes, width=width))
    _, first, second = captured.get().splitlines()
    for row, name in ((first, "atlas"), (second, "a-name-of-some-20-ch")):
        assert all(cell in row.split() for cell in (name, "degraded", "1234567", "12.5", "123.0"))
        assert row.rstrip().endswith("…")
        assert len(row) <= width
