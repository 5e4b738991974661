"""The address (DSN) that each node's sentry-sdk sends to, and whose address one is."""

from __future__ import annotations

import hmac
import re
from pathlib import Path
from typing import ClassVar

from handshake.files import read_regular
from master.ledger.rows.records import Node
from master.security.derivation import IntakeKey, MasterSecret
from master.services.core.directory import NodeDirectory

DSN_VARIABLE = "SENTRY_DSN"
LOOPBACK = "127.0.0.1"
_OF_ITS_OWN = re.compile(rb"^\s*(?:export\s+)?SENTRY_DSN\s*=", re.MULTILINE)
_ENV_BYTES = 65_536


def has_address_of_its_own(folder: Path) -> bool:
    """Tell whether a bot's own .env names one: libraries that read it leave variables alone that are there. Blocks."""
    try:
        return _OF_ITS_OWN.search(read_regular(folder / ".env", _ENV_BYTES)) is not None
    except OSError:
        # There is none, for most.
        return False


class SentryAddresses:
    """Provide nodes with an address while the intake listens, and recognise it.

    Parameters
    ----------
    port
        Of the intake; 0: there is none.
    """

    _STRANGER: ClassVar[str] = "0" * 32

    def __init__(self, secret: MasterSecret, directory: NodeDirectory, port: int) -> None:
        self._secret = secret
        self._directory = directory
        self.port = port
        self.is_listening = False
        """Set by the intake: another process that listens at its port is not told what bots report."""
        self.trouble = ""
        """Why it does not listen, or what it cannot read, in a sentence; empty if all is well."""
        self._keys: dict[str, tuple[int, IntakeKey]] = {}
        self._nodes: dict[int, str] = {}

    @property
    def state(self) -> str:
        """Return whether it listens, in words; empty if it is not wanted."""
        if not self.port:
            return ""
        if self.is_listening:
            return f"listening on {LOOPBACK}:{self.port}"
        return self.trouble.removeprefix("the intake for sentry-sdk ") or "starting"

    def troubles(self) -> tuple[str, ...]:
        """Return what is wrong now, in sentences."""
        return (self.trouble,) if self.trouble else ()

    def address_of(self, node: Node) -> str:
        """Return a node's address; empty while nobody listens there."""
        if not self.is_listening:
            return ""
        key = self._key_of(node)
        return f"http://{key.text.reveal()}@{LOOPBACK}:{self.port}/{key.project}"

    def find(self, project: int, key: str) -> Node | None:
        """Return the node that this address was made for; in the same time whatever of the key is right."""
        node = self._node_of(project)
        expected = self._STRANGER if node is None else self._key_of(node).text.reveal()
        is_same = hmac.compare_digest(expected.encode(), key.encode("utf-8", "replace"))
        return node if is_same else None

    def _node_of(self, project: int) -> Node | None:
        if project not in self._nodes:
            # Also for a stranger's: a key is derived once, so that this is a look at each node.
            for node in self._directory:
                self._nodes[self._key_of(node).project] = node.id
        node_id = self._nodes.get(project)
        found = None if node_id is None else self._directory.get(node_id)
        return found if found is not None and self._key_of(found).project == project else None

    def _key_of(self, node: Node) -> IntakeKey:
        kept = self._keys.get(node.id)
        if kept is None or kept[0] != node.key_epoch:
            kept = self._keys[node.id] = (node.key_epoch, self._secret.derive_intake_key(node.id, node.key_epoch))
        return kept[1]
