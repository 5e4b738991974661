"""What is to be known of a program that becomes a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from master.ledger.rows.records import ReadinessKind
from master.services.core.errors import LinkRefused
from master.services.onboarding.programs import readiness_of, token_variable


@pytest.mark.parametrize(
    ("line", "speaks"),
    [
        ("import nodekit", True),
        ("import discord, nodekit", True),
        ("from nodekit import attach", True),
        ("    from handshake.boot import read_boot", True),
        ("# the handshake of two people", False),
        ("import handshakes", False),
        ("import os  # not nodekit", False),
        ("from greetings import handshake", False),
    ],
)
def test_a_program_that_imports_ours_speaks_for_itself(tmp_path: Path, line: str, speaks: bool) -> None:
    (tmp_path / "main.py").write_text(f"import sys\n{line}\n")
    assert readiness_of(tmp_path, "auto") is (ReadinessKind.HANDSHAKE if speaks else ReadinessKind.PROCESS)
    assert readiness_of(tmp_path, "process") is ReadinessKind.PROCESS


def test_a_linked_bot_speaks_for_itself() -> None:
    assert token_variable("BOT_TOKEN", "auto") == "BOT_TOKEN"
    with pytest.raises(LinkRefused, match="reports readiness itself"):
        token_variable("BOT_TOKEN", "process")
