"""HEALING["PACKAGES"]: what stands there is installed, so it is one exact version and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from master.configuration.loading import load_settings
from tests.configuration.test_loading import MINIMAL, home_with, problems_of

HASH = "0123456789abcdef" * 4


def healing(packages: str) -> str:
    return MINIMAL + f'HEALING = {{"PACKAGES": {packages}}}\n'


def test_exact_versions_are_taken(tmp_path: Path) -> None:
    wanted = {
        "aiosqlite": "aiosqlite==0.21.0",
        "PIL": f"pillow==11.0.0.post1 --hash=sha256:{HASH}",
        "a.b": "a-b==1!2+x",
    }
    assert load_settings(home_with(tmp_path, healing(repr(wanted))), {}).healing.packages == wanted


@pytest.mark.parametrize(
    "requirement",
    [
        "aiosqlite",
        "aiosqlite>=0.21",
        "aiosqlite==0.21.*",
        "aiosqlite == 0.21.0",
        "aiosqlite==0.21.0; rm -rf /",
        "aiosqlite==0.21.0 --index-url=https://example.com",
        "aiosqlite==0.21.0\n-r other",
        "-r other==1",
        "aiosqlite[x]==0.21.0",
        "aiosqlite @ https://example.com/a==1",
        "../aiosqlite==1",
        "aiosqlite==../1",
        "aiosqlite==1 --hash=md5:00",
        "äiosqlite==1",
        "aiosqliteä==1",
        "aiosqlite==1.ä",
    ],
)
def test_anything_else_is_refused(tmp_path: Path, requirement: str) -> None:
    problems = problems_of(home_with(tmp_path, healing(repr({"aiosqlite": requirement}))))
    assert list(problems) == ["HEALING['PACKAGES']['aiosqlite']"]
    assert "one exact version" in problems["HEALING['PACKAGES']['aiosqlite']"]


@pytest.mark.parametrize("module", ["aio sqlite", "../x", "x-y", ".x", "1x", "x\n"])
def test_a_name_that_no_module_has_is_refused(tmp_path: Path, module: str) -> None:
    problems = problems_of(home_with(tmp_path, healing(repr({module: "aiosqlite==0.21.0"}))))
    assert problems["HEALING['PACKAGES']"].endswith("-> the name of a module, as in import")
