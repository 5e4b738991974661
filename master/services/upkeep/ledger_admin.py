"""Administration of the ledger: status, integrity checks, backups, and reading the audit log."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from master.configuration.settings import Settings
from master.errors import FleetError
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows import inspection, nodes
from master.ledger.rows.audit import AuditChain, search
from master.ledger.rows.records import AuditRow
from master.ledger.schema.migrations import revision_of
from master.security.derivation import MasterSecret
from master.services.core.auditing import AuditEntry
from master.services.core.errors import NoSuchNode, NothingToAcknowledge
from master.services.core.views import AcknowledgedView, AuditView, BackupView, LedgerStatus, Soundness
from master.supervision.clock import Clock

BACKUPS_KEPT = 14
COUNTED = 20_000


class LedgerAdmin:
    """Administer an open ledger, with or without a running master."""

    def __init__(self, settings: Settings, ledger: Ledger, secret: MasterSecret, clock: Clock) -> None:
        self._settings = settings
        self._ledger = ledger
        self._chain = ledger.chain if ledger.chain.has_key else AuditChain(secret.derive("audit"))
        self._archive_key = secret.derive("archive")
        self._clock = clock

    async def status(self, *, exact: bool = False) -> LedgerStatus:
        """Return the ledger's status; unless ``exact``, tables are counted up to COUNTED rows."""
        away, statistics, spooled = self._ledger.away, self._ledger.statistics, self._ledger.spooled
        most = None if exact else COUNTED
        readable = away is None or self._ledger.dialect == "sqlite"
        revision, rows = await self._ledger.snapshot(partial(_look, most=most)) if readable else ("", {})
        return LedgerStatus(
            dialect=self._ledger.dialect,
            revision=revision,
            rows=rows,
            uncounted=tuple(name for name, count in rows.items() if count == most),
            bytes=self._ledger.file_bytes(),
            writes=statistics.writes,
            groups=statistics.groups,
            failures=statistics.failures,
            dropped=statistics.dropped,
            away_since=None if away is None else away.since.timestamp(),
            away_why="" if away is None else away.why,
            held=statistics.held,
            waiting=spooled.records,
            waiting_bytes=spooled.bytes,
            given_up=dict(spooled.dropped),
        )

    async def verify(self) -> Soundness:
        """Check the file, foreign keys and the audit chain; reads the whole ledger."""

        def check(connection: Connection) -> Soundness:
            audited = self._check_chain(connection)
            faults = (*inspection.find_faults(connection), *audited.faults)
            return Soundness(ok=not faults, faults=faults, audit_rows=audited.audit_rows)

        return await self._ledger.snapshot(check)

    async def verify_audit(self) -> Soundness:
        """Check only the audit chain."""
        return await self._ledger.snapshot(self._check_chain)

    def _check_chain(self, connection: Connection) -> Soundness:
        fault, rows = self._chain.verify(connection), self._chain.length(connection)
        faults = () if fault is None else (f"audit log: {fault.problem}",)
        return Soundness(ok=not faults, faults=faults, audit_rows=rows)

    async def acknowledge(self, entry: AuditEntry) -> AcknowledgedView:
        """Acknowledge the alarms of the audit log; those and ``entry`` are rows of it.

        Raises
        ------
        NothingToAcknowledge
            No alarm stands.
        LedgerError
            The database is away.
        """

        def write(connection: Connection) -> tuple[str, ...]:
            cut = self._chain.find_cut(connection)
            standing = self._chain.standing_alarms(connection) + ((cut,) if cut else ())
            if not standing:
                raise NothingToAcknowledge("no alarm of the audit log stands", hint="`fleet audit verify` checks it")
            entry.detail = "; ".join(standing)[:400]
            entry.append(connection)
            return standing

        alarms = await self._ledger.write(write)
        entry.written = True
        return AcknowledgedView(alarms=alarms)

    async def audit(self, *, limit: int, node: str = "", action: str = "") -> tuple[AuditView, ...]:
        """Return the latest rows of the audit log, newest first.

        Parameters
        ----------
        node
            Only rows of this node, or of removed ones of that name; empty for all.
        action
            Only rows of this action; empty for all.

        Raises
        ------
        NoSuchNode
        """

        def query(connection: Connection) -> tuple[list[AuditRow], dict[str, str]]:
            found = nodes.ids_named(connection, node) if node else []
            if node and not found:
                raise NoSuchNode(f"there was no node called {node[:60]!r}", hint="`fleet status` lists the nodes")
            return search(connection, limit=limit, node_ids=found, action=action), nodes.names(connection)

        rows, names = await self._ledger.snapshot(query)
        return tuple(
            AuditView(
                sequence=row.sequence,
                at=row.at.timestamp(),
                actor=row.actor,
                face=row.face,
                action=row.action,
                node_id=row.node_id,
                node="" if row.node_id is None else names.get(row.node_id, ""),
                outcome=row.outcome.value,
                detail=row.detail,
            )
            for row in rows
        )

    async def back_up(self, where: str = "") -> BackupView:
        """Write a consistent backup into one file while the fleet runs.

        Parameters
        ----------
        where
            Absolute path of a new file; empty for one in the state folder, where the oldest ones are deleted.

        Raises
        ------
        LedgerError
            The backup could not be written; nothing is left of it.
        """
        # Imported here: the ZIP modules cost half a megabyte, and a master writes one backup a day.
        from master.ledger.archive import write_archive

        target = check_backup_path(where)
        now = self._clock.now()
        path = target or self._settings.backups_dir / f"ledger-{now:%Y%m%d-%H%M%S}.zip"
        try:
            if target is None:
                await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True, mode=0o700)
            manifest = await self._ledger.snapshot(lambda c: write_archive(c, path, key=self._archive_key, at=now))
            size = path.stat().st_size
            if target is None:
                await asyncio.to_thread(_drop_oldest, path)
        except OSError as error:
            raise LedgerError(
                f"the backup could not be written to {path}: {error.strerror or error}", hint="name another file"
            ) from error
        rows = sum(table.rows for table in manifest.tables.values())
        return BackupView(path=str(path), bytes=size, rows=rows, revision=manifest.revision)


def _look(connection: Connection, *, most: int | None) -> tuple[str, dict[str, int]]:
    return revision_of(connection) or "", inspection.count_rows(connection, most)


def _drop_oldest(newest: Path) -> None:
    """Keep as many backups as there may be, and the one just made: its name is old when the clock was set back."""
    others = sorted(path for path in newest.parent.glob("ledger-*.zip") if path != newest)
    for path in others[: -(BACKUPS_KEPT - 1)]:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def check_backup_path(text: str) -> Path | None:
    """Parse the path of a backup; None for the default folder.

    Raises
    ------
    FleetError
        The text is not an absolute path of a new file.
    """
    if not text:
        return None
    path = Path(text)
    if not path.is_absolute() or path.exists():
        raise FleetError(f"{text[:200]} is not the absolute path of a new file", hint="give one that does not exist")
    return path
