"""Limits and OOM kills.

Not every machine has a writable cgroup v2 hierarchy: a folder with the fake_ksm's file names stands for it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from master.supervision.limits import OomDetector, find_cgroups, niceness_of


@pytest.fixture
def delegated(tmp_path: Path) -> tuple[Path, Path]:
    """Return a hierarchy, and a file like /proc/self/cgroup."""
    base = tmp_path / "cgroup" / "user.slice" / "fleet.service"
    base.mkdir(parents=True)
    (base / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (base / "cgroup.procs").write_text("")
    own = tmp_path / "own"
    own.write_text("0::/user.slice/fleet.service\n")
    return tmp_path / "cgroup", own


def test_a_delegated_cgroup_gets_a_child_for_each_node(delegated: tuple[Path, Path]) -> None:
    root, own = delegated
    cgroups = find_cgroups(root, own)
    assert cgroups is not None
    base = root / "user.slice" / "fleet.service"
    assert (base / "master" / "cgroup.procs").read_text() == str(os.getpid())
    assert (base / "cgroup.subtree_control").read_text() == "+memory +cpu"
    procs_file = cgroups.create("01NODE", memory_bytes=200_000_000, cpu_weight=50)
    assert procs_file == base / "node-01NODE" / "cgroup.procs"
    assert (base / "node-01NODE" / "memory.max").read_text() == "200000000"
    assert (base / "node-01NODE" / "cpu.weight").read_text() == "50"
    assert cgroups.create("01NODE", memory_bytes=0, cpu_weight=100) == procs_file
    assert (base / "node-01NODE" / "memory.max").read_text() == "max"


def test_an_oom_kill_in_the_cgroup_is_named(delegated: tuple[Path, Path], tmp_path: Path) -> None:
    cgroups = find_cgroups(*delegated)
    assert cgroups is not None
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("pgfault 5\noom_kill 2\n")
    detector = OomDetector(cgroups, vmstat)
    procs_file = cgroups.create("01NODE", memory_bytes=1, cpu_weight=100)
    assert procs_file is not None
    assert detector.explain("01NODE") == ""
    procs_file.with_name("memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert "hard limit" in detector.explain("01NODE")
    assert detector.explain("01OTHER") == ""


def test_an_oom_kill_of_the_box_is_named_once(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("pgfault 5\noom_kill 2\n")
    detector = OomDetector(None, vmstat)
    assert detector.explain("01NODE") == ""
    vmstat.write_text("pgfault 5\noom_kill 3\n")
    assert "the box has too little" in detector.explain("01NODE")
    detector.reset()
    assert detector.explain("01NODE") == ""


@pytest.mark.parametrize(
    ("controllers", "line"),
    [("cpuset io pids", "0::/user.slice/fleet.service"), ("memory cpu", "0::/elsewhere"), ("memory cpu", "4:memory:/")],
)
def test_without_delegation_there_is_no_cgroup(delegated: tuple[Path, Path], controllers: str, line: str) -> None:
    root, own = delegated
    (root / "user.slice" / "fleet.service" / "cgroup.controllers").write_text(controllers)
    own.write_text(line + "\n")
    assert find_cgroups(root, own) is None


def test_a_weight_becomes_a_niceness_of_zero_or_more() -> None:
    assert [niceness_of(weight) for weight in (10_000, 100, 80, 50, 1)] == [0, 0, 1, 3, 19]
