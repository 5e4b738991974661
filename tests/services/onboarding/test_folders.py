from __future__ import annotations

import os
from pathlib import Path

import pytest

from master.ledger.rows.records import ReadinessKind
from master.services.core.errors import TemplateBroken
from master.services.onboarding.folders import _copy, check_source
from master.services.onboarding.programs import readiness_of


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


def test_the_releases_of_a_patched_node_stay_with_it(template: Path) -> None:
    (template / ".releases" / "1" / "edited").mkdir(parents=True)
    (template / ".releases" / "1" / "edited" / "bot.py").write_text("not even ( Python\n")
    assert check_source(template, "bot.py") == [Path("bot.py")]


class Racing:
    """A walk that changes a file behind the clone's back, between the look at it and the copy."""

    def __init__(self, path: Path, change: str) -> None:
        self.path, self.change = path, change

    def apply(self) -> None:
        self.path.unlink()
        match self.change:
            case "pipe":
                os.mkfifo(self.path)
            case "link":
                self.path.symlink_to("/etc/hostname")
            case "device":
                self.path.symlink_to("/dev/zero")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("change", ["pipe", "link", "device"])
def test_a_file_that_changes_while_it_is_cloned_is_refused_and_nothing_is_left(tmp_path: Path, change: str) -> None:
    source, base = tmp_path / "source", tmp_path / "bots"
    source.mkdir()
    base.mkdir()
    (source / "bot.py").write_text("x = 1\n")
    (source / "data").write_text("data")
    assert len(check_source(source, "bot.py")) == 2
    Racing(source / "data", change).apply()
    with pytest.raises(OSError, match=r".+"):
        _copy(source / "data", base / "data")
    assert list(base.iterdir()) == []


def test_a_file_that_grows_while_it_is_cloned_is_copied_as_it_was_opened(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"12345")
    (tmp_path / "data").chmod(0o4755)
    _copy(tmp_path / "data", tmp_path / "deep" / "copy")
    assert (tmp_path / "deep" / "copy").read_bytes() == b"12345"
    # Not setuid: who clones a folder makes no program that runs as somebody else.
    assert (tmp_path / "deep" / "copy").stat().st_mode & 0o7777 == 0o755


@pytest.mark.timeout(20)
def test_a_bot_with_a_pipe_for_a_program_is_looked_at_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.py")
    (tmp_path / "b.py").symlink_to("/dev/zero")
    assert readiness_of(tmp_path, "auto") is ReadinessKind.PROCESS
