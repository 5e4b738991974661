"""The page of shipped solutions is made from the files, and the files are in the distribution."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from master.services.healing.library import SHIPPED
from master.services.repair.solution_page import PAGE, shipped_page

ROOT = SHIPPED.parent


def test_the_page_is_what_the_files_say() -> None:
    assert PAGE.read_text("utf-8") == shipped_page(), "run `python -m master.services.repair.solution_page`"


@pytest.mark.slow
def test_a_wheel_has_them_where_the_master_looks(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("master", "handshake", "nodekit", "sandbox", "child_template", "solutions", "sql"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"
    built = subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True, text=True)  # noqa: S603
    with zipfile.ZipFile(tmp_path / built.stdout.split()[-1]) as wheel:
        wheel.extractall(tmp_path / "installed")
    code = "from master.services.healing.library import SHIPPED; print(len(list(SHIPPED.glob('*.toml'))))"
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], cwd=tmp_path / "installed", check=True, capture_output=True, text=True
    )
    assert int(found.stdout) == len(list(SHIPPED.glob("*.toml")))
