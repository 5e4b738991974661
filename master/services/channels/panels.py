"""Messages that have to stand in channels: posted, edited in place, pinned, and posted again when they are gone."""

from __future__ import annotations

import hashlib
import logging
from functools import partial

import msgspec

from master.ledger.rows import server_channels as rows
from master.ledger.rows.records import ChannelDrift, ChannelPanel, ChannelRepair
from master.services.channels.drift import Drift
from master.services.channels.repairing import Repairing
from master.services.channels.survey import Survey
from master.services.channels.tools import ChannelTools
from master.services.channels.tree import Wanted, WantedPanel, look_of
from master.services.core.discord_port import MessageRef, Notice
from master.services.core.errors import DiscordNotFound, DiscordRefused

log = logging.getLogger(__name__)


class Panels:
    """Look after the messages of channels.toml."""

    def __init__(self, tools: ChannelTools, repairing: Repairing) -> None:
        self._tools, self._repairing = tools, repairing
        self.message_ids: frozenset[int] = frozenset()

    async def look(self, survey: Survey, *, by: str) -> list[ChannelRepair]:
        """Bring all panels in line; returns what became of those that were gone or not pinned.

        Raises
        ------
        DiscordUnavailable, LedgerError
        """
        if not any(wanted.panels for wanted in survey.wanted.values()):
            self.message_ids = frozenset()
            return []
        known = {row.key: row for row in await self._tools.ledger.read(rows.all_panels)}
        done: list[ChannelRepair] = []
        ids: set[int] = set()
        for wanted in survey.wanted.values():
            if wanted.channel_id not in survey.found:
                continue
            for panel in wanted.panels:
                try:
                    ref, drift = await self._bring(wanted, panel, known.get(panel.key))
                except DiscordRefused as error:
                    done.append(
                        await self._on_record(
                            wanted, panel, survey, "panel", by, failed=f"{error.message}. {error.hint}"
                        )
                    )
                    continue
                ids.add(ref.id)
                if drift is not None:
                    done.append(await self._on_record(wanted, panel, survey, drift, by))
        self.message_ids = frozenset(ids)
        return done

    async def _bring(
        self, wanted: Wanted, panel: WantedPanel, row: ChannelPanel | None
    ) -> tuple[MessageRef, ChannelDrift | None]:
        """Bring one panel in line; returns its message, and what was repaired. A new one is no repair."""
        port, digest = self._tools.port, _digest(panel)
        notice = Notice(text=panel.text, embeds=() if panel.embed is None else (panel.embed,))
        drift: ChannelDrift | None = None
        message = None
        if row is not None and row.channel_id == wanted.channel_id:
            try:
                message = await port.fetch_message(MessageRef(row.channel_id, row.message_id))
            except DiscordNotFound:
                drift = "panel"
        elif row is not None:
            drift = "panel"  # its channel was made anew
        if message is None:
            # The same one for a while: a post that nobody saw the answer of is not made twice.
            nonce = hashlib.sha256(f"{panel.key}:{wanted.channel_id}:{row and row.message_id}".encode()).hexdigest()[
                :25
            ]
            ref = await port.post(wanted.channel_id, msgspec.structs.replace(notice, nonce=nonce))
            pinned = False
        else:
            ref, pinned = message.ref, message.is_pinned
            if row is not None and row.content_hash != digest:
                await port.edit(ref, notice)
            if panel.pinned and not pinned:
                drift = "pin"
        if row is None or (row.message_id, row.content_hash) != (ref.id, digest):
            now = self._tools.clock.now()
            new = ChannelPanel(
                key=panel.key, channel_id=ref.channel_id, message_id=ref.id, content_hash=digest, changed_at=now
            )
            await self._tools.ledger.write(partial(rows.save_panel, panel=new))
        if panel.pinned and not pinned:
            await port.pin(ref)
        return ref, drift

    async def _on_record(
        self, wanted: Wanted, panel: WantedPanel, survey: Survey, kind: ChannelDrift, by: str, *, failed: str = ""
    ) -> ChannelRepair:
        look = look_of(survey.found[wanted.channel_id])
        drift = Drift(key=wanted.key, kind=kind, channel_id=wanted.channel_id, wanted=look, found=look, panel=panel.key)
        repair = self._repairing.record(drift, survey, "failed" if failed else "repaired", by=by, detail=failed)
        await self._repairing.save([repair])
        self._repairing.tell([repair])
        return repair


def _digest(panel: WantedPanel) -> bytes:
    return hashlib.sha256(msgspec.json.encode(panel)).digest()
