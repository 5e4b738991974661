"""Whole stories: a real master and real nodes as processes, on the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from master.demonstration.stage import EventTap, Stage


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with Stage(pulse_s=0.5) as up:
        await up.start_master()
        yield up
        if up.sandbox.conformance is not None:
            assert up.sandbox.conformance.violations == []
            assert up.sandbox.conformance.checked > 0


@pytest.fixture
async def tap(stage: Stage) -> AsyncIterator[EventTap]:
    async with stage.listen() as listening:
        yield listening
