"""The messages of PATCH_CHANNEL: one a patch, edited as its roll-out goes on, and posted anew when it is deleted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from handshake.files import read_regular
from handshake.patch_document import SUFFIX
from master.bus import Subscription
from master.cogs._live_message import MIN_EDIT_INTERVAL_S
from master.cogs._patch_embeds import APPROVE, PAUSE, RESUME, ROLL_BACK, patch_embed
from master.errors import FleetError
from master.events import AlertLevel, ChannelMoved, Event, GatewayConnected, NodePatched, PatchChanged
from master.ledger.errors import LedgerError
from master.services.container import Services
from master.services.core.discord_port import DiscordPort, Embed, MessageRef, Notice, OutgoingFile
from master.services.core.errors import (
    DiscordNotFound,
    DiscordPortError,
    DiscordRefused,
    DiscordUnavailable,
)
from master.services.core.patch_views import PatchDetails, PatchView
from master.services.patches.receiving import bundle_path

log = logging.getLogger(__name__)

SETTLE_S = 0.2
"""From an event to its edit, so that what belongs together is shown together."""
REPOST_AFTER_S = 60.0
"""A message that somebody deletes again and again is posted once in this time."""
RETRY_S = 10.0
BLOCKED_S = 600.0
"""A channel that is gone, or that the master may not write in, is tried again after this time."""
MAX_ATTACHED_BYTES = 10 * 1024 * 1024
"""https://discord.com/developers/docs/reference#uploading-files, for a server without boosts."""
SHOWN_FOR = timedelta(days=1)
"""A roll-out that ended this long ago is not shown by a master that begins."""
LOOKED_AT = 30
MOST_STRANGE = 1_000
_UNKNOWN_MESSAGE = 10008


@dataclass
class _Shown:
    """A patch and its message; times are of the event loop's clock."""

    message: MessageRef | None
    content: Embed | None = None
    """What the message shows; None: it is not known."""
    stale: bool = True
    due: float = 0.0
    """Not shown anew before this."""
    posted_at: float | None = None
    has_lost_channel: bool = False
    """Whether its message went with its channel, and nothing has happened to the patch since."""


