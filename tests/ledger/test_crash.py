"""kill -9 under load; `python -m benchmarks.crash` does the same a thousand times."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.crash import crash, prepare

pytestmark = pytest.mark.timeout(120)


@pytest.mark.slow
def test_no_acknowledged_write_is_lost_and_none_is_made_twice(tmp_path: Path) -> None:
    prepare(tmp_path)
    found = crash(tmp_path, 12, seed=20261121)
    assert found.acknowledged > 12
    assert (found.lost, found.duplicated, found.miscounted, found.faults) == (0, 0, 0, [])
