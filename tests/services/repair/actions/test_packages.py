"""A package that is missing: only what the operator names, in a folder that the node cannot change."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from handshake.redaction import Secret
from master.configuration.settings import HealingSettings, NodeSettings, Settings
from master.ledger.rows import audit
from master.ledger.rows.records import Node
from master.services.fleet.packages import NotInstalled, PackageInstaller, installed_packages
from master.services.onboarding.saga import CloneRequest
from master.services.repair.errors import ActionSkipped
from master.supervision.states import NodeState
from tests.services.conftest import OPERATOR, House
from tests.services.repair.acting import act
from tests.services.repair.actions.conftest import LivingHouse

pytestmark = pytest.mark.timeout(120)

COG = """
import tinymod

async def setup(bot):
    with open("found", "w") as notes:
        notes.write(tinymod.__file__)
"""


def wheel(folder: Path, name: str = "tinymod", version: str = "1.2", code: str = "x = 1\n") -> Path:
    """Write a wheel that holds one module."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is pip's only source."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def living_settings(living_settings: Settings, wheels: Path) -> Settings:
    digest = hashlib.sha256(wheel(wheels).read_bytes()).hexdigest()
    healing = HealingSettings(packages={"tinymod": f"tinymod==1.2 --hash=sha256:{digest}"})
    (living_settings.identity.template_path / "cogs" / "tiny.py").write_text(COG)
    return replace(living_settings, healing=healing)


@pytest.mark.slow
async def test_a_missing_module_is_installed_for_a_forked_node_and_it_is_ready(living: LivingHouse) -> None:
    house, supervisor = living.house, living.house.services.supervisor
    node = await living.clone(until=NodeState.DEGRADED)
    assert supervisor.view(node.id).cogs_failed == ("tiny",)
    done = await act(house, node, "install_package", {"module": "{module}"}, module="tinymod.part")
    assert (done.detail, done.awaits_ready) == ("installed tinymod==1.2, and restarted", True)
    await living.reach(node, NodeState.READY)

    place = living.settings.packages_dir / node.id / "tinymod==1.2"
    assert (living.folder(node) / "found").read_text() == str(place / "tinymod.py")
    assert os.listdir(place.parent) == ["tinymod==1.2"]
    (row,) = await house.services.ledger.read(lambda connection: audit.search(connection, action="install_package"))
    assert (row.actor, row.detail) == ("system:solution/a_test", "tinymod==1.2")
    with pytest.raises(NotInstalled, match="is installed for atlas already, and did not help"):
        await act(house, node, "install_package", {"module": "tinymod"})

    # A process of its own finds it too.
    request = await house.services.tools.launcher.prepare(house.services.tools.launcher.spec(node))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import tinymod; print(tinymod.__file__)"),
        env=request.environment,
        stdout=asyncio.subprocess.PIPE,
    )
    assert (await process.communicate())[0].decode().strip() == str(place / "tinymod.py")


@pytest.fixture
def house_settings(house_settings: Settings) -> Settings:
    packages = {
        "tinymod": "tinymod==1.2",
        "changed": "tinymod==1.2 --hash=sha256:" + "0" * 64,
        "other": "tinymod==1.2",
        "absent": "absent==1",
    }
    return replace(house_settings, healing=HealingSettings(packages=packages))


async def quiet(house: House) -> Node:
    await house.clone(OPERATOR, CloneRequest(name="atlas", token=Secret(house.bot("atlas").token), start=False))
    return house.services.directory.find("atlas")


async def test_what_is_not_allowed_reaches_no_pip(house: House, wheels: Path) -> None:
    wheel(wheels, "evil")
    node = await quiet(house)
    for module in ("evil", "os", "requests"):
        with pytest.raises(ActionSkipped, match=f"nothing may be installed for the module {module}") as skipped:
            await act(house, node, "install_package", {"module": "{module}"}, module=module)
        assert f'"{module}": "NAME==VERSION"' in skipped.value.hint
    for module in ("../evil", "tinymod; rm -rf /", "-r /etc/passwd", "--index-url=x", "\0", "tinymod\n", "tinymod[x]"):
        with pytest.raises(ActionSkipped, match="is no name of a module"):
            await act(house, node, "install_package", {"module": "{module}"}, module=module)


