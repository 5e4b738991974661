"""Renaming: the node keeps running, and what it writes goes on under its new name."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from handshake.manifest import read_manifest
from handshake.redaction import Secret
from master.configuration.node_options import decode_options
from master.configuration.settings import NodeSettings, Settings
from master.ledger.rows import audit, nodes
from master.ledger.rows.records import Node
from master.operations import changing, onboarding
from master.operations.parameters import EditParams, RegisterParams, RenameParams
from master.services.core.errors import NameRefused, NameTaken, NoSuchNode
from master.services.core.views import RenameView
from master.services.onboarding.file_work import FileWork
from master.services.onboarding.saga import CloneRequest, RegisterRequest
from sandbox import Sandbox
from tests.services.conftest import OPERATOR, QUIET_BOT, House, open_house

TALKING_BOT = """
import pathlib, sys, time
print('before', file=sys.stderr, flush=True)
while not pathlib.Path('go').exists():
    time.sleep(0.01)
print('after', file=sys.stderr, flush=True)
pathlib.Path('went').touch()
time.sleep(600)
"""


async def clone(house: House, name: str = "atlas", *, start: bool = True) -> Node:
    await house.clone(OPERATOR, CloneRequest(name=name, token=house.token(name), start=start))
    return house.services.directory.find(name)


async def rename(house: House, old: str, new: str) -> RenameView:
    return await house.operations.run(changing.rename, OPERATOR, RenameParams(name=old, new_name=new))


def wait_for(path: Path) -> None:
    until = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


async def test_a_renamed_node_runs_on_and_its_logs_and_history_are_its_own(
    house: House, house_settings: Settings
) -> None:
    (house.template / "bot.py").write_text(TALKING_BOT)
    node = await clone(house)
    pid = house.services.supervisor.pid_of(node.id)
    older = house_settings.logs_dir / "atlas.err.log.1"
    older.write_text("long ago\n")
    (house_settings.logs_dir / "sol.err.log").write_text("of an earlier node of that name\n")
    renamed = await rename(house, "Atlas", "sol")
    assert (renamed.node, renamed.new_name, renamed.notes) == ("atlas", "sol", ())
    assert house.services.supervisor.pid_of(node.id) == pid
    (house.base / "atlas" / "go").touch()
    await asyncio.to_thread(wait_for, house.base / "atlas" / "went")
    logs = house_settings.logs_dir
    assert "after" in (logs / "sol.err.log").read_text()
    assert (logs / "sol.err.log.1").read_text() == "long ago\n"
    assert (logs / "sol.err.log.earlier").read_text() == "of an earlier node of that name\n"
    assert not list(logs.glob("atlas*"))
    assert read_manifest(house.base / "atlas").name == "sol"
    (status,) = (await house.services.overview.status()).nodes
    assert (status.name, status.folder, status.pid) == ("sol", "atlas", pid)
    kept = await house.services.ledger.read(lambda connection: nodes.find_by_name(connection, "SOL"))
    assert kept is not None
    assert kept.id == node.id
    rows = await house.services.ledger.read(lambda connection: audit.search(connection, node_ids=(node.id,)))
    assert [row.action for row in rows] == ["rename", "duplicate"]
    assert rows[0].detail == "atlas is sol"
    with pytest.raises(NoSuchNode):
        await rename(house, "atlas", "terra")
    assert (await clone(house, "borealis", start=False)).name == "borealis"


async def test_names_that_are_taken_or_not_valid_are_refused(house: House) -> None:
    await clone(house, start=False)
    await clone(house, "borealis", start=False)
    for bad, error in (("Borealis", NameTaken), ("atlas", NameTaken), ("../x", NameRefused), ("all", NameRefused)):
        with pytest.raises(error):
            await rename(house, "atlas", bad)
    assert (await rename(house, "atlas", "Atlas")).new_name == "Atlas"
    assert house.services.directory.find("atlas").name == "Atlas"


async def test_its_environment_file_and_those_that_wait_for_it_follow(house: House, house_settings: Settings) -> None:
    folder = house.base / "web"
    folder.mkdir(parents=True)
    (folder / "bot.py").write_text(QUIET_BOT)
    await house.operations.run(
        onboarding.register,
        OPERATOR,
        RegisterParams(name="web", token="", no_token=True, folder="web", environment={"A": "b"}, start=False),
    )
    await clone(house, start=False)
    await house.operations.run(changing.edit, OPERATOR, EditParams(name="atlas", options={"AFTER": "web"}))
    assert (house_settings.home / "env" / "web.env").exists()
    await rename(house, "web", "site")
    assert (house_settings.home / "env" / "site.env").exists()
    env_file = decode_options(house.services.directory.find("site").options)["ENV_FILE"]
    assert (house_settings.home / env_file) == house_settings.home / "env" / "site.env"
    assert decode_options(house.services.directory.find("atlas").options)["AFTER"] == ["site"]


async def test_what_config_py_says_under_the_old_name_is_pointed_out(house: House, house_settings: Settings) -> None:
    await clone(house, start=False)
    said = {"atlas": NodeSettings(cpu_weight=20), "borealis": NodeSettings(after=("atlas",))}
    house.services.reloading._settings = replace(house_settings, nodes=said)
    house.services.reloading.take_effect()
    renamed = await rename(house, "atlas", "sol")
    assert len(renamed.notes) == 2
    assert "NODES in config.py still says 'atlas': change it to 'sol', then `fleet reload`" in renamed.notes
    assert "AFTER of 'borealis'" in renamed.notes[1]


@pytest.mark.parametrize("committed", [False, True])
async def test_after_a_crash_the_logs_are_under_the_name_that_the_ledger_has(
    house: House, house_settings: Settings, sandbox: Sandbox, committed: bool
) -> None:
    node = await clone(house, start=False)
    house_settings.logs_dir.mkdir(exist_ok=True)
    old, new = (house_settings.logs_dir / f"{name}.err.log" for name in ("atlas", "sol"))
    old.write_text("a line\n")
    work = FileWork(node_id=node.id, expects=("name", "sol"), move=((str(old), str(new)),))
    await house.services.onboarding._works.note(work)
    if committed:
        await house.services.ledger.write(lambda connection: nodes.change(connection, replace(node, name="sol")))
    async with open_house(house_settings, sandbox) as later:
        await later.services.onboarding.recover()
        await later.services.opening.load()
        assert [known.name for known in later.services.directory] == (["sol"] if committed else ["atlas"])
    assert (new if committed else old).read_text() == "a line\n"


async def test_a_bot_without_a_manifest_is_renamed_too(house: House) -> None:
    folder = house.base / "old"
    folder.mkdir(parents=True)
    (folder / "bot.py").write_text(QUIET_BOT)
    token = Secret(house.bot("old").token)
    await house.register(OPERATOR, RegisterRequest(name="old", token=token, folder="old", start=False))
    assert (await rename(house, "old", "new")).notes == ()
    assert not (folder / "node.json").exists()
