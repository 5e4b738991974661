"""A patch that needs a package: a real wheel, pip, and a real node that imports it without leaving the gateway."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from master.configuration.settings import HealingSettings, Settings
from master.events import NodeSpawned
from tests.services.patches.authors import Author
from tests.services.patches.living.conftest import living_settings as rolling_settings  # noqa: F401 - a fixture
from tests.services.patches.living.test_rolling_out_to_nodes import deploy
from tests.services.repair.actions.conftest import LivingHouse
from tests.services.repair.actions.test_packages import wheel, wheels

__all__ = ["wheels"]  # a fixture

NEW = "import tinymod\n\nasync def setup(bot):\n    assert tinymod.x == 1\n"


@pytest.fixture
def living_settings(rolling_settings: Settings, wheels: Path) -> Settings:  # noqa: F811
    digest = hashlib.sha256(wheel(wheels).read_bytes()).hexdigest()
    healing = HealingSettings(packages={"tinymod": f"tinymod==1.2 --hash=sha256:{digest}"})
    return replace(rolling_settings, healing=healing)


@pytest.mark.slow
async def test_a_package_that_is_allowed_is_there_before_the_node_is_told(living: LivingHouse, author: Author) -> None:
    node = await living.clone("atlas")
    spawned = list[NodeSpawned]()
    living.house.services.bus.on(NodeSpawned, spawned.append)
    done = await deploy(living, author, NEW, requirements=("tinymod==1.2",))
    assert (done.patch.state, [view.state for view in done.nodes]) == ("done", ["good"])
    assert (living.settings.packages_dir / node.id / "tinymod==1.2" / "tinymod.py").exists()
    assert spawned == []


@pytest.mark.slow
async def test_one_that_nobody_allowed_is_not_fetched_and_the_patch_is_bad(
    living: LivingHouse, author: Author, wheels: Path
) -> None:
    wheel(wheels, "othermod", "3.0")
    node = await living.clone("atlas")
    done = await deploy(living, author, NEW, requirements=("othermod==3.0",))
    assert done.patch.state == "rolled_back"
    assert "othermod==3.0 is not installed for this node" in done.nodes[0].detail
    assert not (living.settings.packages_dir / node.id / "othermod==3.0").exists()
