"""What ``fleet doctor`` finds on the box; what it asks Discord is in test_discord_findings.py."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from master.control.client import ControlClient, NoMaster
from master.operations import nodes
from master.operations.parameters import NoParams
from master.security.derivation import new_master_secret
from master.services.core.findings import Finding
from master.services.core.views import MasterStatus
from master.services.upkeep.diagnosis import diagnose

CONFIG = 'import os\nIDENTITY = {"MASTER_SECRET": os.environ["MASTER_SECRET"]}\n'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config.py").write_text(CONFIG)
    (tmp_path / ".env").touch(mode=0o600)
    (tmp_path / ".env").write_text(f"MASTER_SECRET={new_master_secret()}\n")
    return tmp_path


def nobody(_state_dir: Path) -> MasterStatus:
    raise NoMaster("no master")


async def told(home: Path) -> dict[str, Finding]:
    return {finding.what: finding for finding in await diagnose(home, {}, ping=nobody, lookup_of=None)}


async def test_a_state_folder_that_can_be_made_is_green(home: Path) -> None:
    found = (await told(home))["state folder"]
    assert (found.verdict, "is created by" in found.detail) == ("ok", True)


@pytest.mark.parametrize("where", ["{home}/in the way/state", "/proc/fleet", "{home}/in the way"])
async def test_a_state_folder_that_cannot_be_made_is_red(home: Path, where: str) -> None:
    (home / "in the way").write_text("a file")
    (home / "config.py").write_text(f"{CONFIG}STATE_DIR = {where.format(home=home)!r}\n")
    found = (await told(home))["state folder"]
    assert found.verdict == "fail", found
    assert found.fix


async def test_doctor_does_not_send_to_itself(home: Path) -> None:
    def deaf(state_dir: Path) -> MasterStatus:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(state_dir / "control.sock"))
            listening.listen()
            return ControlClient(state_dir / "control.sock").run(nodes.ping, NoParams(), timeout_s=0.05)

    (home / "state").mkdir(mode=0o700)
    found = {finding.what: finding for finding in await diagnose(home, {}, ping=deaf, lookup_of=None)}["master"]
    assert (found.verdict, found.detail, found.fix) == ("fail", "the master did not answer in time", "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_above_that_is_not_the_fleets_is_red(home: Path) -> None:
    home.chmod(0o500)
    assert (await told(home))["state folder"].verdict == "fail"
    home.chmod(0o700)
