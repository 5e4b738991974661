"""Fixtures of the tests of releases."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: each change is synced, and a disk would only be slow."""
    folder = Path("/dev/shm") / f"fleet-{os.getpid()}-{tmp_path.name}"  # noqa: S108
    if not folder.parent.is_dir():
        yield tmp_path
        return
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)
