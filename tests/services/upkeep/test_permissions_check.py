"""``fleet doctor`` is red for each path that others could read or change, with the command that mends it."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from master.configuration.settings import NodeSettings, Settings, SupervisionSettings
from master.services.core.findings import Finding
from master.services.upkeep.permissions_check import check_isolation, check_permissions
from master.supervision.isolation import describe_isolation, landlock_problem

FILES = (".env", "config.py", "state/ledger.db", "state/control.key", "state/control.sock", "state/memory.bin")
FOLDERS = (".", "bots", "bots/atlas", "state/backups", "state/sessions", "state/spool")
SECRET = {".env", *(name for name in (*FILES, *FOLDERS) if name.startswith("state"))}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "fleet"
    home.mkdir(mode=0o755)
    for name in FOLDERS[1:]:
        (home / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / "state").chmod(0o700)
    for name in FILES:
        (home / name).touch(mode=0o600)
    (home / "config.py").chmod(0o644)
    return home


def told(home: Path) -> list[tuple[str, str, str]]:
    found = check_permissions(home, home / "state", home / "bots")
    return [(finding.verdict, finding.detail, finding.fix) for finding in found]


def test_a_private_home_is_green(home: Path) -> None:
    assert [verdict for verdict, _, _ in told(home)] == ["ok"]


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
@pytest.mark.parametrize("bit", [stat.S_IWOTH, stat.S_IROTH], ids=["write", "read"])
def test_what_others_may_do_is_red_and_its_command_mends_it(home: Path, name: str, bit: int) -> None:
    path = home / name
    path.chmod(path.stat().st_mode | bit)
    found = told(home)
    if bit == stat.S_IROTH and name not in SECRET:
        assert found[0][0] == "ok"
        return
    ((verdict, detail, fix),) = found
    assert verdict == "fail"
    assert detail.startswith(f"others can {'change' if bit == stat.S_IWOTH else 'read'} {path} (0")
    subprocess.run(fix, shell=True, check=True)  # noqa: S602 - what the operator would paste
    assert told(home)[0][0] == "ok"


def test_a_folder_on_the_way_that_others_may_rename_is_red(home: Path) -> None:
    home.parent.chmod(0o777)
    assert [(verdict, fix) for verdict, _, fix in told(home)] == [("fail", f"chmod go-w {home.parent}")]
    home.parent.chmod(0o1777)
    assert told(home)[0][0] == "ok"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_somebody_else_is_red(home: Path) -> None:
    os.chown(home / "config.py", 65534, -1)
    ((verdict, detail, fix),) = told(home)
    assert (verdict, fix) == ("fail", f"chown root {home / 'config.py'}")
    assert detail.startswith(f"{home / 'config.py'} belongs to ")


def test_isolation_is_told_as_it_is(house_settings: Settings) -> None:
    if landlock_problem():
        assert check_isolation(house_settings).verdict == "warn"
        return
    assert (check_isolation(house_settings).verdict, check_isolation(house_settings).detail) == (
        "ok",
        describe_isolation(),
    )
    bare = replace(house_settings, nodes={"hermes": NodeSettings(isolated=False)})
    assert check_isolation(bare).verdict == "warn"
    assert "hermes" in check_isolation(bare).detail
    off = replace(house_settings, supervision=SupervisionSettings(isolated=False))
    assert check_isolation(off).verdict == "warn"


def test_isolation_of_a_running_master_is_what_it_says(house_settings: Settings) -> None:
    """Nodes that started before ISOLATED was set are not isolated, whatever config.py says now."""
    partly = check_isolation(house_settings, "landlock ABI 7, not atlas until restarted")
    assert (partly.verdict, "atlas" in partly.detail, "restart" in partly.fix) == ("warn", True, True)
    assert check_isolation(house_settings, "landlock ABI 7") == Finding("isolation", "ok", "landlock ABI 7")
    if not landlock_problem():
        assert "in the running master" in check_isolation(house_settings, "off: ISOLATED is False").detail


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_user_without_a_name_is_a_number_for_chown(home: Path) -> None:
    os.chown(home / "state", 54321, -1)
    os.chown(home / "config.py", 65534, -1)
    problems = told(home)
    assert problems
    assert all(fix.startswith("chown 54321 ") for _, detail, fix in problems if "belongs to" in detail)
    assert any("not to user 54321" in detail for _, detail, _ in problems)
