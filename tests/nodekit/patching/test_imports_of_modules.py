"""Which modules import one that changed: found without parsing those that do not name it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodekit.patch_reloading import _Source


@pytest.mark.parametrize(
    "text",
    [
        "from cogs import work",
        "import os, cogs.work as w",
        "from . import work",
        "from cogs import a, \\\n    work",
        "from cogs import (a,\n  b,  # x)\n  work,\n)",
        "x = 1; import cogs.work",
        "def f():\n    if 1:\n        from .work import y",
        'colour = "#fff"; from cogs import work',
        'colour = "#fff"\nfrom cogs.work import *',
        "größe = 1\nfrom cogs import work",
    ],
)
def test_an_import_is_found_however_it_is_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.py").write_text(text)
    assert _Source(tmp_path / "m.py", "cogs.m").imports_one_of({"cogs.work"})


@pytest.mark.parametrize(
    "text", ["# from cogs import work", '"work from home"\nimport os', "from os import (path)\nwork = 1", "work (", ""]
)
def test_what_only_names_it_does_not_import_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.py").write_text(text)
    assert not _Source(tmp_path / "m.py", "cogs.m").imports_one_of({"cogs.work"})
