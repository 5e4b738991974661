"""``asyncio.wait_for`` is not used: before Python 3.12 it swallows a cancellation that comes together with the answer.

A task that was to end goes on then, and whoever waits for its end waits for ever (https://bugs.python.org/issue37658).
``asyncio.timeout`` has no such gap.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("package", ["handshake", "nodekit", "master"])
def test_no_wait_swallows_a_cancellation(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "asyncio.wait_for"
    ]
    assert found == []
