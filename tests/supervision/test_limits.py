"""Limits and who ran out of memory.

A cgroup v2 hierarchy that may be written is not to be had on every machine: the folder here stands for it, with the
kernel's own file names.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from master.supervision.limits import OomWitness, find_cgroups, niceness_of


@pytest.fixture
def delegated(tmp_path: Path) -> tuple[Path, Path]:
    """A hierarchy, and what /proc/self/cgroup says."""
    base = tmp_path / "cgroup" / "user.slice" / "fleet.service"
    base.mkdir(parents=True)
    (base / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (base / "cgroup.procs").write_text("")
    own = tmp_path / "own"
    own.write_text("0::/user.slice/fleet.service\n")
    return tmp_path / "cgroup", own


def test_a_delegated_cgroup_is_divided(delegated: tuple[Path, Path]) -> None:
    root, own = delegated
    cgroups = find_cgroups(root, own)
    assert cgroups is not None
    base = root / "user.slice" / "fleet.service"
    assert (base / "master" / "cgroup.procs").read_text() == str(os.getpid())
    assert (base / "cgroup.subtree_control").read_text() == "+memory +cpu"
    entrance = cgroups.place("01NODE", memory_bytes=200_000_000, cpu_weight=50)
    assert entrance == base / "node-01NODE" / "cgroup.procs"
    assert (base / "node-01NODE" / "memory.max").read_text() == "200000000"
    assert (base / "node-01NODE" / "cpu.weight").read_text() == "50"
    assert cgroups.place("01NODE", memory_bytes=0, cpu_weight=100) == entrance
    assert (base / "node-01NODE" / "memory.max").read_text() == "max"


def test_an_oom_kill_in_the_cgroup_is_named(delegated: tuple[Path, Path], tmp_path: Path) -> None:
    cgroups = find_cgroups(*delegated)
    assert cgroups is not None
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("pgfault 5\noom_kill 2\n")
    witness = OomWitness(cgroups, vmstat)
    entrance = cgroups.place("01NODE", memory_bytes=1, cpu_weight=100)
    assert entrance is not None
    assert witness.explain("01NODE") == ""
    entrance.with_name("memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert "hard limit" in witness.explain("01NODE")
    assert witness.explain("01OTHER") == ""


def test_an_oom_kill_of_the_box_is_named_once(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("pgfault 5\noom_kill 2\n")
    witness = OomWitness(None, vmstat)
    assert witness.explain("01NODE") == ""
    vmstat.write_text("pgfault 5\noom_kill 3\n")
    assert "the box has too little" in witness.explain("01NODE")
    witness.note()
    assert witness.explain("01NODE") == ""


@pytest.mark.parametrize(
    ("controllers", "line"),
    [("cpuset io pids", "0::/user.slice/fleet.service"), ("memory cpu", "0::/elsewhere"), ("memory cpu", "4:memory:/")],
)
def test_without_a_cgroup_of_our_own_there_is_none(delegated: tuple[Path, Path], controllers: str, line: str) -> None:
    root, own = delegated
    (root / "user.slice" / "fleet.service" / "cgroup.controllers").write_text(controllers)
    own.write_text(line + "\n")
    assert find_cgroups(root, own) is None


def test_a_weight_becomes_a_niceness_downwards_only() -> None:
    assert [niceness_of(weight) for weight in (10_000, 100, 80, 50, 1)] == [0, 0, 1, 3, 19]
