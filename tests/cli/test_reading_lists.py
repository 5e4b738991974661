"""`audit show`, `history`, `ledger status` and `events` at the width of a terminal, and in a pipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.cells import cell_len

from master.cli.ledger import audit_lines
from master.control.protocol import Answer
from master.services.core.views import AuditView, FleetEvent, LedgerStatus, NodeHistoryView, Series
from master.terminal import FleetConsole, history_text
from tests.cli.sample_fleet import NOW, REASON, sample_fleet
from tests.cli.window import Window, too_wide
from tests.hostile.conversations import Conversation, dying_master, typed

pytestmark = pytest.mark.timeout(120)

LONG = "a-name-of-forty-characters-which-is-most"
ROWS = [
    AuditView(
        sequence=1_234_500 + number,
        at=NOW + number,
        actor=("cli:root", "discord:223456789012345678", "system:master")[number % 3],
        face="cli",
        action=("restart", "acknowledge_audit", "stop")[number % 3],
        node_id=f"01{number}",
        node=(LONG, "atlas", "")[number % 3],
        outcome=("done", "refused", "failed")[number % 3],
        detail=(REASON, "", "not_authorised")[number % 3],
    )
    for number in range(30)
]


@pytest.mark.parametrize("width", [60, 80, 160, None])
def test_an_audit_row_has_who_what_and_which_node_at_every_width(width: int | None) -> None:
    shown = [line.plain for line in audit_lines(ROWS, width=width)]
    assert width is None or too_wide(shown, width) == []
    text = " ".join(" ".join(shown).split())
    assert text.count("discord:223456789012345678") == text.count("acknowledge_audit") == 10
    assert text.count(LONG) == text.count(REASON) == 10
    assert text.count("atlas") == 10
    if width is None:
        assert len(shown) == 31


def test_short_rows_are_one_line_each_at_80_columns() -> None:
    rows = [msgspec.structs.replace(row, actor="cli:root", action="stop", node="atlas", detail="") for row in ROWS]
    shown = [line.plain for line in audit_lines(rows, width=80)]
    assert len(shown) == 31
    assert shown[0].split() == ["#", "WHEN", "WHO", "ACTION", "OUTCOME", "NODE", "DETAIL"]


@pytest.mark.parametrize("width", [60, 80, 160])
@pytest.mark.parametrize("count", [0, 1, 300, 1440])
def test_a_history_fits(width: int, count: int) -> None:
    node = msgspec.structs.replace(sample_fleet(3).nodes[0], name=LONG, threads=12, open_files=345, connections=67)
    series = Series(slot_s=1.0, cpu_percent=(12.5,) * count, rss_mb=(1234.5,) * count)
    found = NodeHistoryView(node=node, seconds=series, minutes=series, week=series)
    console = FleetConsole(width=width)
    with console.capture() as captured:
        console.print(history_text(found, width=width), soft_wrap=True)
    shown = captured.get().splitlines()
    assert too_wide(shown, width) == []
    assert shown[0].startswith(f"{LONG}  ● ready")
    assert "345 open files" in captured.get()


def lines_of(*answers: Answer) -> bytes:
    return b"".join(msgspec.json.encode(answer) + b"\n" for answer in answers)


def said(result: Any, *events: Any) -> Conversation:
    return Conversation([lines_of(*(Answer(kind="event", data=e) for e in events), Answer(kind="result", data=result))])


EVENTS = [FleetEvent(at=NOW, kind=kind, node=LONG, detail=REASON * 2) for kind in ("exited", "quarantined")]


@pytest.mark.parametrize(
    ("command", "answer", "words"),
    [
        ("events", said(None, *EVENTS), REASON),
        ("audit show", said([msgspec.to_builtins(row) for row in ROWS]), REASON),
        (
            "ledger status",
            said(LedgerStatus(dialect="mssql", revision="0005", rows={"pulse_snapshots": 10**9}, away_since=NOW,
                              away_why=REASON, given_up={"snapshots": 3}, writes=10**9, groups=10**8)),
            "pulse_snapshots",
        ),
    ],
    ids=["events", "audit", "ledger"],
)  # fmt: skip
def test_in_a_terminal_of_80_columns_and_in_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, answer: Conversation, words: str
) -> None:
    (tmp_path / "state").mkdir()
    with (
        dying_master(tmp_path / "state" / "control.sock", answer, after=1 << 40, death="hang up"),
        Window(command.split(), tmp_path) as window,
    ):
        assert window.wait() == 0
        assert too_wide(window.screen, 80) == []
        assert words in " ".join(" ".join(window.screen).split())
        monkeypatch.setenv("FLEET_HOME", str(tmp_path))
        monkeypatch.delenv("COLUMNS", raising=False)
        told = typed(command.split())
    assert told.code == 0
    assert any(words in line for line in told.out.splitlines())
    assert max(map(cell_len, told.out.splitlines())) > 80 or command == "ledger status"


def test_json_has_names_beside_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))
    answer = said([msgspec.to_builtins(row) for row in ROWS[:1]])
    with dying_master(tmp_path / "state" / "control.sock", answer, after=1 << 40, death="hang up"):
        (row,) = json.loads(typed(["audit", "show", "--json"]).out)
    assert (row["node"], row["node_id"]) == (LONG, "010")
