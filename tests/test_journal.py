"""The master's log on a disk without room: lines are lost and counted, and nothing else."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

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
