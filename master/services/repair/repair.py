"""The engine: decides which solution acts on an error that was seen, has it act, and records it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from master.bus import EventBus
from master.configuration.settings import Settings
from master.errors import FleetError
from master.ledger.database import Ledger
from master.services.healing.library import SolutionLibrary
from master.services.healing.monitor import Finding
from master.services.healing.solution import Risk
from master.services.repair.actions.action import Acting, parameters_of
from master.services.repair.actions.registry import ACTIONS
from master.services.repair.actions.tools import Tools

log = logging.getLogger(__name__)


class Repair:
    """Act on errors that solutions know.

    Parameters
    ----------
    tools
        What actions act with.
    settings
        Returns the settings that are in effect.
    """

    def __init__(
        self,
        *,
        library: SolutionLibrary,
        tools: Tools,
        ledger: Ledger,
        bus: EventBus,
        settings: Callable[[], Settings],
    ) -> None:
        self._library, self._tools = library, tools
        self._ledger, self._bus, self._settings = ledger, bus, settings
        self._findings = asyncio.Queue[Finding]()

    def take(self, finding: Finding) -> None:
        """Take an error that solutions know; never blocks."""
        if self._settings().healing.enabled:
            self._findings.put_nowait(finding)

    async def run(self) -> None:
        """Repair until cancelled."""
        while True:
            await self._repair(await self._findings.get())

    async def _repair(self, finding: Finding) -> None:
        node = self._tools.directory.get(finding.sighting.node_id)
        match = max(finding.matches, key=lambda found: found.solution.priority)
        solution, action = match.solution, ACTIONS.get(match.solution.action_name)
        if node is None or action is None or solution.risk is not Risk.AUTO:
            return
        acting = Acting(
            node=node,
            sighting=finding.sighting,
            title=solution.title,
            advice=solution.advice,
            actor=f"system:solution/{solution.id}",
            tools=self._tools,
        )
        try:
            done = await action.run(acting, parameters_of(action, solution.parameters, match.captures))
        except (FleetError, msgspec.ValidationError) as error:
            log.warning("a repair failed", extra={"node": node.name, "solution": solution.id, "why": str(error)})
        else:
            log.info("repaired", extra={"node": node.name, "solution": solution.id, "what": done.detail})
