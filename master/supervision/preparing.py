"""What stands between a node's specification and its start; implemented where tokens and keys are."""

from __future__ import annotations

from typing import Protocol

from master.supervision.spawner import SpawnRequest
from master.supervision.specification import NodeSpec


class StartPreparer(Protocol):
    """Gather what a start needs, afresh each time, and prepare the end of a process for its successor."""

    async def prepare(self, spec: NodeSpec) -> SpawnRequest:
        """Return what one start of a node needs: token, key, environment.

        Raises
        ------
        FleetError
            The node cannot be started now.
        """
        ...

    def expect_successor(self, spec: NodeSpec, expected: bool) -> None:
        """Tell the running node whether another process takes over when it ends; may block.

        Raises
        ------
        OSError
            It could not be told.
        """
        ...
