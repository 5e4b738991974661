"""The lines that patterns are timed on: the last of each node, and not more than a thousand."""

from __future__ import annotations

from pathlib import Path

from master.services.healing.recent_lines import MOST_LINES, recent_lines
from master.supervision.logs import NodeLogs


def test_each_node_has_its_share_of_a_thousand_lines(tmp_path: Path) -> None:
    logs = NodeLogs(tmp_path, max_bytes=10_000_000, files=2)
    for name in ("atlas", "borea"):
        written = "".join(f"2026-11-22 10:00:00.000 {name} {number}\n" for number in range(2_000))
        logs.paths(name)[1].write_text(written)
    found = recent_lines(logs, ["atlas", "borea", "silent"])
    assert len(found) == 2 * (MOST_LINES // 3)
    assert (found[0], found[-1]) == (f"atlas {2_000 - MOST_LINES // 3}", "borea 1999")
    assert recent_lines(logs, []) == []
    assert len(recent_lines(logs, ["atlas"] * 300)) == MOST_LINES
