"""Operations without a running master: entries of the same table, run in the caller's process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from master.configuration.settings import Settings
from master.instance import InstanceLock
from master.ledger.database import Ledger
from master.operations.operation import Call, Needs, Operation, Operations
from master.services.container import LedgerServices, build_ledger_services
from master.services.core.actors import Actor
from master.services.core.auditing import audit_chain_of
from master.services.core.keys import master_secret_of
from master.services.core.permissions import Permissions
from master.services.trust.rotation import finish_rotation
from master.supervision.clock import Clock, SystemClock

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class HomeServices:
    """Services for operations that replace or migrate the ledger itself."""

    settings: Settings
    clock: Clock

    async def note(self, call: Call[HomeServices], detail: str) -> None:
        """Audit the operation in the new ledger."""
        async with (
            open_ledger_services(self.settings) as services,
            services.auditor.action(call.actor, call.operation.audit_name) as entry,
        ):
            entry.detail = detail


@asynccontextmanager
async def open_ledger_services(settings: Settings) -> AsyncIterator[LedgerServices]:
    """Open the ledger and build its services; the caller must hold the state folder's lock.

    The spool is opened too: its writes belong to the ledger that is read, backed up or migrated.

    Raises
    ------
    LedgerError
    """
    clock = SystemClock()
    chain = audit_chain_of(master_secret_of(settings.identity))
    ledger = await Ledger.open(settings.database, chain=chain, spool_dir=settings.spool_dir)
    try:
        if settings.identity.next_secret is not None:
            settings = await finish_rotation(settings, ledger, clock)
        yield build_ledger_services(settings, ledger, clock=clock)
    finally:
        await ledger.close()


async def run_alone(settings: Settings, operation: Operation[P, R, Any], actor: Actor, parameters: P) -> R:
    """Run an operation without a master; holds the lock, so that none can start meanwhile.

    Raises
    ------
    AlreadyRunning
        A master runs on this state folder.
    NotAuthorised
    FleetError
        What the handler raises.
    """
    if operation.needs is Needs.MASTER:
        raise ValueError(f"{operation.name} needs a running master")
    lock = InstanceLock(settings.lock_path)
    lock.acquire()
    try:
        if operation.needs is Needs.STOPPED:
            Permissions(settings).require(actor, operation.permission, operation.audit_name)
            home = HomeServices(settings, SystemClock())
            return await operation.handler(Call(home, actor, operation, _ignore_event), parameters)
        async with open_ledger_services(settings) as services:
            return await Operations(services).run(operation, actor, parameters)
    finally:
        lock.release()


async def _ignore_event(_data: Any) -> None:
    """Ignore events: the caller waits for the result."""
