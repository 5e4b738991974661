"""What nodes say of patches, signed: it moves their rows forward, and wakes the roll-out."""

from __future__ import annotations

from handshake.errors import Reason, Refused
from handshake.messages import PatchStatus
from handshake.signing import Message
from master.ledger.rows.records import Node
from master.services.patches.book import PatchBook
from master.services.trust.source import Source


class PatchStatuses:
    """Handle the statuses of patches that nodes send."""

    def __init__(self, book: PatchBook) -> None:
        self._book = book

    async def handle(self, node: Node, body: PatchStatus, message: Message, source: Source) -> None:
        """Handle one status.

        Raises
        ------
        Refused
            It is of a patch that the node was not given.
        """
        if await self._book.load(body.patch_id) is None or self._book.node(body.patch_id, node.id) is None:
            raise Refused(Reason.MALFORMED, "a status of a patch that it was not given")
