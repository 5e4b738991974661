from __future__ import annotations

import os
from pathlib import Path

import pytest

from master.services.core.errors import TemplateBroken
from master.services.onboarding.folders import check_source


@pytest.fixture
def template(tmp_path: Path) -> Path:
    (tmp_path / "bot.py").write_text("answer = 42\n")
    return tmp_path


def test_a_file_that_breaks_after_it_was_checked_is_refused(template: Path) -> None:
    check_source(template, "bot.py")
    (template / "bot.py").write_text("answer = 4)\n")
    with pytest.raises(TemplateBroken, match=r"bot\.py, line 1"):
        check_source(template, "bot.py")


def test_a_broken_file_that_takes_the_name_age_and_size_of_a_checked_one_is_refused(template: Path) -> None:
    check_source(template, "bot.py")
    before = (template / "bot.py").stat()
    successor = template / "successor"
    successor.write_text("answer = 4)\n")
    os.utime(successor, ns=(before.st_atime_ns, before.st_mtime_ns))
    successor.replace(template / "bot.py")
    with pytest.raises(TemplateBroken, match=r"bot\.py, line 1"):
        check_source(template, "bot.py")


def test_a_broken_file_is_refused_as_often_as_it_is_checked(template: Path) -> None:
    (template / "bot.py").write_text("answer = 4)\n")
    for _ in range(2):
        with pytest.raises(TemplateBroken):
            check_source(template, "bot.py")
