"""The master's log on a disk without room: lines are lost and counted, and nothing else."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from master.journal import BoundedJournalHandler

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_a_log_that_cannot_be_written_does_not_change_how_the_process_ends() -> None:
    program = (
        "import logging, sys\n"
        "from master.journal import set_up_logging\n"
        "set_up_logging(logging.INFO, sys.stderr)\n"
        "for number in range(5000): logging.getLogger('master').info('line', extra={'text': 'x' * 100})\n"
        "print('done')\n"
    )
    with FULL.open("wb") as full:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=full, check=False, timeout=60
        )
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_lines_that_were_lost_are_counted(tmp_path: Path) -> None:
    from master.journal import JournalHandler

    def say(handler: JournalHandler, text: str) -> None:
        handler.emit(logging.LogRecord("master", logging.INFO, "", 0, text, None, None))

    with FULL.open("w") as full, (tmp_path / "log").open("w") as room:
        handler = JournalHandler(full)
        say(handler, "one")
        say(handler, "two")
        handler._stream = room
        say(handler, "three")
        say(handler, "four")
    assert (tmp_path / "log").read_text() == "2 lines of the log could not be written\nthree\nfour\n"


def test_a_journal_file_stays_small_and_keeps_what_was_last(tmp_path: Path) -> None:
    path = tmp_path / "master.log"
    with path.open("a") as stream, path.open("a") as zygotes:
        handler = BoundedJournalHandler(stream, path, 1000)
        for number in range(200):
            handler.emit(logging.LogRecord("master", logging.INFO, "", 0, f"line {number:03} {'x' * 40}", None, None))
            if number % 50 == 0:
                zygotes.write("a word of another process\n")
                zygotes.flush()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["master.log", "master.log.1", "master.log.2"]
    assert all(file.stat().st_size < 1100 for file in tmp_path.iterdir())
    kept = "".join((tmp_path / name).read_text() for name in ("master.log.2", "master.log.1", "master.log"))
    numbers = [int(line.split()[1]) for line in kept.splitlines() if line.startswith("line")]
    assert numbers == list(range(numbers[0], 200))
    assert len(numbers) >= 40
    assert (tmp_path / "master.log.1").stat().st_mode & 0o777 == 0o600


def test_a_journal_that_cannot_be_copied_aside_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "master.log"
    (tmp_path / "master.log.1").mkdir()
    (tmp_path / "master.log.1" / "in the way").touch()
    (tmp_path / "master.log.2").touch()
    with path.open("a") as stream:
        handler = BoundedJournalHandler(stream, path, 1000)
        for _ in range(100):
            handler.emit(logging.LogRecord("master", logging.INFO, "", 0, "x" * 60, None, None))
    assert path.stat().st_size < 1100
    assert handler.lost <= 1
