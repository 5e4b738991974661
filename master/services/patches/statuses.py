"""What nodes say of patches, signed: it moves their rows forward, and wakes the roll-out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable

from msgspec.structs import replace

from handshake.errors import Reason, Refused
from handshake.messages import Acknowledgement, PatchStatus
from handshake.signing import Message
from master.ledger.identifiers import new_ulid
from master.ledger.rows.records import Node, PatchNode, PatchNodeState, PatchTrack
from master.security.tokens import hide_tokens
from master.services.patches.book import PatchBook
from master.services.trust.source import Source
from master.supervision.clock import Clock
from master.wording import visible

log = logging.getLogger(__name__)

ON_RECORD_WITHIN_S = 2.0
"""How long a node waits for the answer to a status while the ledger is away; then it is told that it was taken."""
DETAIL_CHARACTERS = 4_000
MOST_STATUSES, IN_S = 60, 60.0
"""Of one node. One patch makes six, and as many when it goes back; each is a row of the ledger."""
_STEPS: tuple[PatchNodeState, ...] = (
    "absent",
    "waiting",
    "ordered",
    "received",
    "staged",
    "applied",
    "healthy",
    "good",
)
_UNDER_WAY = ("ordered", "received", "staged", "applied", "healthy")


def next_state(now: PatchNodeState, told: PatchNodeState) -> PatchNodeState | None:
    """Return the state of a node after it has told one; None if that is stale, or says nothing new."""
    if told == "failed":
        return told if now in _UNDER_WAY else None
    if told in ("rolled_back", "rollback_failed"):
        return told if now in (*_UNDER_WAY, "good", "failed", "rolling_back", "rollback_failed") else None
    if now in _STEPS[2:] and _STEPS.index(told) > _STEPS.index(now):
        return told
    return None


class PatchStatuses:
    """Handle the statuses of patches that nodes send."""

    def __init__(self, book: PatchBook, clock: Clock) -> None:
        self._book = book
        self._clock = clock
        self.refused = 0
        """Statuses of patches that their nodes were not given, or that were too many."""
        self._latest: dict[str, deque[float]] = {}
        """By node: when it told its latest statuses, in monotonic seconds."""
        self.on_moved: Callable[[PatchNode], None] = lambda _row: None
        """Called when a node is a step further; set by who carries out roll-outs."""
        self.on_stale: Callable[[Node, PatchNode, PatchStatus], None] = lambda _node, _row, _body: None
        """Called with what a node says that does not move its row; set by who watches what was restored."""
        self.on_restart_wanted: Callable[[PatchNode, str, int | None], bool] = lambda _row, _detail, _release: False
        """Asked when a node that goes back says that it is: whether it is only once it was restarted."""

    async def handle(self, node: Node, body: PatchStatus, message: Message, source: Source) -> Acknowledgement:
        """Handle one status; the answer tells the node that it was taken.

        Raises
        ------
        Refused
            It is of a patch that the node was not given, or the node told too many.
        """
        self._require_few(node, message)
        patch = await self._book.load(body.patch_id)
        row = None if patch is None else self._book.node(body.patch_id, node.id)
        if row is None or row.state in ("waiting", "skipped"):
            self.refused += 1
            raise Refused(
                Reason.MALFORMED,
                f"{body.status} of a patch that it was not given",
                claimed_node_id=node.id,
                message_type=message.type,
            )
        # It is shown on Discord, to all who see the channel.
        body = replace(body, detail=hide_tokens(body.detail))
        self._track(node, body)
        if not self.move(row, body.status, visible_lines(body.detail), release=body.release):
            self.on_stale(node, row, body)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ON_RECORD_WITHIN_S):
                await self._book.flush()
        return Acknowledgement()

    def _require_few(self, node: Node, message: Message) -> None:
        latest, now_s = self._latest.setdefault(node.id, deque(maxlen=MOST_STATUSES)), self._clock.monotonic()
        if len(latest) == MOST_STATUSES and now_s - latest[0] < IN_S:
            self.refused += 1
            raise Refused(
                Reason.MALFORMED,
                f"more than {MOST_STATUSES} statuses of patches in {IN_S:g} s",
                claimed_node_id=node.id,
                message_type=message.type,
            )
        latest.append(now_s)

    def move(self, row: PatchNode, told: PatchNodeState, detail: str, *, release: int | None) -> bool:
        """Move a node forward, if what is told of it is no older than what is known; returns whether it is not."""
        if told == "rolled_back" and row.state == "rolling_back" and self.on_restart_wanted(row, detail, release):
            return True  # Its files are those of before; the process still has the patch's code.
        again = told == row.state == "applied" and detail != row.detail
        state = row.state if again else next_state(row.state, told)
        if state is None:
            log.info("a status of a patch is stale", extra={"node": row.node_id, "status": told, "state": row.state})
            return False
        before = row.release_before
        if before is None and state in ("received", "failed"):
            before = release
        if state == "rolled_back" and row.state == "rolling_back":
            detail = row.detail or detail  # Why it had to go back says more than how it did.
        moved = replace(
            row,
            state=state,
            changed_at=self._clock.now(),
            detail=detail or (row.detail if state in ("rolled_back", "rollback_failed") else ""),
            release_before=before,
            release_after=release if state in _TELL_RELEASE else row.release_after,
        )
        self._book.put_node(moved)
        self.on_moved(moved)
        return True

    def move_if_newer(self, row: PatchNode, told: PatchNodeState, detail: str, release: int | None) -> None:
        """Move a node forward from what is known of it now, in the name of one that says nothing itself."""
        now = self._book.node(row.patch_id, row.node_id)
        if now is not None:
            self.move(now, told, detail, release=release)

    def _track(self, node: Node, body: PatchStatus) -> None:
        self._book.track(
            PatchTrack(
                id=new_ulid(self._clock),
                at=self._clock.now(),
                patch_id=body.patch_id,
                node_id=node.id,
                kind="status",
                status=body.status,
                detail=visible(body.detail.strip().rpartition("\n")[2])[:400],
            )
        )


_TELL_RELEASE = ("applied", "healthy", "good", "failed", "rolled_back", "rollback_failed")


def visible_lines(text: str) -> str:
    """Return a text of several lines, with what cannot be shown made visible."""
    return "\n".join(visible(line) for line in text[-DETAIL_CHARACTERS:].splitlines())


def has_gone_back(row: PatchNode) -> bool:
    """Tell whether a node that failed has said that it runs what it ran before."""
    return row.state == "failed" and row.release_after is not None and row.release_after == row.release_before
