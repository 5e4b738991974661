"""Nodes that try to be given the fleet's secrets: by their options, by links, by what stands in their own files."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from master.configuration.node_options import OptionsRefused
from master.configuration.settings import Settings
from master.operations import changing
from master.operations.parameters import EditParams
from master.services.core.errors import FolderRefused
from master.services.fleet.environment_files import read_environment
from master.services.onboarding.saga import RegisterRequest
from master.supervision.errors import SpawnFailed
from master.supervision.isolation import describe_isolation, isolation_of, landlock_problem
from master.supervision.spawner import PlainSpawner, SpawnRequest
from tests.hostile.effort import rounds
from tests.services.conftest import OPERATOR, House

SECRETS = ["", ".env", "config.py", "state", "state/ledger.db", "env", "link"]


@pytest.fixture
def folder(tmp_path: Path, house_settings: Settings) -> Path:
    home = house_settings.home
    for name in (".env", "config.py"):
        (home / name).write_text("MASTER_SECRET=secret\n")
        (home / name).chmod(0o600)
    (home / "env").mkdir()
    (home / "link").symlink_to(home / ".env")
    made = tmp_path / "elsewhere" / "web"
    made.mkdir(parents=True)
    return made


def asked(folder: Path, **options: Any) -> RegisterRequest:
    return RegisterRequest(
        name="web", token=None, folder=str(folder), options={"COMMAND": "sleep 600", **options}, start=False
    )


async def prepare(house: House) -> SpawnRequest:
    runner = house.services.supervisor._runners[house.services.directory.find("web").id]
    return await runner._context.preparer.prepare(runner.spec)


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        *((key, secret) for key in ("READABLE", "WRITABLE") for secret in SECRETS),
        *(("ENV_FILE", secret) for secret in (".env", "config.py", "state/ledger.db", "link")),
    ],
)
async def test_no_option_opens_the_fleets_secrets(house: House, folder: Path, key: str, secret: str) -> None:
    path = str(house.services.settings.home / secret)
    value = path if key == "ENV_FILE" else [path]
    with pytest.raises(OptionsRefused, match="would open the fleet's secrets"):
        await house.register(OPERATOR, asked(folder, **{key: value}))
    await house.register(OPERATOR, asked(folder))
    with pytest.raises(OptionsRefused, match="would open the fleet's secrets"):
        await house.operations.run(changing.edit, OPERATOR, EditParams(name="web", options={key: path}))


async def test_a_link_that_leads_to_the_secrets_later_keeps_the_node_from_starting(house: House, folder: Path) -> None:
    harmless = folder.parent / "songs"
    harmless.mkdir()
    await house.register(OPERATOR, asked(folder, READABLE=[str(folder / "songs")]))
    await prepare(house)
    (folder / "songs").symlink_to(house.services.settings.home / ".env")
    with pytest.raises(SpawnFailed, match="would open the fleet's secrets"):
        await prepare(house)


@pytest.mark.parametrize("secret", ["state", "state/logs", "env"])
async def test_no_nodes_folder_is_the_fleets_own(house: House, folder: Path, secret: str) -> None:
    own = house.services.settings.home / secret
    own.mkdir(exist_ok=True)
    with pytest.raises(FolderRefused, match="the fleet's own"):
        await house.register(OPERATOR, asked(own))
    await house.register(OPERATOR, asked(folder))
    with pytest.raises(FolderRefused, match="the fleet's own"):
        await house.operations.run(changing.edit, OPERATOR, EditParams(name="web", folder=str(own)))


LOOKS = """\
#!/bin/sh
for path in "$@"; do cat "$path" && echo OPENED "$path"; done
echo LOOKED
"""


def plant(place: Path, secret: Path) -> None:
    """Make what looks like an installation of node.js, with a link to a secret where its libraries would be."""
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "node").write_text(LOOKS)
    (place / "bin" / "node").chmod(0o755)
    (place / "lib").symlink_to(secret)


@pytest.mark.skipif(bool(landlock_problem()), reason=describe_isolation())
@pytest.mark.parametrize("place", ["home", "folder", "process", "writable", "manager"])
async def test_a_path_in_a_nodes_own_variables_opens_nothing_that_it_planted(
    house: House, folder: Path, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the master may have been started
    home = house.services.settings.home
    (folder / "own.env").touch(mode=0o600)
    shared = folder.parent / "shared"
    options = {"ENV_FILE": str(folder / "own.env"), "WRITABLE": [str(shared)]}
    await house.register(OPERATOR, asked(folder, **options, COMMAND=f"node {home / '.env'} {home / 'bots'}/*"))
    node = house.services.directory.find("web")
    own_home = house.services.settings.homes_dir / node.id
    planted = {
        "home": own_home,
        "folder": folder / "x",
        "process": folder / "x",
        "writable": shared,
        "manager": own_home / ".nvm" / "x",
    }[place]
    plant(planted, home / ".env")
    named = f"/proc/self/cwd/{os.path.relpath(planted)}" if place == "process" else str(planted)
    (folder / "own.env").write_text(f"PATH={named}/bin:/usr/bin:/bin\n")
    request = await prepare(house)
    opened = [] if request.isolation is None else [*request.isolation.readable, *request.isolation.writable]
    assert not [path for path in opened if os.path.realpath(path) == str(home / ".env")]
    process = await PlainSpawner().spawn(request)
    process.release()
    await asyncio.wait_for(process.exited, 20)
    said = request.stdout_path.read_text()
    assert "OPENED" not in said
    assert "SECRET" not in said


async def test_a_program_at_the_root_of_the_box_is_no_error_of_ours(house: House, folder: Path) -> None:
    isolation_of(folder, "/program", private=house.services.settings.private_paths)


def test_a_link_of_another_nodes_making_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRET=1")
    node, other = tmp_path / "bots" / "atlas", tmp_path / "bots" / "vega"
    node.mkdir(parents=True)
    plant(other, tmp_path / ".env")
    found = isolation_of(node, str(other / "bin" / "node"), private=[tmp_path])
    assert not [path for path in found.readable if os.path.realpath(path) == str(tmp_path / ".env")]


def test_a_folder_that_becomes_a_link_while_it_is_read_leads_nowhere(tmp_path: Path) -> None:
    node, fleets = tmp_path / "bot", tmp_path / "fleet"
    for place, text in ((node / "real", "A=1\n"), (fleets, "SECRET=1\n")):
        place.mkdir(parents=True)
        (place / "own.env").write_text(text)
    swaps = "import itertools, os, sys\nfor target in itertools.cycle(sys.argv[1:]):\n"
    swaps += "    os.symlink(target, 'new')\n    os.replace('new', 'conf')\n"
    command = [sys.executable, "-c", swaps, str(fleets), str(node / "real")]
    swapping = subprocess.Popen(command, cwd=node)  # noqa: S603 - ours
    found = {"read": 0, "refused": 0, "led astray": 0}
    try:
        # A round takes 10 µs, and the swapping begins when the system lets it: it goes on until one is read.
        tries, until = 0, time.monotonic() + 30
        while tries < rounds(4_000) or (not found["read"] and time.monotonic() < until):
            tries += 1
            try:
                values = read_environment(node / "conf" / "own.env", node).values
            except SpawnFailed:
                found["refused"] += 1
            else:
                found["led astray" if "SECRET" in values else "read"] += 1
    finally:
        swapping.kill()
        swapping.wait()
    print(f"a folder that is swapped: {found}")
    assert found["read"]
    assert not found["led astray"]
