"""`fleet status` as it is read: in terminals of several sizes and in a pipe, with few nodes and many."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from master.cli.steering import status_lines
from master.control.protocol import Answer
from master.services.core.views import FleetStatus
from tests.cli.sample_fleet import REASON, sample_fleet
from tests.cli.window import Window, too_wide
from tests.hostile.conversations import Conversation, dying_master

pytestmark = pytest.mark.timeout(120)

SIZES = [(80, 24), (160, 50)]


@contextmanager
def master_with(home: Path, status: FleetStatus) -> Iterator[None]:
    """Answer each request with this status, as a master with so many nodes would."""
    (home / "state").mkdir(exist_ok=True)
    said = msgspec.json.encode(Answer(kind="result", data=msgspec.to_builtins(status))) + b"\n"
    with dying_master(home / "state" / "control.sock", Conversation([said]), after=1 << 40, death="hang up"):
        yield


def rows_of(status: FleetStatus, shown: list[str]) -> dict[str, str]:
    """Return the row of each node."""
    return {node.name: line for line in shown for node in status.nodes if line.split(" ")[0] == node.name}


@pytest.mark.parametrize("long_names", [False, True], ids=["short", "long"])
@pytest.mark.parametrize(("columns", "lines"), SIZES)
@pytest.mark.parametrize("count", [3, 25, 200])
def test_name_and_state_are_whole_at_every_size(count: int, columns: int, lines: int, long_names: bool) -> None:
    status = sample_fleet(count, long_names=long_names)
    shown = [line.plain for line in status_lines(status, width=columns, height=lines)]
    assert too_wide(shown, columns) == []
    rows = rows_of(status, shown)
    for node in status.nodes:
        name, _symbol, state = rows[node.name].split()[:3]
        assert (name, state) == (node.name, node.state)
    assert any(line.startswith(f"{count} nodes") for line in shown)
    words = " ".join(" ".join(shown).split())
    assert REASON in words
    assert all(f"fleet reinstate {node.name}" in words for node in status.nodes if node.licence_revoked)


def test_nodes_in_trouble_come_first_the_worst_before_the_others() -> None:
    status = sample_fleet(25)
    shown = [line.plain for line in status_lines(status, width=80)]
    order = list(rows_of(status, shown))
    states = {node.name: node.flag_reason or node.state for node in status.nodes}
    calm = [name for name in order if states[name] in ("ready", "stopped")]
    assert [states[name] for name in order][:6] == ["quarantined"] * 2 + ["degraded"] * 2 + ["bad_signature"] * 2
    assert calm == sorted(calm)
    assert order[6:] == calm


def test_what_there_is_no_room_for_is_named_and_wide_shows_it() -> None:
    status = sample_fleet(3)
    narrow = [line.plain for line in status_lines(status, width=80)]
    assert narrow[-1] == "no room for PULSE, PING, GUILDS, VERSION: --wide shows all"
    wide = [line.plain for line in status_lines(status, width=None)]
    assert "no room" not in "\n".join(wide)
    header = ["NODE", "STATE", "PID", "UP", "CPU", "%", "MB", "RST", "PULSE", "PING", "GUILDS", "VERSION", "NOTE"]
    assert wide[0].split() == header
    assert REASON in wide[1]


def test_of_a_table_longer_than_the_terminal_the_troubled_are_named_at_its_end() -> None:
    status = sample_fleet(200)
    long = [line.plain for line in status_lines(status, width=80, height=24)]
    assert long[-1].startswith("in trouble: s-025, ")
    assert long[-1].endswith(" more")
    assert len(long[-1]) <= 80
    assert "in trouble" not in status_lines(sample_fleet(3), width=80, height=24)[-1].plain
    assert "in trouble" not in status_lines(status, width=80)[-1].plain


@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_in_a_terminal_it_is_as_wide_as_that(tmp_path: Path, columns: int, lines: int) -> None:
    status = sample_fleet(25, long_names=True)
    with (
        master_with(tmp_path, status),
        Window(["status"], tmp_path, columns=columns, lines=lines) as window,
    ):
        assert window.wait() == 0
        assert too_wide(window.screen, columns) == []
        assert len(rows_of(status, window.screen)) == 25
        assert "\x1b[" in window.text


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_no_colour_where_none_is_wanted_and_a_dumb_terminal_has_its_own_width(tmp_path: Path, term: str) -> None:
    with (
        master_with(tmp_path, sample_fleet(3)),
        Window(["status"], tmp_path, columns=160, TERM=term, NO_COLOR="1") as window,
    ):
        assert window.wait() == 0
        assert "VERSION" in window.screen[0]
        assert "38;" not in window.text
        assert "\x1b[3" not in window.text


def test_in_a_pipe_nothing_is_cut(tmp_path: Path) -> None:
    names = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "FORCE_COLOR")}
    with master_with(tmp_path, sample_fleet(200, long_names=True)):
        done = subprocess.run(
            [sys.executable, "-m", "master.cli", "status"],
            env={**names, "FLEET_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    rows = done.stdout.splitlines()
    assert (done.returncode, len(rows)) == (0, 1 + 200 + 1 + 2)
    assert rows[1].endswith(f"exit 1: {REASON}")
    assert "\x1b" not in done.stdout
