"""What the documents quote of the code is in the code, and the files that they name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
QUOTED = re.compile(r"^`([\w/]+\.py)`\n\n```python\n(.*?)```", re.MULTILINE | re.DOTALL)
NAMED = re.compile(
    r"`((?:master|nodekit|handshake|sandbox|tests|benchmarks|docs|sql|child_template|\.ci)/[\w./-]*[\w/])`"
)
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


def test_contributing_quotes_the_code_as_it_is() -> None:
    quotes = QUOTED.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert len(quotes) == 3
    for path, code in quotes:
        assert code.rstrip() in (ROOT / path).read_text("utf-8"), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    missing = [
        name for name in NAMED.findall(page.read_text("utf-8")) if not (ROOT / name).exists() and "NAME" not in name
    ]
    assert missing == []
