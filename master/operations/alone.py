"""Operations without a running master: entries of the same table, run in the caller's process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from master.configuration.settings import Settings
from master.errors import FleetError
from master.instance import InstanceLock
from master.ledger.database import Ledger
from master.ledger.engine import connect_as_it_is
from master.ledger.rows.records import Outcome
from master.ledger.schema.migrations import require_newest_schema
from master.ledger.writer.entries import Audited, apply
from master.operations.operation import Call, Needs, Operation, Operations
from master.services.container import LedgerServices, build_ledger_services
from master.services.core.actors import Actor
from master.services.core.auditing import audit_chain_of
from master.services.core.permissions import Permission, Permissions
from master.services.trust.rotation import finish_rotation
from master.supervision.clock import Clock, SystemClock
from master.wording import encodable

log = logging.getLogger(__name__)

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class HomeServices:
    """Services for operations that replace or migrate the ledger itself."""

    settings: Settings
    clock: Clock

    async def note(
        self, call: Call[HomeServices], detail: str, outcome: Outcome = Outcome.DONE, *, replaced: bool = False
    ) -> None:
        """Audit the operation in the ledger that is there now.

        Parameters
        ----------
        replaced
            Whether it is another ledger than before, whose audit log ends elsewhere.

        Raises
        ------
        LedgerError
        """
        row = Audited(
            at=self.clock.now(),
            actor=call.actor.label,
            face=call.actor.face,
            action=call.operation.audit_name,
            node_id=None,
            outcome=outcome,
            detail=encodable(detail),
        )
        await asyncio.to_thread(self._append, row, replaced)

    def _append(self, row: Audited, replaced: bool) -> None:
        """Add a row at whichever revision the schema is: opening the ledger would upgrade it.

        A failure is not added to an empty log: only an empty ledger can be filled from an archive.
        """
        chain = audit_chain_of(self.settings)
        with connect_as_it_is(self.settings.database) as connection:
            if connection is None or (row.outcome is not Outcome.DONE and not chain.length(connection)):
                return
            chain.open(connection)
            if replaced:
                before, length = chain.rebase(connection).sequence, chain.length(connection)
                if before > length:
                    row = structs.replace(row, detail=f"{row.detail}; the audit log had {before} rows, now {length}")
            apply(connection, [row], chain)
        chain.mark_committed()

    @asynccontextmanager
    async def noting_failure(self, call: Call[HomeServices]) -> AsyncIterator[None]:
        """Audit a failure of the block, whatever it is, in the ledger that it left."""
        try:
            yield
        except Exception as error:
            if isinstance(error, FleetError):
                detail = f"{error.code}: {error.message}"
            else:
                detail = f"{type(error).__name__}: {error}"
            try:
                await self.note(call, detail[:400], Outcome.FAILED)
            except Exception as why:
                # A damaged ledger is a common reason for a restore; what ended it is raised all the same.
                log.warning("a failure could not be audited", extra={"why": str(why)})
            raise


@asynccontextmanager
async def open_ledger_services(settings: Settings) -> AsyncIterator[LedgerServices]:
    """Open the ledger and build its services; the caller must hold the state folder's lock.

    The spool is opened too: its writes belong to the ledger that is read, backed up or migrated.

    Raises
    ------
    LedgerError
    """
    clock = SystemClock()
    chain = audit_chain_of(settings)
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
    LedgerTooOld
        The operation only views, and the ledger's schema is older than this program.
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
        if operation.permission is Permission.VIEW:
            await asyncio.to_thread(require_newest_schema, settings.database)
        async with open_ledger_services(settings) as services:
            return await Operations(services).run(operation, actor, parameters)
    finally:
        lock.release()


async def _ignore_event(_data: Any) -> None:
    """Ignore events: the caller waits for the result."""