class PatchPosts:
    """Show each patch in PATCH_CHANNEL.

    Parameters
    ----------
    on_gone
        Called when the message of a patch is gone, and its reactions with it.
    on_listed
        Called for each patch with a message when the connection begins or goes on: what was missed is read back.
    """

    def __init__(
        self,
        services: Services,
        port: DiscordPort,
        on_gone: Callable[[str], Awaitable[None]],
        on_listed: Callable[[str, MessageRef], Awaitable[None]],
    ) -> None:
        self._services = services
        self._port = port
        self._on_gone, self._on_listed = on_gone, on_listed
        self._loop = asyncio.get_running_loop()
        self._shown: dict[str, _Shown] = {}
        self._patch_of: dict[int, str] = {}
        self._strange: dict[int, None] = {}
        """Messages that show no patch, the latest last."""
        self._gone_channels: set[int] = set()
        """Whatever is on record about messages in them."""
        self._changed = asyncio.Event()
        self._returned = True
        """Whether the connection began, or went on, since patches were listed."""
        self._blocked_until = 0.0
        self._told = False
        """Whether it was told that the channel cannot be written in."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.edits = 0

    async def patch_of(self, message: MessageRef) -> str | None:
        """Return the patch that a message shows, also one of long ago; None if it shows none."""
        known = self._patch_of.get(message.id)
        if known is not None or message.channel_id != self._services.settings.channels.patch:
            return known
        if message.id in self._strange:
            return None
        try:
            found = await self._services.patches.find_by_message(message.id)
        except FleetError as error:
            log.warning("a message could not be looked up", extra={"message": message.id, "why": error.message})
            return None
        if found is None:
            self._strange[message.id] = None
            while len(self._strange) > MOST_STRANGE:
                del self._strange[next(iter(self._strange))]
            return None
        self._shown.setdefault(found.id, _Shown(message, stale=False))
        self._patch_of[message.id] = found.id
        return found.id

    def touch(self, patch_id: str) -> None:
        """Show a patch anew: something changed about it."""
        shown = self._shown.setdefault(patch_id, _Shown(None))
        shown.has_lost_channel = False
        if not shown.stale:
            shown.due = max(shown.due, self._loop.time() + SETTLE_S)
        shown.stale = True
        self._changed.set()

    def deleted(self, message_id: int) -> None:
        """Post a patch anew whose message was deleted; once a minute at most."""
        patch_id = self._patch_of.pop(message_id, None)
        if patch_id is None:
            return
        shown = self._shown[patch_id]
        self._forget_message(patch_id, shown)
        if shown.posted_at is not None:
            shown.due = max(shown.due, shown.posted_at + REPOST_AFTER_S)
        self.touch(patch_id)

    def channel_deleted(self, channel_id: int) -> None:
        """Notice that a channel is gone with all its messages; those of patches under way are posted anew."""
        self._gone_channels.add(channel_id)
        for patch_id, shown in self._shown.items():
            if shown.message is not None and shown.message.channel_id == channel_id:
                self._patch_of.pop(shown.message.id, None)
                self._forget_message(patch_id, shown)
                self.touch(patch_id)
                shown.has_lost_channel = True

    def _forget_message(self, patch_id: str, shown: _Shown) -> None:
        shown.message = shown.content = None
        self._begin(self._on_gone(patch_id))

    async def run(self) -> None:
        """Follow all patches, until cancelled."""
        with self._services.bus.subscribe(PatchChanged, NodePatched, GatewayConnected, ChannelMoved) as events:
            listening = asyncio.create_task(self._listen(events), name="patch tracker: events")
            try:
                while True:
                    await self._round()
                    await self._wait()
            finally:
                for task in (listening, *self._tasks):
                    task.cancel()

    async def _listen(self, events: Subscription[Event]) -> None:
        async for event in events:
            if isinstance(event, PatchChanged | NodePatched):
                self.touch(event.patch_id)
            else:
                if isinstance(event, ChannelMoved):
                    self.channel_deleted(event.old_id)
                self._returned = True
                self._blocked_until = 0.0
                for shown in self._shown.values():
                    # What waits for Discord need not wait any longer.
                    shown.due = min(shown.due, self._loop.time() + MIN_EDIT_INTERVAL_S)
                self._changed.set()

    async def _wait(self) -> None:
        """Wait until something changes, or the next message is due."""
        waiting = [shown.due for shown in self._shown.values() if shown.stale]
        until = max(min(waiting), self._blocked_until) if waiting else None
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _round(self) -> None:
        self._changed.clear()
        if self._returned and self._services.settings.channels.patch:
            await self._list()
        now = self._loop.time()
        for patch_id, shown in list(self._shown.items()):
            if shown.stale and shown.due <= now and self._blocked_until <= now:
                await self._show(patch_id, shown)

    async def _list(self) -> None:
        """Look at the patches there are: those under way are shown as they are now."""
        try:
            found = await self._services.patches.list(LOOKED_AT)
        except FleetError as error:
            log.warning("patches could not be listed", extra={"why": error.message})
            self._loop.call_later(RETRY_S, self._changed.set)
            return
        self._returned = False
        for patch in found.patches:
            if not self._is_recent(patch):
                continue
            shown = self._shown.setdefault(patch.id, _Shown(None))
            is_gone = patch.channel_id in self._gone_channels
            if shown.message is None and patch.channel_id and patch.message_id and not is_gone:
                shown.message = MessageRef(patch.channel_id, patch.message_id)
                self._patch_of[patch.message_id] = patch.id
            shown.stale = True
            if shown.message is not None:
                self._begin(self._on_listed(patch.id, shown.message))

    def _is_recent(self, patch: PatchView) -> bool:
        oldest = self._services.clock.now() - SHOWN_FOR
        return patch.finished_at is None or patch.finished_at >= oldest.timestamp()

    async def _show(self, patch_id: str, shown: _Shown) -> None:
        channel_id = self._services.settings.channels.patch
        if not channel_id:
            shown.stale = False
            return
        try:
            details = await self._services.patches.show(patch_id)
        except FleetError as error:
            log.warning("a patch cannot be shown", extra={"patch": patch_id, "why": error.message})
            shown.due = self._loop.time() + RETRY_S
            return
        # What changes from here on is shown next time.
        shown.stale = False
        if shown.has_lost_channel and not self._is_recent(details.patch):
            return  # The channel that takes its place does not begin with years of roll-outs.
        embed = patch_embed(self._services.settings.colours, details)
        try:
            if shown.message is None:
                await self._post(details, embed, channel_id, shown)
            elif embed != shown.content:
                await self._port.edit(shown.message, Notice(embeds=(embed,)))
                self.edits += 1
        except DiscordPortError as error:
            self._failed(patch_id, shown, error)
            return
        shown.content = embed
        shown.due = self._loop.time() + MIN_EDIT_INTERVAL_S
        self._told = False

    async def _post(self, details: PatchDetails, embed: Embed, channel_id: int, shown: _Shown) -> None:
        patch = details.patch
        notice = Notice(embeds=(embed,))
        file = await asyncio.to_thread(self._bundle, details)
        try:
            files = () if file is None else (file,)
            message = await self._port.post(channel_id, Notice(embeds=(embed,), files=files))
        except DiscordRefused as error:
            if file is None or isinstance(error, DiscordNotFound):
                raise
            log.warning("a patch is posted without its file", extra={"patch": patch.label, "why": error.message})
            message = await self._port.post(channel_id, notice)
        shown.message, shown.posted_at = message, self._loop.time()
        self._patch_of[message.id] = patch.id
        # In a task: while the ledger is away this waits, and other patches are shown all the same.
        self._begin(self._posted(patch.id, message))

    async def _posted(self, patch_id: str, message: MessageRef) -> None:
        while True:
            try:
                await self._services.patches.set_message(patch_id, message.channel_id, message.id)
                break
            except LedgerError as error:
                log.info("the message of a patch is not on record yet", extra={"why": error.message})
                await asyncio.sleep(RETRY_S)
        for emoji in (APPROVE, PAUSE, RESUME, ROLL_BACK):
            # To press on; whoever cannot see them can add them.
            try:
                await self._port.react(message, emoji)
            except DiscordPortError as error:
                log.info("a reaction was not added", extra={"emoji": emoji, "why": error.message})
                return

    def _bundle(self, details: PatchDetails) -> OutgoingFile | None:
        """Return a patch's file, as far as Discord takes it. Blocks."""
        if not 0 < details.bundle_bytes <= MAX_ATTACHED_BYTES:
            return None
        path = bundle_path(self._services.settings.patches_dir, details.sha256)
        try:
            content = read_regular(path, MAX_ATTACHED_BYTES)
        except OSError as error:
            log.warning("the file of a patch cannot be read", extra={"path": str(path), "why": str(error)})
            return None
        return OutgoingFile(f"{details.patch.name}-{details.patch.version}{SUFFIX}", content)

    def _failed(self, patch_id: str, shown: _Shown, error: DiscordPortError) -> None:
        """Try again later, and tell what an operator has to do something about, once."""
        shown.stale = True
        if isinstance(error, DiscordNotFound) and error.json_code == _UNKNOWN_MESSAGE and shown.message is not None:
            self.deleted(shown.message.id)
            return
        place = 0 if shown.message is None else shown.message.channel_id
        if isinstance(error, DiscordNotFound) and place not in (0, self._services.settings.channels.patch):
            # Its channel went while nobody looked, and another took its place.
            self.channel_deleted(place)
            return
        shown.due = self._loop.time() + RETRY_S
        if isinstance(error, DiscordUnavailable):
            log.info("a patch is shown once Discord is back", extra={"patch": patch_id, "why": error.message})
            return
        self._blocked_until = self._loop.time() + BLOCKED_S
        if isinstance(error, DiscordNotFound) and shown.message is not None:
            # Its channel is gone: the next one that the settings name gets it.
            self._patch_of.pop(shown.message.id, None)
            self._forget_message(patch_id, shown)
        if self._told:
            return
        self._told = True
        log.warning("patches cannot be shown in PATCH_CHANNEL", extra={"why": error.message})
        self._services.alerts.raise_alert(
            AlertLevel.WARNING,
            "Patches cannot be shown in PATCH_CHANNEL",
            key="patch_channel",
            text=f"{error.message}\n{error.hint}\nRoll-outs go on; `fleet patch status` shows them.",
        )

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _logged(work: Awaitable[None]) -> None:
    try:
        await work
    except FleetError as error:
        log.warning("the tracker of patches could not finish something", extra={"why": error.message})
    except Exception:
        # Nobody waits for it: what it was about is shown, or read back, the next time.
        log.exception("the tracker of patches failed at something")
