"""`fleet top` in a terminal: keys, sizes, a master that goes away, and a terminal that is as it was afterwards."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from master.cli.top import View, frame
from tests.cli.sample_fleet import sample_fleet
from tests.cli.test_reading_status import master_with
from tests.cli.window import Window, too_wide

pytestmark = pytest.mark.timeout(120)

COMMAND = ["top", "--interval", "0.2"]


def has(*words: str) -> Callable[[list[str]], bool]:
    return lambda screen: all(any(word in line for line in screen) for word in words)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 50), (40, 6), (200, 3), (20, 2), (10, 1)])
@pytest.mark.parametrize("count", [0, 3, 25, 200])
def test_a_frame_fits_and_never_loses_the_summary(count: int, width: int, height: int) -> None:
    status = sample_fleet(count, long_names=True)
    status = replace(status, master=replace(status.master, troubles=("the control socket is gone",) * 5))
    for away in (None, (1e9, "no master is running in /srv/a/long/path/that/has/no/end/at/all/and/goes/on/and/on")):
        shown = [line.plain for line in frame(View(), status, away, width=width, height=height)]
        assert too_wide(shown, width) == []
        assert len(shown) == height
        assert shown[0].startswith(f"{count} nodes"[:width])
        if away is not None and height > 2:
            assert shown[1].startswith("the master is away since"[:width])
        if count and height > 6:
            assert any(line.startswith("y-001") for line in shown)


def test_keys_sort_scroll_and_filter_and_q_leaves(tmp_path: Path) -> None:
    status = sample_fleet(200)
    by_memory = sorted(status.nodes, key=lambda node: -(node.pss_bytes or node.rss_bytes or 0))
    with master_with(tmp_path, status), Window(COMMAND, tmp_path) as window:
        shown = window.wait_until(has("1-18 of 200", "by trouble"))
        assert shown[0].startswith("200 nodes")
        assert "quarantined" in shown[5]
        assert len(shown) == 24
        window.type("\x1b[6~")
        window.wait_until(has("19-36 of 200"))
        window.type("\x1b[B")
        window.wait_until(has("20-37 of 200"))
        window.type("G")
        window.wait_until(has("183-200 of 200"))
        window.type("m")
        assert window.wait_until(has("by memory"))[5].startswith(by_memory[0].name)
        window.type("m")
        window.wait_until(has("by memory, reversed"))
        window.type("n/y-0")
        assert all(line.startswith("y-0") for line in window.wait_until(has("/y-0"))[5:16])
        window.type("\r")
        window.wait_until(has("of 11 (of 200) with 'y-0'"))
        window.type("\x1b")
        window.wait_until(has("1-18 of 200"))
        window.type("q")
        assert window.wait() == 0
        assert window.settings == window.before
        assert not window.full_screen


def test_it_follows_a_resize(tmp_path: Path) -> None:
    with master_with(tmp_path, sample_fleet(25)), Window(COMMAND, tmp_path) as window:
        window.wait_until(has("1-18 of 25"))
        window.resize(160, 50)
        window.wait_until(has("1-25 of 25", "VERSION"))
        window.resize(50, 8)
        shown = window.wait_until(lambda screen: len(screen) == 8 and "25 nodes" in screen[0])
        assert too_wide(shown, 50) == []


def test_it_waits_for_a_master_that_is_away_and_goes_on(tmp_path: Path) -> None:
    with Window(COMMAND, tmp_path) as window:
        assert window.wait() == 6
        assert "no master is running" in window.text
    with master_with(tmp_path, sample_fleet(3)):
        window = Window(COMMAND, tmp_path)
        window.wait_until(has("3 nodes"))
    with window:
        shown = window.wait_until(has("the master is away since"))
        assert any(line.startswith("3 nodes") for line in shown)
        assert "quarantined" in "".join(shown)
        with master_with(tmp_path, sample_fleet(25)):
            shown = window.wait_until(has("25 nodes"))
            assert "away" not in "".join(shown)
            window.type("\x03")
            assert window.wait() == 130
        assert window.settings == window.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_it_leaves_the_terminal_as_it_was(tmp_path: Path, number: signal.Signals) -> None:
    with master_with(tmp_path, sample_fleet(3)), Window(COMMAND, tmp_path) as window:
        window.wait_until(has("3 nodes"))
        assert window.settings != window.before
        window.signal(number)
        assert window.wait() == 128 + number
        assert window.settings == window.before
        assert not window.full_screen
        assert window.text.endswith("\x1b[?7h\x1b[?25h\x1b[?1049l")


def test_an_error_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    program = "from master.terminal.screen import Screen\nwith Screen() as s: s.wait_for_keys(); raise ValueError(5)"
    with Window(["-c", program], tmp_path, module=False) as window:
        window.wait_until(lambda _: window.full_screen)
        window.type("x")
        assert window.wait() == 1
        assert "ValueError: 5" in window.text
        assert window.settings == window.before
        assert not window.full_screen


def test_ctrl_z_gives_the_terminal_back_until_it_goes_on(tmp_path: Path) -> None:
    with master_with(tmp_path, sample_fleet(3)), Window(COMMAND, tmp_path) as window:
        window.wait_until(has("3 nodes"))
        window.type("\x1a")
        # Its group is orphaned here, so that the kernel does not stop it (setpgid(2)): it goes on at once.
        window.wait_until(lambda _: window.text.count("\x1b[?1049h") == 2)
        assert window.text.count("\x1b[?1049l") == 1
        window.wait_until(has("3 nodes"))
        window.type("q")
        assert window.wait() == 0
        assert window.settings == window.before


def test_where_nothing_can_be_drawn_it_shows_the_fleet_once(tmp_path: Path) -> None:
    with master_with(tmp_path, sample_fleet(3)), Window(COMMAND, tmp_path, TERM="dumb") as window:
        assert window.wait() == 0
        assert not window.text.count("\x1b[?1049h")
        assert any(line.startswith("3 nodes") for line in window.screen)
