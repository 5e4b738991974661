"""What is on record of the server's channels; needs the ledger alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import ClassVar

from master.errors import ExitCode
from master.ledger.database import Ledger
from master.ledger.identifiers import is_ulid
from master.ledger.rows import server_channels as rows
from master.ledger.rows.records import ChannelRepair
from master.services.channels.telling import line_of
from master.services.core.channel_views import ChannelRepairRow
from master.services.core.errors import ServiceError

_SPAN = 2_000


class NoSuchRepair(ServiceError):
    """No repair has that id."""

    code: ClassVar[str] = "no_such_repair"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class ChannelRecords:
    """Read what was repaired."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def history(
        self, *, key: str = "", culprit_id: int | None = None, since: datetime | None = None, limit: int = 50
    ) -> list[ChannelRepairRow]:
        """Return repairs, the newest first.

        Raises
        ------
        LedgerError
        """
        query = partial(rows.recent_repairs, key=key, culprit_id=culprit_id, since=since, limit=limit)
        return [row_of(one) for one in await self._ledger.read(query)]

    def shown(self, repairs: Sequence[ChannelRepair]) -> list[ChannelRepairRow]:
        """Return repairs as they are shown."""
        return [row_of(one) for one in repairs]

    async def find(self, word: str) -> list[ChannelRepair]:
        """Return the repair whose id begins so, or those of one look: the first and the last id, with a colon.

        Raises
        ------
        NoSuchRepair, LedgerError
        """
        first, _, last = word.strip().upper().partition(":")
        if last:
            if not (is_ulid(first) and is_ulid(last)):
                raise NoSuchRepair("this is no id of repairs", hint="`fleet channels history`")
            found = await self._ledger.read(partial(rows.repairs_between, first=first, last=last, limit=_SPAN))
        else:
            found = await self._ledger.read(partial(rows.repairs_beginning_with, prefix=first)) if first else []
            if len(found) > 1:
                raise NoSuchRepair(f"several ids begin with {word!r:.40}", hint="type more of it")
        if not found:
            raise NoSuchRepair(f"there is no repair {word!r:.40}", hint="`fleet channels history`")
        return found


def row_of(repair: ChannelRepair) -> ChannelRepairRow:
    """Return a repair as it is shown."""
    return ChannelRepairRow(
        id=repair.id,
        at=repair.at.timestamp(),
        key=repair.key,
        drift=repair.drift,
        words=line_of(repair),
        channel_id=repair.channel_id,
        state=repair.state,
        culprit_id=repair.culprit_id,
        culprit=repair.culprit,
        detail=repair.detail,
        changed_at=repair.changed_at.timestamp(),
        changed_by=repair.changed_by,
    )
