"""What `fleet lineage` prints: the oldest first, 80 columns, and what does not hold."""

from __future__ import annotations

from master.cli.lineage import lineage_lines, restored_lines
from master.services.core.lineage_views import GenerationView, LineageView, RestoredView

CLONED = GenerationView(id="A", generation=1, at=1_763_000_000.0, cause="cloned", what="template 1.4")
PATCHED = GenerationView(
    id="B",
    generation=2,
    at=1_763_100_000.0,
    cause="patched",
    what="ranks 3",
    release=1,
    detail="Ranks that count\x1b[31m",
    changed=("~cogs/ranks.py", "+cogs/levels.py", "-a.py", "-b.py"),
)
FORGED = GenerationView(
    id="C",
    generation=4,
    at=1_763_200_000.0,
    cause="rolled_back",
    what="ranks 3",
    signature="does not hold",
    trouble="manifest changed, or another MASTER_SECRET",
)


def lines(*found: GenerationView, width: int | None = 80, missing: tuple[int, ...] = ()) -> list[str]:
    view = LineageView(
        node="atlas",
        node_id="01A",
        generations=found,
        ancestors=("template 1.4 (generation 2)", "template 1.3 (generation 1)") if found else (),
        missing=missing,
    )
    return [line.plain.rstrip() for line in lineage_lines(view, width=width)]


def test_a_lineage_reads_from_its_beginning_within_80_columns() -> None:
    shown = lines(CLONED, PATCHED)
    assert shown[:3] == [
        "atlas  2 generations, each signature holds",
        "from template 1.4 (generation 2)",
        "  from template 1.3 (generation 1)",
    ]
    assert shown[3].split() == ["GEN", "WHEN", "CAUSE", "RELEASE", "WHAT"]
    assert "ranks 3; ~cogs/ranks.py" in shown[5]
    assert all(len(line) <= 80 for line in shown)


def test_in_a_pipe_nothing_is_cut_and_nothing_is_raw() -> None:
    told = lines(CLONED, PATCHED, width=None)[-1]
    assert told.endswith(r"ranks 3; ~cogs/ranks.py +cogs/levels.py -a.py and 1 more; Ranks that count\x1b[31m")


def test_what_does_not_hold_and_what_is_missing_is_said() -> None:
    shown = lines(CLONED, PATCHED, FORGED, missing=(3,))
    assert shown[0] == "atlas  1 of 3 generations not as signed"
    assert shown[-2:] == [
        "generation 4: signature does not hold: manifest changed, or another MASTER_SECRET",
        "missing: generation 3; somebody removed it from the ledger",
    ]


def test_a_node_without_lineage_and_a_restored_one_are_told() -> None:
    assert lines() == ["nothing is noted of atlas yet: the master does so while it runs"]
    done = RestoredView(node="atlas", generation=5, restored=2, release=1, restarted=True, differs=("~bot.py",))
    assert [line.plain for line in restored_lines(done)] == [
        "atlas: generation 2 is in force again (release 1, now generation 5); it restarts",
        "not as it was then: ~bot.py; no release has kept that",
    ]
