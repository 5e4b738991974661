"""The ledger cache: the data that supervision needs, in memory and in a file.

With it a fleet can start while its database is away.

Tokens are stored sealed, as in the ledger; licences as keyed hashes.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from handshake.files import read_regular
from master.bus import EventBus
from master.durable import replace_file
from master.events import DirectoryChanged, Event, LedgerAway, LedgerReturned
from master.ledger.rows.audit_head import AuditHead
from master.ledger.rows.records import Node
from master.security.derivation import MasterSecret
from master.services.core.directory import NodeDirectory

log = logging.getLogger(__name__)

_MAX_BYTES = 64 << 20
SETTLE_S = 0.5
"""Debounce: changes within this time are written together."""


class CoveredLicence(msgspec.Struct, frozen=True):
    """A licence that was found valid."""

    code_hash: bytes
    expires_at: datetime | None


class CachedLedger(msgspec.Struct, frozen=True, kw_only=True):
    """The file's content."""

    secret_mark: bytes
    """Fingerprint of the secret that the tokens are sealed with."""
    nodes: tuple[Node, ...]
    tokens: dict[str, bytes]
    licences: dict[str, CoveredLicence]
    revoked: frozenset[str] = frozenset()
    """Ids of the nodes whose licences are revoked."""
    audit_head: AuditHead | None = None
    """The audit log's last row as earlier versions remembered it; it has a file of its own since."""


async def load_cached_ledger(path: Path) -> CachedLedger | None:
    """Read the cache file; None if it is missing or unreadable."""
    try:
        return msgspec.msgpack.decode(await asyncio.to_thread(read_regular, path, _MAX_BYTES), type=CachedLedger)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        log.error("the ledger cache cannot be read", extra={"why": str(error)})
        return None


def read_older_head(path: Path) -> AuditHead | None:
    """Return the audit log's last row from a cache file of an earlier version; None if it has none. Blocks."""
    try:
        return msgspec.msgpack.decode(read_regular(path, _MAX_BYTES), type=CachedLedger).audit_head
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None


class LedgerCache:
    """Cache of the ledger's nodes, tokens and licences.

    Parameters
    ----------
    path
        The file; readable by its owner only.
    directory
        Holds the nodes.
    secret
        A cache file that was written with another secret is ignored.
    bus
        A change of the directory triggers a write.
    """

    def __init__(self, path: Path, directory: NodeDirectory, secret: MasterSecret, bus: EventBus) -> None:
        self._path = path
        self._mark = secret.derive("memory")[:8]
        self._directory = directory
        self._changed = asyncio.Event()
        self._tokens: dict[str, bytes] = {}
        self._licences: dict[str, CoveredLicence] = {}
        self._remembered: dict[str, CoveredLicence] = {}
        """Of an earlier master: believed while the ledger, which knows better, is away."""
        self._revoked: set[str] = set()
        self._away = False
        bus.on(DirectoryChanged, self._on_change)
        bus.on(LedgerAway, self._on_away)
        bus.on(LedgerReturned, self._on_return)

    def _on_away(self, _event: LedgerAway) -> None:
        self._away = True

    def _on_return(self, _event: LedgerReturned) -> None:
        self._away = False

    def _on_change(self, _event: Event) -> None:
        self._changed.set()

    def token_of(self, node_id: str) -> bytes | None:
        """Return a node's sealed token."""
        return self._tokens.get(node_id)

    def keep_token(self, node_id: str, sealed: bytes) -> None:
        """Store a node's sealed token."""
        self._tokens[node_id] = sealed
        self._changed.set()

    def forget(self, node_id: str) -> None:
        """Forget a node's token and licence: it was removed."""
        for known in (self._tokens, self._licences, self._remembered):
            known.pop(node_id, None)
        self._revoked.discard(node_id)
        self._changed.set()

    def licence_of(self, node_id: str) -> CoveredLicence | None:
        """Return the licence that was found valid for a node; while the ledger is away, by an earlier master too."""
        found = self._licences.get(node_id)
        return self._remembered.get(node_id) if found is None and self._away else found

    def keep_licence(self, node_id: str, licence: CoveredLicence) -> None:
        """Store the licence that covers a node."""
        self._licences[node_id] = licence
        self._changed.set()

    def forget_licence(self, node_id: str, code_hash: bytes) -> None:
        """Forget a licence: the ledger says that it covers the node no more."""
        for known in (self._licences, self._remembered):
            licence = known.get(node_id)
            if licence is not None and licence.code_hash == code_hash:
                del known[node_id]
                self._changed.set()

    def judge_again(self) -> None:
        """Ask the ledger about every licence: what the tiers are for was changed."""
        self._remembered.update(self._licences)
        self._licences.clear()

    def revoke(self, node_id: str) -> None:
        """Forget whatever licence a node has: it was revoked."""
        for known in (self._licences, self._remembered):
            known.pop(node_id, None)
        self._revoked.add(node_id)
        self._changed.set()

    def reinstate(self, node_id: str) -> None:
        """Note that a node's licence is not revoked any more."""
        self._revoked.discard(node_id)
        self._changed.set()

    def is_revoked(self, node_id: str) -> bool:
        """Tell whether a node's licence is revoked, as far as is known: for those who look, not for who decides."""
        return node_id in self._revoked

    def keep_revoked(self, node_ids: Iterable[str]) -> None:
        """Store which nodes' licences are revoked, as the ledger says."""
        self._revoked = set(node_ids)
        self._changed.set()

    async def node_ids(self) -> tuple[str, ...]:
        """Return the ids of the nodes in the file."""
        found = await load_cached_ledger(self._path)
        return () if found is None else tuple(node.id for node in found.nodes)

    async def remember_licences(self) -> None:
        """Keep what the file knows of licences: a node that is stopped now presents its own later."""
        found = await load_cached_ledger(self._path)
        if found is not None and hmac.compare_digest(found.secret_mark, self._mark):
            self._remembered.update(found.licences)

    async def recall(self) -> bool:
        """Load the file into memory and into the directory; False if there is no usable file."""
        found = await load_cached_ledger(self._path)
        if found is None or not hmac.compare_digest(found.secret_mark, self._mark):
            return False
        self._tokens.update(found.tokens)
        self._licences.update(found.licences)
        self._revoked.update(found.revoked)
        for node in found.nodes:
            self._directory.put(node)
        return True

    async def run(self) -> None:
        """Write the file after each change, until cancelled."""
        try:
            while True:
                await self._changed.wait()
                await asyncio.sleep(SETTLE_S)
                await self.save()
        finally:
            if self._changed.is_set():
                await self.save()

    async def save(self) -> None:
        """Write the file now; a failure is logged, and the old file stays."""
        self._changed.clear()
        known = {node.id for node in self._directory}
        content = CachedLedger(
            secret_mark=self._mark,
            nodes=tuple(self._directory),
            tokens={node_id: sealed for node_id, sealed in self._tokens.items() if node_id in known},
            licences={
                node_id: licence for node_id, licence in (self._remembered | self._licences).items() if node_id in known
            },
            revoked=frozenset(self._revoked & known),
        )
        try:
            await asyncio.to_thread(replace_file, self._path, msgspec.msgpack.encode(content))
        except OSError as error:
            log.error("the ledger cache cannot be written", extra={"why": str(error)})
