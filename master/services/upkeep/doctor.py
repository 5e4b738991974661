"""``fleet doctor`` inside a running master: the same checks, in a thread of their own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from handshake.redaction import Secret
from master.configuration.settings import Settings
from master.services.core.findings import Finding
from master.services.core.views import MasterStatus
from master.services.onboarding.identity import Lookup

LookupOf = Callable[[Settings, Secret[str]], Lookup]
"""Returns what asks Discord with a token, beside the master's connection."""


class Doctor:
    """Run all checks.

    Parameters
    ----------
    status
        Returns the master's own figures.
    lookup_of
        None to skip Discord.
    """

    def __init__(self, home: Path, status: Callable[[], MasterStatus], lookup_of: LookupOf | None) -> None:
        self._home, self._status, self._lookup_of = home, status, lookup_of
        self._turn = asyncio.Lock()

    async def look(self) -> list[Finding]:
        """Return the findings; one look at a time, since it keeps a worker thread for as long as Discord takes."""
        # Imported here: seldom used, and not small.
        from master.services.upkeep.diagnosis import diagnose

        async with self._turn:
            status = self._status()
            looking = diagnose(self._home, os.environ, ping=lambda _state_dir: status, lookup_of=self._lookup_of)
            # Files, a database, a database driver: none of that may hold the master's own loop.
            return await asyncio.to_thread(asyncio.run, looking)
