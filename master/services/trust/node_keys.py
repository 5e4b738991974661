"""Node keys, derived on demand; after a rotation also those of the previous secret."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from handshake.errors import Reason, Refused
from handshake.messages import KeyReplacement
from handshake.signing import Message, NodeKey, Signer
from master.bus import EventBus
from master.events import NodeEnded, NodeMissing
from master.ledger.rows.records import Node
from master.security.derivation import MasterSecret
from master.services.core.directory import NodeDirectory


class NodeKeys:
    """Find the key of a node and epoch.

    Parameters
    ----------
    bus
        After a process exit, the node holds no old key.
    previous_secret
        Set while running nodes may still use its keys.
    wall_clock
        Unix seconds.
    """

    def __init__(
        self,
        secret: MasterSecret,
        directory: NodeDirectory,
        *,
        bus: EventBus,
        previous_secret: MasterSecret | None,
        wall_clock: Callable[[], float],
    ) -> None:
        self._secret = secret
        self._directory = directory
        self._previous_secret = previous_secret
        self._wall_clock = wall_clock
        self._keys: dict[str, NodeKey] = {}
        self._signers: dict[str, Signer] = {}
        self.old: set[str] = set()
        """Nodes that run with a key of the previous secret."""
        self.all_renewed = asyncio.Event()
        """Set when no node uses an old key any more."""
        bus.on(NodeEnded, lambda event: self.renewed(event.node_id))
        bus.on(NodeMissing, lambda event: self.renewed(event.node_id))

    def find(self, node_id: str, epoch: int) -> NodeKey:
        """Return the key that a message claims to be signed with.

        Raises
        ------
        Refused
            The node is unknown, or its key was replaced.
        """
        node = self._directory.get(node_id)
        if node is None:
            raise Refused(Reason.UNKNOWN_NODE, "no such node")
        if epoch == node.key_epoch - 1 and node_id in self.old and self._previous_secret is not None:
            return self._previous_secret.derive_node_key(node_id, epoch)
        if epoch != node.key_epoch:
            raise Refused(Reason.STALE_EPOCH, f"epoch {epoch}, current is {node.key_epoch}")
        key = self._keys.get(node_id)
        if key is None or key.epoch != epoch:
            key = self._keys[node_id] = self._secret.derive_node_key(node_id, epoch)
        return key

    def signer_of(self, message: Message) -> Signer:
        """Return a signer for the answer to a message; it uses the key that the message was signed with."""
        key = self.find(message.node_id, message.epoch)
        signer = self._signers.get(key.key_id)
        if signer is None:
            signer = self._signers[key.key_id] = Signer(key, from_master=True, clock=self._wall_clock)
        return signer

    @property
    def hands_over(self) -> bool:
        """Whether nodes may still run with keys of the previous secret."""
        return self._previous_secret is not None

    def expect_old(self, node_ids: Iterable[str]) -> None:
        """Accept keys of the previous secret from these nodes, until each has its new key or its process ends."""
        self.old.update(node_ids)
        if not self.old:
            self.all_renewed.set()

    def end_handover(self) -> None:
        """Drop the previous secret; its keys are refused from now on."""
        self._previous_secret = None
        self.old.clear()

    def renewed(self, node_id: str) -> None:
        """Record that a node does not use a key of the previous secret any more."""
        self.old.discard(node_id)
        if not self.old:
            self.all_renewed.set()

    def replacement_for(self, node: Node) -> KeyReplacement:
        """Return the message that carries a node's current key."""
        key = self._secret.derive_node_key(node.id, node.key_epoch)
        return KeyReplacement(key=key.secret.reveal(), key_epoch=key.epoch)