@pytest.mark.slow  # pip, five times
async def test_what_goes_wrong_leaves_nothing(house: House, house_settings: Settings, wheels: Path) -> None:
    wheel(wheels)
    node, folder = await quiet(house), house.base / "atlas"
    installer = house.services.tools.installer
    for module, why in {
        "absent": "pip ended with exit code 1: .*No matching distribution found for absent==1",
        "changed": "pip ended with exit code 1: what the index has is not what HEALING.* another sha256",
        "other": "tinymod==1.2 has no module other: HEALING",
        "nothing": "names nothing for the module",
    }.items():
        with pytest.raises(NotInstalled, match=why):
            await installer.install(node, folder, NodeSettings(), module)
    root = house_settings.packages_dir / node.id
    assert os.listdir(root) == []

    for own in (NodeSettings(command="node index.js"), NodeSettings(interpreter="python3.9")):
        with pytest.raises(NotInstalled, match="install the package by hand"):
            await installer.install(node, folder, own, "tinymod")

    # Its own environment may be anything: nothing in it is run.
    (folder / ".venv" / "bin").mkdir(parents=True)
    python = folder / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\ntouch owned\n")
    python.chmod(0o755)
    with pytest.raises(NotInstalled, match=r"has no pyvenv\.cfg"):
        await installer.install(node, folder, NodeSettings(), "tinymod")
    (folder / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.12.4\n")
    assert await installer.install(node, folder, NodeSettings(), "tinymod") == "tinymod==1.2"
    assert not list(house.base.rglob("owned"))
    assert installed_packages(house_settings.packages_dir, node.id) == [str(root / "tinymod==1.2")]


@pytest.mark.slow
async def test_pip_is_ended_in_time_and_with_its_caller(
    house: House, house_settings: Settings, wheels: Path, tmp_path: Path
) -> None:
    node, folder = await quiet(house), house.base / "atlas"
    # A source that says nothing: pip waits for it.
    asked, hung_up = asyncio.Event(), asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        hung_up.set()
        writer.close()

    listening = await asyncio.start_server(say_nothing, "127.0.0.1")
    port = listening.sockets[0].getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "PIP_INDEX_URL": f"http://127.0.0.1:{port}/", "PIP_TIMEOUT": "60"}
    async with listening:
        hurried = PackageInstaller(lambda: house_settings, environment, timeout_s=0.3)
        with pytest.raises(NotInstalled, match=r"pip took longer than 0\.3 s"):
            await hurried.install(node, folder, NodeSettings(), "tinymod")
        patient = PackageInstaller(lambda: house_settings, environment)
        installing = asyncio.create_task(patient.install(node, folder, NodeSettings(), "tinymod"))
        await asked.wait()
        installing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await installing
        await hung_up.wait()
    assert os.listdir(house_settings.packages_dir / node.id) == []


@pytest.mark.slow
async def test_what_a_patch_requires_is_provided_once_and_only_if_the_operator_allows_it(living: LivingHouse) -> None:
    node = await living.clone(until=NodeState.DEGRADED)
    tools, own = living.house.services.tools, NodeSettings()
    for _ in range(2):  # The second time it is there.
        await tools.installer.provide(node, living.folder(node), own, "tinymod==1.2")
    assert installed_packages(living.settings.packages_dir, node.id) == [
        str(living.settings.packages_dir / node.id / "tinymod==1.2")
    ]
    for required in ("tinymod==1.3", "evil==1.0", "tinymod"):
        with pytest.raises(NotInstalled, match=r'requires \S+, which HEALING\["PACKAGES"\] does not have'):
            await tools.installer.provide(node, living.folder(node), own, required)
