"""What supervision needs of the ledger, kept in memory and in a file: a fleet starts though its database is away.

Tokens are in it as the ledger has them, sealed; licences as keyed hashes.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from master.durable import replace_file
from master.ledger.rows.audit import AuditChain, AuditHead
from master.ledger.rows.records import Node
from master.security.derivation import MasterSecret
from master.services.core.directory import NodeDirectory

log = logging.getLogger(__name__)

SETTLE_S = 0.5
"""How long more changes are waited for before the file is written."""


class CoveredLicence(msgspec.Struct, frozen=True):
    """A licence that was found good."""

    code_hash: bytes
    expires_at: datetime | None


class CachedLedger(msgspec.Struct, frozen=True, kw_only=True):
    """The file's content."""

    secret_mark: bytes
    """Of the secret that the tokens are sealed under."""
    nodes: tuple[Node, ...]
    tokens: dict[str, bytes]
    licences: dict[str, CoveredLicence]
    audit_head: AuditHead | None = None
    """The audit log's last row: who cuts the log short in the database does not reach this."""


async def load_cached_ledger(path: Path) -> CachedLedger | None:
    """Read what was remembered; None when there is nothing, or nothing that can be read."""
    try:
        return msgspec.msgpack.decode(await asyncio.to_thread(path.read_bytes), type=CachedLedger)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        log.error("what is remembered of the ledger cannot be read", extra={"why": str(error)})
        return None


class LedgerCache:
    """What is remembered of the ledger.

    Parameters
    ----------
    path
        The file; readable by its owner only.
    directory
        The nodes.
    chain
        The audit log's.
    secret
        What is remembered under another one is of no use.
    """

    def __init__(self, path: Path, directory: NodeDirectory, chain: AuditChain, secret: MasterSecret) -> None:
        self._path = path
        self._mark = secret.derive("memory")[:8]
        self._directory = directory
        self._changed = asyncio.Event()
        self._tokens: dict[str, bytes] = {}
        self._licences: dict[str, CoveredLicence] = {}
        self._chain = chain
        loop = asyncio.get_running_loop()
        directory.changed = self._changed.set
        chain.on_head_change = lambda: _call(loop, self._changed.set)

    def token_of(self, node_id: str) -> bytes | None:
        """Return a node's sealed token."""
        return self._tokens.get(node_id)

    def keep_token(self, node_id: str, sealed: bytes) -> None:
        """Remember a node's sealed token."""
        self._tokens[node_id] = sealed
        self._changed.set()

    def licence_of(self, node_id: str) -> CoveredLicence | None:
        """Return the licence that was found good for a node."""
        return self._licences.get(node_id)

    def keep_licence(self, node_id: str, licence: CoveredLicence) -> None:
        """Remember that a licence covers a node."""
        self._licences[node_id] = licence
        self._changed.set()

    async def count(self) -> int:
        """Return how many nodes the file remembers."""
        found = await load_cached_ledger(self._path)
        return 0 if found is None else len(found.nodes)

    async def audit_head(self) -> AuditHead | None:
        """Return the audit log's last row as far as it is known: written by this master, or else by an earlier one."""
        if self._chain.head is not None:
            return self._chain.head
        found = await load_cached_ledger(self._path)
        return None if found is None else found.audit_head

    async def recall(self) -> bool:
        """Fill memory and directory from the file; False when there is none that is of use."""
        found = await load_cached_ledger(self._path)
        if found is None or not hmac.compare_digest(found.secret_mark, self._mark):
            return False
        self._tokens.update(found.tokens)
        self._licences.update(found.licences)
        for node in found.nodes:
            self._directory.put(node)
        return True

    async def run(self) -> None:
        """Write the file whenever something changed, until cancelled."""
        try:
            while True:
                await self._changed.wait()
                await asyncio.sleep(SETTLE_S)
                await self.save()
        finally:
            if self._changed.is_set():
                await self.save()

    async def save(self) -> None:
        """Write the file now; one that cannot be written is told, and the old one stays."""
        self._changed.clear()
        known = {node.id for node in self._directory}
        head = await self.audit_head()
        content = CachedLedger(
            secret_mark=self._mark,
            nodes=tuple(self._directory),
            tokens={node_id: sealed for node_id, sealed in self._tokens.items() if node_id in known},
            licences={node_id: licence for node_id, licence in self._licences.items() if node_id in known},
            audit_head=head,
        )
        try:
            await asyncio.to_thread(replace_file, self._path, msgspec.msgpack.encode(content))
        except OSError as error:
            log.error("what is remembered of the ledger cannot be written", extra={"why": str(error)})


def _call(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    """Have the loop do something, from another thread."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(work)
