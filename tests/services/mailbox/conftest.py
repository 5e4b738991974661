"""A mail server for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.services.mailbox.dovecot import Dovecot, running_dovecot


@pytest.fixture
async def server() -> AsyncIterator[Dovecot]:
    async with running_dovecot() as running:
        yield running
