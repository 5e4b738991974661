"""The log of a node that uses nodekit.run: one line for each record, once, at the level that was asked for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import logging
import sys
import nodekit.running as running

logging.basicConfig(level="DEBUG")
running.set_up_logging(sys.argv[1])
running.set_up_logging(sys.argv[1])
mine, discord = logging.getLogger("cogs.mine"), logging.getLogger("discord.gateway")
mine.debug("a detail")
discord.debug("a payload")
discord.info("a session")
mine.warning("%s said %s", "ann", "hi\\n2026-01-01 00:00:00 ERROR   node: forged\\r\\nmore")
try:
    raise ValueError("two\\nlines")
except ValueError:
    mine.exception("it failed")
"""


def run(folder: Path, level: str) -> list[str]:
    told = subprocess.run(  # noqa: S603 - the program above
        [sys.executable, "-c", PROGRAM, level], cwd=folder, check=True, capture_output=True, text=True, timeout=60
    )
    assert told.stdout == ""
    return told.stderr.splitlines()


def test_each_record_is_one_line_and_is_there_once(tmp_path: Path) -> None:
    lines = run(tmp_path, "info")
    stamped = [line for line in lines if re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line)]
    assert [line[20:] for line in stamped] == [
        "INFO    discord.gateway: a session",
        r"WARNING cogs.mine: ann said hi\n2026-01-01 00:00:00 ERROR   node: forged\r\nmore",
        "ERROR   cogs.mine: it failed",
    ]
    assert lines[3] == "Traceback (most recent call last):"


def test_debug_shows_what_is_ones_own_and_no_payloads(tmp_path: Path) -> None:
    told = "\n".join(run(tmp_path, "DEBUG"))
    assert "a detail" in told
    assert "a payload" not in told


def test_a_level_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(tmp_path, "loud")
    assert "'loud' is no log level: use DEBUG, INFO, WARNING or ERROR" in caught.value.stderr
