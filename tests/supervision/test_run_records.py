"""Run records on disk."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from master.supervision.run_records import RunRecord, RunRecords


def test_the_last_process_is_read_back_and_the_files_are_private(tmp_path: Path) -> None:
    records = RunRecords(tmp_path / "runs")
    assert records.read("01NODE") is None
    records.note("01NODE", 4_194_304, 123_456.78)
    records.note("01NODE", 42, 1.5)
    assert records.read("01NODE") == RunRecord(42, 1.5)
    # The longest there is fits over any other, and those of earlier versions are read.
    records.note("01NODE", 4_194_304, 123_456_789.12, 1_000_000, 123_456_789.99)
    records.note("01NODE", 42, 1.5, 1, 2.5)
    assert records.read("01NODE") == RunRecord(42, 1.5, 1, 2.5)
    records.note("01NODE", 4_194_304, 123_456_789.12, 1_000_000, 123_456_789.99)
    assert records.read("01NODE") == RunRecord(4_194_304, 123_456_789.12, 1_000_000, 123_456_789.99)
    (tmp_path / "runs" / "01NODE").write_bytes(b'{"pid":42,"started_at":1.5}'.ljust(64))
    assert records.read("01NODE") == RunRecord(42, 1.5, 0)
    assert stat.S_IMODE((tmp_path / "runs").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "runs" / "01NODE").stat().st_mode) == 0o600


@pytest.mark.parametrize("wait_for_content", [b"", b"{", b'{"pid": "x"}', b"\xff" * 64])
def test_a_damaged_record_is_none(tmp_path: Path, wait_for_content: bytes) -> None:
    (tmp_path / "01NODE").write_bytes(wait_for_content)
    assert RunRecords(tmp_path).read("01NODE") is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "01NODE").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        RunRecords(tmp_path).note("01NODE", 1, 1.0)
    assert (tmp_path / "victim").read_text() == "precious"
