"""A house with real nodes, whose pulses come as seldom as in a fleet; what they say of a patch is collected."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from master.configuration.settings import NodeSettings, Settings
from tests.nodekit.patching.patched_nodes import BETWEEN, FILES, PatchedNode
from tests.services.conftest import house_settings  # noqa: F401 - a fixture
from tests.services.repair.actions.conftest import (
    LivingHouse,
    living,  # noqa: F401 - a fixture
)
from tests.services.repair.actions.conftest import (
    living_settings as quick_settings,  # noqa: F401 - a fixture
)


@pytest.fixture
def node_settings() -> NodeSettings:
    """Settings of the node, for a test to replace."""
    return NodeSettings()


@pytest.fixture
def living_settings(quick_settings: Settings, node_settings: NodeSettings) -> Settings:  # noqa: F811
    supervision = replace(quick_settings.supervision, pulse_interval_s=9.0)
    return replace(quick_settings, supervision=supervision, nodes={"atlas": node_settings})


@pytest.fixture
async def patched(living: LivingHouse) -> PatchedNode:  # noqa: F811
    """A node with a cog that notes its version, and the version of a module that it uses."""
    template = living.settings.identity.template_path
    (template / "helpers").mkdir()
    for path, text in {**FILES, **BETWEEN}.items():
        (template / path).write_text(text)
    return PatchedNode(living, await living.clone())
