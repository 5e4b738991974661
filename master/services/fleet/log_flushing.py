"""Emptying the logs of nodes."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from master.ledger.rows.records import Node
from master.services.core.errors import ServiceError
from master.supervision.logs import NodeLogs


class LogNotFlushed(ServiceError):
    """The system did not let a log be emptied."""

    code: ClassVar[str] = "log_not_flushed"


class LogFlushing:
    """Empty logs while their nodes write on."""

    def __init__(self, logs: NodeLogs) -> None:
        self._logs = logs

    async def flush(self, node: Node) -> bool:
        """Empty a node's logs, and remove the rotated ones.

        Raises
        ------
        LogNotFlushed
        """
        try:
            await asyncio.to_thread(self._logs.flush, node.name)
        except OSError as error:
            raise LogNotFlushed(
                f"{error.filename or 'a log'} cannot be emptied: {error.strerror}", hint="look at what is there"
            ) from error
        return True
