"""Which folder is the home, and what ``fleet home`` remembers."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from master.configuration.home import (
    HomeRefused,
    find_home,
    forget_home,
    remember_home,
    remembered_home,
    settings_folder,
)
from master.configuration.reading import PathRefused
from tests.hostile.conversations import typed

ROOT = Path(__file__).resolve().parents[2]


def fleet_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.py").write_text("IDENTITY = {}\n")
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}


def test_the_home_is_what_is_named_then_this_folder_then_the_remembered_one(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = fleet_in(tmp_path / "one"), fleet_in(tmp_path / "two")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    named = {**environment, "FLEET_HOME": str(two)}
    assert find_home(one, named).path == one
    assert find_home(None, named).path == two
    # None is remembered: the current folder, home or not.
    assert find_home(None, environment).path == tmp_path / "elsewhere"
    remember_home(one, environment)
    assert find_home(None, environment).path == one
    assert find_home(None, named).path == two
    monkeypatch.chdir(two)
    found = find_home(None, environment)
    assert (found.path, found.found_by) == (two, "the current folder")


def test_a_bots_folder_is_no_home(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bot has a config.py too: `fleet logs` typed beside it means the fleet."""
    remember_home(fleet_in(tmp_path / "fleet"), environment)
    monkeypatch.chdir(ROOT / "child_template")
    assert (Path.cwd() / "config.py").is_file()
    assert find_home(None, environment).path == tmp_path / "fleet"


def test_a_current_folder_that_is_gone_is_no_trouble_where_a_home_is_remembered(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(PathRefused):
        find_home(None, environment)
    remember_home(fleet_in(tmp_path / "fleet"), environment)
    assert find_home(None, environment).path == tmp_path / "fleet"


def test_only_a_home_is_remembered_and_forgetting_leaves_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    with pytest.raises(HomeRefused):
        remember_home(tmp_path, environment)
    assert not settings_folder(environment).exists()
    remember_home(fleet_in(tmp_path / "a fleet\nof mine"), environment)
    assert remembered_home(environment) == tmp_path / "a fleet\nof mine"
    assert stat.S_IMODE(settings_folder(environment).stat().st_mode) == 0o700
    assert forget_home(environment) == tmp_path / "a fleet\nof mine"
    assert forget_home(environment) is None
    assert not settings_folder(environment).exists()


def test_what_is_no_path_is_not_remembered(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = settings_folder(environment)
    folder.mkdir(parents=True)
    for text in (b"", b"relative\n", b"\xff\x00"):
        (folder / "home").write_bytes(text)
        assert remembered_home(environment) is None
    (folder / "home").unlink()
    (folder / "home").mkdir()
    assert remembered_home(environment) is None


def test_the_command_remembers_shows_and_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = fleet_in(tmp_path / "fleet")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("FLEET_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    told = typed(["home"])
    assert (told.code, "no fleet's home" in told.err) == (5, True)
    assert typed(["home", str(tmp_path)]).code == 4
    assert typed(["home", "fleet"]).out == f"{home}\n"
    assert typed(["home"]).out == f"{home}\n"
    assert '"found_by": "remembered by `fleet home`"' in typed(["home", "--json"]).out
    # A message about a home that was not named says which one it is.
    told = typed(["status"])
    assert told.code == 6
    assert f"the home is {home}: remembered by `fleet home`" in told.err
    assert "the home is" not in typed(["status", "--home", str(home)]).err
    assert typed(["home", "--forget"]).out == f"{home} is forgotten\n"
    assert typed(["home"]).code == 5
