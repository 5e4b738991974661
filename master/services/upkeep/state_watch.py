"""Watches the master's own files: a socket that is removed is made again, and a ledger's file is written again."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Protocol

from handshake.rare_log import RareLog
from master.errors import FleetError
from master.events import AlertLevel
from master.ledger.database import Ledger
from master.services.core.alerts import Alerts
from master.supervision.supervisor import Supervisor

log = logging.getLogger(__name__)

LOOK_EVERY_S = 4.5
"""Half of the pulse interval, and in step with it: every other look needs no wake-up of its own."""
_WITHOUT_NODES_SOCKET = "Nodes that start cannot prove themselves until it is back."
_WITHOUT_CONTROL_SOCKET = "The command line cannot reach the master until it is back."


class Listening(Protocol):
    """A socket that can be looked after; :class:`handshake.acceptor.Acceptor` is one."""

    path: Path

    def is_in_place(self) -> bool:
        """Tell whether the path still leads to it."""
        ...

    def make_again(self) -> None:
        """Listen at the path anew; raises ``OSError``."""
        ...


class StateWatch:
    """Look every few seconds whether sockets and ledger are still where others look for them.

    Nodes are not replaced because their master cannot be reached: open connections go on without the socket's file, and
    while it cannot be made again nobody's silence counts.
    """

    def __init__(self, *, ledger: Ledger, supervisor: Supervisor, alerts: Alerts) -> None:
        self._ledger = ledger
        self._supervisor = supervisor
        self._alerts = alerts
        self._sockets: list[Listening] = []
        self._for_nodes: Listening | None = None
        self._gone: dict[Path, str] = {}
        """Why a socket cannot be made again."""
        self._made_again = RareLog(log, "a socket was removed, and made again")

    def guard(self, *sockets: Listening, nodes: Listening) -> None:
        """Look after sockets from now on; ``nodes`` is the one that nodes connect to."""
        self._sockets = [*sockets, nodes]
        self._for_nodes = nodes

    def troubles(self) -> tuple[str, ...]:
        """Return what is wrong now, in sentences."""
        away = self._ledger.away
        found = [f"{path.name} is gone, and cannot be made again: {why}" for path, why in self._gone.items()]
        return (*found, *(() if away is None else (f"the ledger is away: {away.why}",)))

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S - time.monotonic() % LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Make again what is gone."""
        for listening in self._sockets:
            if not listening.is_in_place():
                self._make_again(listening)
        try:
            await self._ledger.look_for_file()
        except FleetError as error:
            log.warning("the ledger's file could not be looked after", extra={"why": error.message})

    def _make_again(self, listening: Listening) -> None:
        path = listening.path
        try:
            listening.make_again()
        except OSError as error:
            self._say_gone(listening, error.strerror or str(error))
            return
        if self._gone.pop(path, None) is None:
            self._made_again(path=str(path))
            title, level = f"{path.name} was removed, and made again", AlertLevel.WARNING
        else:
            log.info("a socket is back", extra={"path": str(path)})
            title, level = f"{path.name} is back", AlertLevel.SUCCESS
        if listening is self._for_nodes:
            self._supervisor.set_deaf(False)
        text = f"{path}\nConnections that were open went on; no node was replaced for it."
        self._alerts.raise_alert(level, title, key=f"socket:{path.name}:{level.value}", text=text)

    def _say_gone(self, listening: Listening, why: str) -> None:
        path = listening.path
        if path not in self._gone:
            log.error("a socket was removed, and cannot be made again", extra={"path": str(path), "why": why})
            means = _WITHOUT_NODES_SOCKET if listening is self._for_nodes else _WITHOUT_CONTROL_SOCKET
            self._alerts.raise_alert(
                AlertLevel.ERROR,
                f"{path.name} is gone",
                key=f"socket:{path.name}:gone",
                text=f"{path} was removed, and cannot be made again: {why}. {means} It is tried "
                f"every {LOOK_EVERY_S:g} s. The fleet goes on, and no node is replaced for it.",
            )
        self._gone[path] = why
        if listening is self._for_nodes:
            self._supervisor.set_deaf(True)
