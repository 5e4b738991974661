"""A house with real nodes of a template that has a cog of its own, and an author whom it trusts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from master.configuration.settings import PatchSettings, Settings
from master.ledger.rows import patch_keys
from tests.services.patches.authors import Author
from tests.services.repair.actions.conftest import (
    LivingHouse,
    living,  # noqa: F401 - a fixture
)
from tests.services.repair.actions.conftest import (
    living_settings as quick_settings,  # noqa: F401 - a fixture
)

COG = "VERSION = {version}\n\nasync def setup(bot):\n    {setup}\n"


@pytest.fixture
def living_settings(quick_settings: Settings) -> Settings:  # noqa: F811
    cogs = quick_settings.identity.template_path / "cogs"
    (cogs / "ranks.py").write_text(COG.format(version=1, setup="pass"))
    supervision = replace(quick_settings.supervision, pulse_interval_s=9.0)
    patching = PatchSettings(canary=1, waves=(100,), soak_s=0.0, answer_within_s=20.0)
    return replace(quick_settings, supervision=supervision, patches=patching)


@pytest.fixture
async def author(living: LivingHouse) -> AsyncIterator[Author]:  # noqa: F811
    made = Author()
    services = living.house.services
    await services.ledger.write(lambda connection: patch_keys.insert(connection, made.key()))
    task = asyncio.create_task(services.patches.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
