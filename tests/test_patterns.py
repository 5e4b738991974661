"""No pattern in the source has a bare ``$``: it also matches before a trailing line break, and ``\\Z`` does not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("handshake", "nodekit", "master", "sandbox", "child_template")
COMPILERS = {"compile", "match", "search", "fullmatch", "finditer", "findall", "sub", "split"}
NOT_AN_ANCHOR = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
"""An escaped character, or a character class: a dollar sign in them is an ordinary one."""


def bare_dollars(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each pattern with a bare ``$``; with MULTILINE it is meant for the end of a line."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        if "MULTILINE" in ast.unparse(node) or "(?m" in ast.unparse(node):
            continue
        of_re = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "re"
        first = node.args[:1] if of_re and node.func.attr in COMPILERS else []  # type: ignore[attr-defined]
        named = [keyword.value for keyword in node.keywords if keyword.arg == "pattern"]
        for pattern in (*first, *named):
            for part in ast.walk(pattern):
                text = part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else ""
                if "$" in NOT_AN_ANCHOR.sub("", text):
                    yield part.lineno, text  # type: ignore[attr-defined]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_pattern_accepts_a_trailing_line_break(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {pattern}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, pattern in bare_dollars(path.read_text("utf-8"))
    ]
    assert found == []


def test_the_search_finds_what_it_is_for() -> None:
    for source in ('re.compile(r"^a$")', 'Meta(pattern="^a$")', 'compiled = re.match(r"[$]x$", text)'):
        assert list(bare_dollars(source)), source
    for source in (r're.compile(r"a\$[$]\Z")', 're.search(r"^a$", text, re.MULTILINE)', 'print("$")'):
        assert not list(bare_dollars(source)), source
