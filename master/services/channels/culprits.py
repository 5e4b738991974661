"""Who did it: what Discord's audit log told as it happened. It is never asked: its answers are late under load."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from master.bus import EventBus
from master.events import ServerAuditEntry
from master.ledger.rows.records import ChannelDrift

KEPT_FOR = timedelta(hours=1)
MOST_KEPT = 2_000
OWN_REASONS = ("Repair ", "Undo ")
"""What the reasons of repairs and their undoing begin with, in the server's audit log."""

_ACTIONS: dict[ChannelDrift, tuple[str, ...]] = {
    "gone": ("channel_delete",),
    "permissions": ("overwrite_create", "overwrite_update", "overwrite_delete"),
    "panel": ("message_delete", "message_bulk_delete"),
    "pin": ("message_unpin",),
    # Discord records neither (discord/discord-api-docs#4345).
    "moved": (),
    "order": (),
}
_OF_OTHERS = ("channel_update",)


class Culprit(msgspec.Struct, frozen=True):
    """Who changed something."""

    user_id: int
    name: str = ""
    reason: str = ""


NOBODY = Culprit(0)


class Culprits:
    """Remember what the audit log told lately.

    Parameters
    ----------
    own_id
        Returns the master's own user id: its repairs are nobody's doing.
    """

    def __init__(self, bus: EventBus, own_id: Callable[[], int]) -> None:
        self._own_id = own_id
        self.names: dict[int, str] = {}
        """Of those whom the audit log named by their id alone."""
        self._entries: OrderedDict[tuple[int, str], ServerAuditEntry] = OrderedDict()
        bus.on(ServerAuditEntry, self._note)

    def _note(self, entry: ServerAuditEntry) -> None:
        key = (entry.target_id, entry.action)
        self._entries.pop(key, None)
        if entry.user_id == self._own_id() and entry.reason.startswith(OWN_REASONS):
            return
        self._entries[key] = entry
        while len(self._entries) > MOST_KEPT:
            self._entries.popitem(last=False)

    def of(self, channel_id: int, kind: ChannelDrift, now: datetime, since: datetime | None = None) -> Culprit:
        """Return who brought a drift about; :data:`NOBODY` if the audit log did not say."""
        since = now - KEPT_FOR if since is None else since
        found = [
            entry
            for action in _ACTIONS.get(kind, _OF_OTHERS)
            if (entry := self._entries.get((channel_id, action))) is not None and entry.at >= since
        ]
        if not found:
            return NOBODY
        last = max(found, key=lambda entry: entry.at)
        return Culprit(last.user_id, last.user or self.names.get(last.user_id, ""), last.reason)
