"""The IDENTIFY budget: on disk, and never above its limit, even with clock jumps or a damaged file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodekit.identify_budget import (
    DAILY_IDENTIFIES,
    IDENTIFY_FD_VARIABLE,
    IdentifyBudget,
    IdentifyBudgetSpent,
    inherited_budget,
    open_budget,
)
from tests.conftest import TurnableClock


def budget_of(path: Path, clock: TurnableClock, limit: int = 5) -> IdentifyBudget:
    return IdentifyBudget(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), limit=limit, clock=clock)


def test_it_stays_well_below_discords_thousand() -> None:
    assert DAILY_IDENTIFIES <= 900


def test_it_is_shared_by_processes_and_renewed_after_a_day(tmp_path: Path, clock: TurnableClock) -> None:
    path = tmp_path / "budget"
    for left in range(5, 0, -1):
        budget = budget_of(path, clock)
        assert budget.check() == left
        budget.spend()
        budget.close()
        clock.turn(60)
    budget = budget_of(path, clock)
    with pytest.raises(IdentifyBudgetSpent) as spent:
        budget.spend()
    assert spent.value.retry_in_s == pytest.approx(86_400 - 300)
    clock.turn(spent.value.retry_in_s)
    assert budget.check() == 1
    assert path.stat().st_size <= 5 * 8


def test_a_clock_that_ran_ahead_adds_no_budget(tmp_path: Path, clock: TurnableClock) -> None:
    budget = budget_of(tmp_path / "budget", clock)
    clock.turn(10 * 86_400)
    for _ in range(5):
        budget.spend()
    clock.turn(-10 * 86_400)
    with pytest.raises(IdentifyBudgetSpent) as spent:
        budget.check()
    assert 0 < spent.value.retry_in_s <= 86_400


@given(junk=st.binary(max_size=200))
def test_a_damaged_file_never_breaks_it(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    path = tmp_path_factory.mktemp("budget") / "budget"
    path.write_bytes(junk)
    budget = budget_of(path, TurnableClock(), limit=50)
    budget.spend()
    assert budget.check() <= 49
    budget.close()


def test_a_node_inherits_it_by_descriptor_and_a_symlink_is_refused(tmp_path: Path) -> None:
    made = open_budget(tmp_path / "made" / "budget")
    made.spend()
    made.close()
    environment = {IDENTIFY_FD_VARIABLE: str(os.open(tmp_path / "made" / "budget", os.O_RDWR))}
    inherited = inherited_budget(environment)
    assert inherited is not None
    assert inherited.check() == DAILY_IDENTIFIES - 1
    inherited.close()
    assert environment == {}
    assert inherited_budget({}) is None
    (tmp_path / "link").symlink_to(tmp_path / "made" / "budget")
    with pytest.raises(OSError, match="symbolic links"):
        open_budget(tmp_path / "link")
