"""The fleet's own channels: what they look like is remembered, so that one that was deleted can be created again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from handshake.files import read_regular
from master.bus import EventBus
from master.configuration.settings import Settings
from master.durable import replace_file
from master.events import GatewayConnected
from master.services.core.discord_port import Channel, ChannelKind, ChannelPlan, DiscordPort
from master.services.core.errors import DiscordNotFound, DiscordPortError
from master.services.repair.errors import ActionFailed, ActionSkipped

log = logging.getLogger(__name__)

REASON = "The fleet's channel was deleted"
_MAX_FILE_BYTES = 1024 * 1024


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """A channel as it was when it was seen last."""

    channel: Channel
    successor_id: int = 0
    """The channel that was created in its place; until config.py names that, none is created again."""


class OwnChannels:
    """Remember the channels of CHANNELS, and create those again that are gone.

    Parameters
    ----------
    port
        None for a master without a token.
    path
        What is remembered, in the state folder.
    """

    def __init__(self, port: DiscordPort | None, bus: EventBus, settings: Callable[[], Settings], path: Path) -> None:
        self._port = port
        self._bus = bus
        self._settings = settings
        self._path = path
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Remember the channels whenever the master is connected, until cancelled."""
        with self._bus.subscribe(GatewayConnected, capacity=1) as connections:
            async for _ in connections:
                try:
                    await self.remember()
                except ActionFailed as error:
                    # Such as a full disk, which is told by who watches it; the next connection tries it again.
                    log.warning("the fleet's channels are not remembered", extra={"why": error.message})

    async def remember(self) -> None:
        """Look at the channels, and write down what they look like; one that cannot be seen is left as it was."""
        if self._port is None:
            return
        async with self._turn:
            before = await asyncio.to_thread(self._read)
            known = {channel_id: before[channel_id] for channel_id in self._wanted().values() if channel_id in before}
            for channel_id in self._wanted().values():
                try:
                    known[channel_id] = Remembered(channel=await self._port.channel(channel_id))
                except DiscordPortError as error:
                    log.info("a channel cannot be seen", extra={"channel": channel_id, "why": error.message})
            if known != before:
                await self._write(known)

    async def recreate(self) -> str:
        """Create the channels again that are gone; returns what config.py has to say, in one line.

        Raises
        ------
        ActionSkipped
            None is gone, or nobody knows what it looked like.
        DiscordPortError
            Discord does not let it.
        """
        port = self._port
        if port is None:
            raise ActionSkipped("this master has no Discord token")
        async with self._turn:
            known = await asyncio.to_thread(self._read)
            gone = {key: channel_id for key, channel_id in self._wanted().items() if await _is_gone(port, channel_id)}
            if not gone:
                raise ActionSkipped("no channel of CHANNELS is gone")
            unknown = ", ".join(f'CHANNELS["{key}"] = {gone[key]}' for key in gone if gone[key] not in known)
            if unknown:
                raise ActionSkipped(
                    f"nothing is remembered of {unknown}: a channel without its permissions might be open to all",
                    hint="create it by hand, and put its id into config.py",
                )
            done = [await self._recreate(port, key, channel_id, known) for key, channel_id in gone.items()]
        return "; ".join(done) + "; then `fleet reload`"

    async def _recreate(self, port: DiscordPort, key: str, channel_id: int, known: dict[int, Remembered]) -> str:
        remembered = known[channel_id]
        if not remembered.successor_id or await _is_gone(port, remembered.successor_id):
            created = await self._create(port, remembered.channel)
            known[channel_id] = replace(remembered, successor_id=created.id)
            await self._write(known)
        said = f'#{remembered.channel.name} is there again: put CHANNELS["{key}"] = {known[channel_id].successor_id}'
        return f"{said} into config.py"

    async def _create(self, port: DiscordPort, channel: Channel) -> Channel:
        guild_id = channel.guild_id or self._settings().identity.guild_id
        parent_id = channel.parent_id
        if parent_id is not None and await _is_gone(port, parent_id):
            parent_id = None
        # Those of roles that are gone would be refused.
        roles = {role.id for role in await port.roles(guild_id)}
        plan = ChannelPlan(
            name=channel.name,
            kind=ChannelKind.TEXT,
            parent_id=parent_id,
            topic=channel.topic,
            position=channel.position,
            overwrites=tuple(one for one in channel.overwrites if one.kind == "member" or one.target_id in roles),
        )
        return await port.create_channel(guild_id, plan, reason=REASON)

    def _wanted(self) -> Mapping[str, int]:
        channels = self._settings().channels
        named = {"VERIFY": channels.verify, "PATCH": channels.patch, "LOG": channels.log}
        return {key: channel_id for key, channel_id in named.items() if channel_id}

    def _read(self) -> dict[int, Remembered]:
        """Return what is remembered, by the channel's id. Blocks."""
        try:
            return msgspec.json.decode(read_regular(self._path, _MAX_FILE_BYTES), type=dict[int, Remembered])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("what is remembered of the channels cannot be read", extra={"why": str(error)})
            return {}

    async def _write(self, known: Mapping[int, Remembered]) -> None:
        """Write down what is remembered.

        Raises
        ------
        ActionFailed
        """
        try:
            await asyncio.to_thread(replace_file, self._path, msgspec.json.encode(known))
        except OSError as error:
            raise ActionFailed(f"{self._path} cannot be written: {error.strerror}") from error


async def _is_gone(port: DiscordPort, channel_id: int) -> bool:
    try:
        await port.channel(channel_id)
    except DiscordNotFound:
        return True
    return False
