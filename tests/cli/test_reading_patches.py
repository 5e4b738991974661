"""`fleet patch status` and its like at any width: the bad ones come first, nothing is cut that matters or acts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from msgspec import structs
from rich.cells import cell_len
from rich.text import Text

from master.cli.patch_following import _Lines, _show_end
from master.services.core.patch_views import (
    NodeReleaseView,
    PatchDetails,
    PatchesView,
    PatchNodeView,
    PatchPlanView,
    PatchView,
)
from master.terminal.patches import details_lines, history_lines, next_line, plan_text, status_lines, wave_lines

NOW = time.time()
FOREIGN = "\x1b[31m\r\n[bold]漢字 " * 20
PLAN = PatchPlanView(
    canary=1, waves=(25, 100), soak_s=300.0, most_soak_s=3_600.0, most_failed=0, at_once=25, back_at_once=5
)


def a_patch(name: str, version: int, state: str, **changes: Any) -> PatchView:
    fields: dict[str, Any] = {
        "id": f"01KB3Q{name.upper()}{version}",
        "name": name,
        "version": version,
        "channel": "main",
        "author": "Ada Lovelace",
        "key": "ada-laptop",
        "state": state,
        "since": NOW - 130,
        "received_at": NOW - 300,
        **changes,
    }
    return PatchView(**fields)


ROLLING = a_patch("ranks", 4, "rolling", wave="wave 1 of 2", counts={"good": 3, "failed": 1, "waiting": 20})
PATCHES = (
    a_patch("ranks", 3, "done", counts={"good": 25}),
    ROLLING,
    a_patch("music", 7, "asking", wave="canary", reason="nothing happened in 1h00m that says anything"),
    a_patch("shop", 2, "rolled_back", reason=f"TypeError in cogs/shop.py on vega, {FOREIGN}"),
    a_patch("tax", 1, "received", approvals=2, approved_by=("ada",)),
    *(a_patch("old", version, "done", counts={"good": 25}) for version in range(9, 0, -1)),
)
RELEASES = (
    *(NodeReleaseView(node=f"node-{number}", patch="ranks 4", state="good") for number in (10, 9, 1)),
    NodeReleaseView(node="vega", patch="ranks 4", state="failed", detail="Traceback\nImportError: no rank \x1b[2J"),
    NodeReleaseView(node="zosma"),
)
DETAILS = PatchDetails(
    patch=ROLLING,
    note=FOREIGN,
    files=("cogs/ranks.py", FOREIGN),
    reload=("ranks",),
    plan=PLAN,
    nodes=(
        PatchNodeView(
            node="vega", state="failed", wave=1, detail="Traceback:\n  in cogs/ranks.py\nImportError: \x1b[2J"
        ),
        PatchNodeView(node="atlas", state="good", wave=0),
        PatchNodeView(node="odd", state="skipped", wave=2, detail="cogs/ranks.py was changed on odd"),
        *(PatchNodeView(node=f"node-{number}", state="waiting", wave=2) for number in range(20)),
    ),
)
RENDERED: dict[str, Callable[[int | None], Iterable[Text]]] = {
    "status": lambda width: status_lines(PatchesView(patches=PATCHES, nodes=RELEASES), width=width),
    "one": lambda width: details_lines(DETAILS, width=width),
    "history": lambda width: history_lines(PATCHES, width=width),
}


def shown(lines: Iterable[Text]) -> list[str]:
    return [line.plain for line in lines]


@pytest.mark.parametrize("width", [None, 80, 200])
@pytest.mark.parametrize("what", RENDERED)
def test_nothing_foreign_acts_and_no_line_is_too_long(what: str, width: int | None) -> None:
    for line in RENDERED[what](width):
        assert all(character.isprintable() for character in line.plain), line.plain
        assert width is None or cell_len(line.plain) <= width, line.plain


def test_what_asks_or_goes_on_comes_first_and_old_ones_are_left_to_the_history() -> None:
    lines = shown(RENDERED["status"](80))
    names = [line.split()[0] for line in lines[1:] if line and not line.startswith(" ")]
    assert names[:5] == ["music", "ranks", "tax", "ranks", "shop"]
    assert "and 6 older: `fleet patch history`" in lines
    assert any("waits for 1 more to approve it" in line for line in shown(RENDERED["status"](None)))


def test_each_node_has_its_release_and_the_failed_one_says_why() -> None:
    lines = shown(RENDERED["status"](80))
    (vega,) = [line for line in lines if line.startswith("vega")]
    assert "✗ failed" in vega
    assert "ImportError: no rank" in vega
    assert "  3 ranks 4 good  node-1, node-9, node-10" in lines
    assert "  1 no patch  zosma" in lines


def test_one_patch_shows_its_plan_its_waves_and_the_traceback() -> None:
    lines = shown(RENDERED["one"](80))
    assert lines[0] == "ranks 4  ▸ rolling  wave 1 of 2"
    assert "canary       1 good" in lines
    assert "wave 2 of 2  20 waiting" in lines
    assert lines[lines.index("vega  ✗ failed") + 3] == "    ImportError: \\x1b[2J"
    assert "  1 - skipped: cogs/ranks.py was changed on odd  odd" in lines


def test_whoever_watches_sees_how_long_a_wave_is_watched_already() -> None:
    soaking = PatchDetails(
        patch=a_patch("ranks", 4, "soaking"),
        note="",
        files=(),
        plan=PLAN,
        nodes=(
            PatchNodeView(node="atlas", state="good", wave=0),
            PatchNodeView(node="vega", state="healthy", wave=1),
            PatchNodeView(node="wezen", state="waiting", wave=2),
        ),
    )
    lines = shown(wave_lines(soaking, width=80, now=NOW))
    assert lines == [
        "canary       1 good",
        "wave 1 of 2  1 healthy  watched for 2m10s of 5m00s",
        "wave 2 of 2  1 waiting",
    ]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "1 node as the canary, then 25 % of the nodes, then 100 %; each watched for 5m00s"),
        ({"canary": 0, "waves": (100,)}, "all nodes at once, watched for 5m00s"),
        ({"canary": 0, "waves": (100,), "soak_s": 0.0}, "all nodes at once, good as soon as each node says it works"),
        ({"canary": 2, "waves": (100,)}, "2 nodes as the canary, then all nodes; each watched for 5m00s"),
    ],
)
def test_a_plan_is_a_sentence(changes: dict[str, Any], text: str) -> None:
    fields = {name: getattr(PLAN, name) for name in PLAN.__struct_fields__}
    assert plan_text(PatchPlanView(**{**fields, **changes})) == text


@pytest.mark.parametrize(
    ("approved_by", "wanted_by", "said"),
    [
        (("ada",), "ada", "it begins once 1 more has approved it: fleet patch approve tax 1"),
        (
            ("ada",),
            "",
            "it waits for 1 more to approve it: another operator's fleet patch deploy tax 1 does, and begins it",
        ),
        (("ada", "bo"), "", "nobody has asked for its roll-out yet: fleet patch deploy tax 1"),
    ],
)
def test_an_approval_says_what_comes_next(approved_by: tuple[str, ...], wanted_by: str, said: str) -> None:
    waiting = a_patch("tax", 1, "received", approvals=2, approved_by=approved_by, wanted_by=wanted_by)
    assert next_line(waiting).plain == said


def test_in_a_pipe_the_end_of_a_roll_out_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    done = structs.replace(
        DETAILS, patch=a_patch("ranks", 4, "done", counts={"good": 1, "healthy": 1}, reason="on trial: vega")
    )
    lines = _Lines()
    lines.show(DETAILS)
    lines.show(done)
    _show_end(done)
    out = capsys.readouterr().out
    assert out.count("done") == 1
    assert out.rstrip().endswith("on trial: vega")
