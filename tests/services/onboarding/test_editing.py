"""Changing a node: what holds at once, what at its next start, and what config.py overrules."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from handshake.manifest import MANIFEST_NAME, read_manifest
from handshake.redaction import Secret
from master.configuration.node_options import OptionsRefused
from master.configuration.settings import NodeSettings, Settings
from master.errors import FleetError
from master.ledger.rows import audit, nodes
from master.ledger.rows.records import Node, Outcome
from master.operations import changing
from master.operations.parameters import EditParams, NodeParams
from master.services.core.errors import FolderRefused, LinkRefused, TagRefused
from master.services.core.views import EditView, OptionView
from master.services.onboarding.saga import CloneRequest, RegisterRequest
from sandbox import Sandbox
from tests.services.conftest import OPERATOR, QUIET_BOT, House, open_house


async def clone(house: House, name: str = "atlas", *, start: bool = True) -> Node:
    await house.clone(OPERATOR, CloneRequest(name=name, token=house.token(name), start=start))
    return house.services.directory.find(name)


async def edit(house: House, name: str = "atlas", **what: object) -> EditView:
    return await house.operations.run(changing.edit, OPERATOR, EditParams(name=name, **what))  # type: ignore[arg-type]


async def options(house: House, name: str = "atlas") -> dict[str, OptionView]:
    found = await house.operations.run(changing.options, OPERATOR, NodeParams(name=name))
    return {option.key: option for option in found.options}


def wait_for(path: Path) -> None:
    until = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def told(view: EditView) -> list[tuple[str, str, str, str]]:
    return [(change.key, change.before, change.after, change.effect) for change in view.changes]


async def test_limits_tags_and_priority_are_kept_and_told(house: House) -> None:
    node = await clone(house)
    edited = await edit(
        house, tags=("music",), priority=5, options={"memory_limit_bytes": "256 MB", "CPU_WEIGHT": "50"}
    )
    assert told(edited) == [
        ("TAGS", "", "music", "now"),
        ("PRIORITY", "100", "5", "now"),
        ("MEMORY_LIMIT_BYTES", "no limit", "256M", "now"),
        ("CPU_WEIGHT", "100", "50", "node start"),
    ]
    assert not edited.restarted
    kept = await house.services.ledger.read(lambda connection: nodes.get(connection, node.id))
    assert kept is not None
    assert (kept.tags, kept.priority) == (("music",), 5)
    assert kept.options == house.services.directory.find("atlas").options
    assert read_manifest(house.base / "atlas").tags == ("music",)
    assert house.services.supervisor._runners[node.id].spec.memory_limit_bytes == 256 << 20
    shown = await options(house)
    assert (shown["CPU_WEIGHT"].value, shown["CPU_WEIGHT"].source) == ("50", "node")
    assert (shown["OPEN_FILES_LIMIT"].value, shown["OPEN_FILES_LIMIT"].source) == ("4096", "fleet")
    undone = await edit(house, tags=(), options={"MEMORY_LIMIT_BYTES": None, "CPU_WEIGHT": None, "PRIORITY": None})
    assert [change.after for change in undone.changes] == ["", "100", "no limit", "100"]
    assert house.services.directory.find("atlas").options == ""
    (last, *_) = await house.services.ledger.read(lambda connection: audit.search(connection, action="edit"))
    assert (last.outcome, last.node_id) == (Outcome.DONE, node.id)
    assert last.detail == "atlas: TAGS=, PRIORITY=100, MEMORY_LIMIT_BYTES=no limit, CPU_WEIGHT=100"


async def test_a_restart_has_it_hold(house: House) -> None:
    node = await clone(house)
    before = house.services.supervisor.pid_of(node.id)
    here = house.base / "atlas" / "here"
    (house.base / "atlas" / "other.py").write_text(f"open({str(here)!r}, 'w').close()\n{QUIET_BOT}")
    edited = await edit(house, entry="other.py", restart=True)
    assert (told(edited), edited.restarted) == ([("ENTRY", "bot.py", "other.py", "node start")], True)
    pid = house.services.supervisor.pid_of(node.id)
    assert pid not in (None, before)
    await asyncio.to_thread(wait_for, here)
    unchanged = await edit(house, entry="other.py", restart=True)
    assert (unchanged.changes, unchanged.restarted) == ((), False)
    assert house.services.supervisor.pid_of(node.id) == pid
    # What is watched holds at once, but only a process that begins with it loads its cogs again by itself.
    watched = await edit(house, options={"WATCH": "."}, restart=True)
    assert (told(watched), watched.restarted) == ([("WATCH", "", ".", "now")], True)


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ({"options": {"MEMORY": "1"}}, OptionsRefused, "MEMORY is not known"),
        ({"options": {"CPU_WEIGHT": "much"}}, OptionsRefused, "CPU_WEIGHT: is 'much'"),
        ({"options": {"PRIORITY": "-1"}}, OptionsRefused, "PRIORITY: is '-1'"),
        ({"options": {"ISOLATED": "perhaps"}}, OptionsRefused, "ISOLATED: is 'perhaps'"),
        ({"options": {"ENV": "A=b"}}, OptionsRefused, "ENV is not stored"),
        ({"options": {"READY_WHEN": "port:80"}}, LinkRefused, "says itself when it is ready"),
        ({"options": {"COMMAND": "no-such-program"}}, FleetError, "no-such-program"),
        ({"tags": ("a,b",)}, TagRefused, "not valid"),
        ({"entry": "gone.py"}, FolderRefused, "has no file 'gone.py'"),
        ({"folder": "../elsewhere"}, FolderRefused, "not directly below"),
        ({"folder": "/"}, FolderRefused, "holds the fleet's own files"),
    ],
)
async def test_what_is_not_valid_changes_nothing(
    house: House, what: dict[str, object], error: type[FleetError], words: str
) -> None:
    node = await clone(house, start=False)
    with pytest.raises(error, match=words):
        await edit(house, **{"priority": 7, **what})  # type: ignore[arg-type]
    assert house.services.directory.get(node.id) == node
    assert await house.services.ledger.read(lambda connection: nodes.get(connection, node.id)) == node


async def test_config_py_wins_and_that_is_told(house: House, house_settings: Settings) -> None:
    await clone(house)
    changed = replace(house_settings, nodes={"atlas": NodeSettings(cpu_weight=20)})
    house.services.reloading._settings = changed
    house.services.reloading.take_effect()
    house.services.fleet.update_settings(changed)
    edited = await edit(house, options={"CPU_WEIGHT": "50"})
    assert told(edited) == [("CPU_WEIGHT", "20", "20", "never")]
    assert edited.notes == ("NODES in config.py says otherwise, and wins: CPU_WEIGHT",)
    assert (await options(house))["CPU_WEIGHT"].source == "config.py"


async def test_a_folder_that_was_moved_is_found_again(house: House, tmp_path: Path) -> None:
    node = await clone(house)
    (house.base / "atlas").rename(house.base / "sol")
    edited = await edit(house, folder="sol", restart=True)
    assert told(edited) == [("FOLDER", "atlas", "sol", "node start")]
    assert edited.restarted
    pid = house.services.supervisor.pid_of(node.id)
    assert Path(f"/proc/{pid}/cwd").resolve() == house.base / "sol"


async def test_another_folder_gets_the_nodes_manifest_and_the_old_one_loses_it(house: House, tmp_path: Path) -> None:
    node = await clone(house, start=False)
    new = tmp_path / "elsewhere"
    new.mkdir()
    (new / "bot.py").write_text(QUIET_BOT)
    await edit(house, folder=str(new))
    assert read_manifest(new).node_id == node.id
    assert not (house.base / "atlas" / MANIFEST_NAME).exists()
    assert house.services.directory.find("atlas").folder == str(new)
    # Not into the folder of another node.
    await clone(house, "borealis", start=False)
    with pytest.raises(FolderRefused, match="belongs to the node 'borealis'"):
        await edit(house, folder="borealis")


@pytest.mark.parametrize("committed", [False, True])
async def test_after_a_crash_the_manifest_is_in_one_folder(
    house: House, house_settings: Settings, sandbox: Sandbox, committed: bool
) -> None:
    node = await clone(house, start=False)
    new = house.base / "sol"
    new.mkdir()
    (new / "bot.py").write_text(QUIET_BOT)
    editing = house.services.editing
    changed = replace(node, folder="sol")
    await editing._work(node, changed, new)
    assert read_manifest(new).node_id == node.id
    if committed:
        await house.services.ledger.write(lambda connection: nodes.change(connection, changed))
    async with open_house(house_settings, sandbox) as later:
        await later.services.onboarding.recover()
    left = [folder.name for folder in (house.base / "atlas", new) if (folder / MANIFEST_NAME).exists()]
    assert left == (["sol"] if committed else ["atlas"])


async def test_a_foreign_program_can_be_given_a_command_and_a_sign_of_readiness(house: House) -> None:
    folder = house.base / "web"
    folder.mkdir(parents=True)
    (folder / "serve.py").write_text("import time\nprint('listening', flush=True)\ntime.sleep(600)\n")
    await house.register(
        OPERATOR,
        RegisterRequest(name="web", token=Secret(house.bot("web").token), folder="web", entry="serve.py"),
    )
    edited = await edit(
        house, "web", options={"COMMAND": f"{sys.executable} serve.py", "READY_WHEN": "log:listening"}, restart=True
    )
    assert [change.key for change in edited.changes] == ["COMMAND", "READY_WHEN"]
    assert edited.restarted
    node = house.services.directory.find("web")
    await house.services.supervisor.wait_state(node.id, ["ready"], timeout_s=20)  # type: ignore[list-item]


async def test_two_edits_at_once_are_both_kept(house: House) -> None:
    await clone(house, start=False)
    await asyncio.gather(*(edit(house, options={key: "77"}) for key in ("CPU_WEIGHT", "OPEN_FILES_LIMIT")))
    shown = await options(house)
    assert [shown[key].value for key in ("CPU_WEIGHT", "OPEN_FILES_LIMIT")] == ["77", "77"]
