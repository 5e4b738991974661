"""Reception of node messages: verify, find the node, call the handler of the type, sign the answer.

A new type of message needs a body in ``handshake.messages`` and one entry in the table of handlers
(``services.container``); nothing here changes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from handshake.errors import Reason, Refused
from handshake.messages import Acknowledgement, Body, PatchStatus
from handshake.replay import Sessions, Verdict
from handshake.signing import Message, Verifier
from master.ledger.rows.records import Node
from master.services.core.directory import NodeDirectory
from master.services.trust.node_keys import NodeKeys
from master.services.trust.refusals import Refusals
from master.services.trust.source import Source

MessageHandler = Callable[[Node, Any, Message, Source], Body | Awaitable[Body | None] | None]
"""Handles a verified message: node, body, message, source. Returns the answer, an awaitable of it, or None.

May raise ``Refused``: the message is recorded as refused, and not answered.
"""


class Reception:
    """Receive messages of nodes.

    A refused message is recorded with its reason (one of many alike is counted), flags the node that it names, and gets
    no answer.

    Parameters
    ----------
    handlers
        Handler of each body type.
    wall_clock
        Unix seconds.
    sessions
        Judges what is fresh. Clocks do not: they are set, in the worst case by years.
    """

    def __init__(
        self,
        handlers: Mapping[type[Body], MessageHandler],
        *,
        keys: NodeKeys,
        directory: NodeDirectory,
        refusals: Refusals,
        wall_clock: Callable[[], float],
        sessions: Sessions,
    ) -> None:
        self._handlers = dict(handlers)
        self._keys = keys
        self._directory = directory
        self._refusals = refusals
        self._sessions = sessions
        self._verifier = Verifier(keys.find, clock=wall_clock, replay_guard=None, skew_s=None)

    def add_handlers(self, handlers: Mapping[type[Body], MessageHandler]) -> None:
        """Take more types of messages: those whose handlers are services above this one."""
        self._handlers.update(handlers)

    async def receive(self, text: str, source: Source) -> str | None:
        """Handle one message; returns the signed answer, or None if there is none, as for a refused message."""
        try:
            answer = self.take(text, source)
            return answer if answer is None or isinstance(answer, str) else await answer
        except Refused:
            return None

    def take(self, text: str, source: Source) -> str | Awaitable[str | None] | None:
        """Handle one message as :meth:`receive` does, but synchronously if its handler is (such as for pulses).

        Raises
        ------
        Refused
            It is not to be trusted, which is recorded or counted. The awaitable raises it too.
        """
        try:
            message = self._verifier.open(text)
            node = self._node_of(message, source)
            verdict = self._sessions.admit(node.id, message.session, message.sequence, message.issued_at)
            if verdict is Verdict.REPLAYED:
                raise _refuse(Reason.REPLAYED, f"number {message.sequence} of its session", node, message)
            if verdict is Verdict.STALE:
                return self._ask_to_verify(message)
            handler = self._handlers.get(type(message.body))
            if handler is None:
                raise _refuse(Reason.MALFORMED, f"a master does not accept {message.type}", node, message)
            if self._keys.old and message.epoch == node.key_epoch:
                self._keys.renewed(node.id)
            answer = handler(node, message.body, message, source)
        except Refused as refused:
            recording = self._refusals.record(refused, source)
            if recording is None:
                raise
            return _refuse_once(recording, refused)
        if isinstance(answer, Awaitable):
            return self._answer_later(answer, message, source)
        return self._sign_if_any(answer, message)

    async def _answer_later(self, coming: Awaitable[Body | None], message: Message, source: Source) -> str | None:
        try:
            answer = await coming
        except Refused as refused:
            recording = self._refusals.record(refused, source)
            if recording is not None:
                await recording
            raise
        return self._sign_if_any(answer, message)

    def _ask_to_verify(self, message: Message) -> str:
        """Answer a message of another session: whoever holds the node's key can prove it again, in a new one.

        That is what each node does after a restart of the master, so nobody is flagged; and nothing else is done.
        """
        answer, session = Acknowledgement(order="verify_again"), self._sessions.offered(message.node_id)
        return self._keys.signer_of(message).sign(answer, in_reply_to=message.token_id, session=session)

    def flush(self) -> None:
        """Record the refusals that are only counted so far; for the end of the master."""
        self._refusals.flush()

    def _sign_if_any(self, answer: Body | None, message: Message) -> str | None:
        if answer is None and isinstance(message.body, PatchStatus):
            # A node repeats it until it hears that it was taken.
            answer = Acknowledgement()
        return None if answer is None else self._keys.signer_of(message).sign(answer, in_reply_to=message.token_id)

    def _node_of(self, message: Message, source: Source) -> Node:
        """Return the node of a message; in the channel, its author must be the node's registered bot."""
        node = self._directory.get(message.node_id)
        if node is None:
            raise Refused(Reason.UNKNOWN_NODE, "no such node", message_type=message.type)
        if source.transport == "channel" and source.author_id != node.bot_user_id:
            raise _refuse(Reason.WRONG_AUTHOR, f"written by {source.author_id}", node, message)
        return node


async def _refuse_once(recorded: Awaitable[None], refused: Refused) -> None:
    """Wait until a refusal is on record, and raise it."""
    await recorded
    raise refused


def _refuse(reason: Reason, detail: str, node: Node, message: Message) -> Refused:
    return Refused(reason, detail, claimed_node_id=node.id, message_type=message.type)
