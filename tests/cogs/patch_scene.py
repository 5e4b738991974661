"""A server with a PATCH_CHANNEL, two operators and a stranger, and a master whose connection comes and goes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from msgspec import json, structs

from handshake.patch_bundle import unpack
from handshake.patch_document import PatchDocument
from master.bot.connection import DiscordConnection
from master.cogs.patch_tracker import PatchTracker
from master.configuration.settings import PatchSettings, Settings
from master.events import AlertRaised, PatchChanged
from master.ledger.identifiers import new_ulid
from master.ledger.rows import audit, patch_keys, patches
from master.ledger.rows.nodes import insert as insert_node
from master.ledger.rows.records import Patch, PatchNode, PatchNodeState, PatchState, PatchTrack
from master.services.container import DiscordView, Services
from master.services.patches.plan import plan_for
from master.services.patches.progress import begin, progress_text
from sandbox import BotHandle, ChannelHandle, GuildHandle, Interaction, Message, Person, Sandbox
from tests.ledger.test_database import a_node
from tests.services.conftest import House, open_house
from tests.services.patches.authors import Author

WAIT_S = 15.0


@dataclass
class PatchScene:
    """A master's services, and what is around them."""

    sandbox: Sandbox
    guild: GuildHandle
    channel: ChannelHandle
    account: BotHandle
    ada: Person
    ben: Person
    eve: Person
    settings: Settings
    house: House
    connection: DiscordConnection
    connecting: asyncio.Task[None] | None = None
    versions: int = 0
    author: Author = field(default_factory=Author)
    """Of all patches; the key is trusted."""
    bots: dict[str, BotHandle] = field(default_factory=dict)

    @property
    def services(self) -> Services:
        return self.house.services

    async def connect(self) -> PatchTracker:
        self.connecting = asyncio.create_task(self.connection.run(self.house.operations))
        await self.sandbox.gateway.wait_connected(self.account.account, timeout_s=WAIT_S)
        return self.tracker

    async def disconnect(self) -> None:
        if self.connecting is not None:
            self.connecting.cancel()
            await asyncio.gather(self.connecting, return_exceptions=True)
            await self.sandbox.gateway.wait_connected(self.account.account, connected=False)

    @property
    def tracker(self) -> PatchTracker:
        bot = self.connection._bot
        assert bot is not None
        # discord.py loads the module anew, so the class is another one.
        return cast(PatchTracker, bot.get_cog("PatchTracker"))

    async def runs(self, name: str, options: dict[str, Any] | None = None) -> Interaction:
        """Run a command as ada, and wait until it is answered."""
        return await answered(await self.ada.runs_command(self.channel, self.account, name, options))

    async def receive(
        self, *, state: PatchState = "received", announce: bool = True, approvals: int = 1, **fields: Any
    ) -> str:
        """Put a signed patch on record, as if it had been accepted through ada; returns its id."""
        self.versions += 1
        if self.versions == 1:
            await self.services.ledger.write(lambda connection: patch_keys.insert(connection, self.author.key()))
        unix = int(self.services.clock.now().timestamp())
        given = {"created": unix - 60, "expires": unix + 3_600, **fields}
        content = self.author.bundle(version=self.versions, **given)
        text = unpack(content).document.decode()
        document = json.decode(text, type=PatchDocument)
        digest = hashlib.sha256(content)
        folder = self.settings.patches_dir
        folder.mkdir(exist_ok=True)
        (folder / f"{digest.hexdigest()}.fleetpatch").write_bytes(content)
        now = self.services.clock.now()
        patch = Patch(
            id=new_ulid(self.services.clock),
            name=document.name,
            channel=document.channel,
            version=document.version,
            key_id=self.author.key().id,
            author="ada",
            received_at=now,
            received_from=f"discord:{self.ada.id}",
            bundle_hash=digest.digest(),
            bundle_bytes=len(content),
            document=text,
            state=state,
            rollout_plan=progress_text(begin(plan_for(document, PatchSettings(approvals=approvals)))),
            changed_at=now,
            changed_by="cli:root",
            finished_at=now if state in ("done", "aborted", "failed", "rolled_back") else None,
        )
        await self.services.ledger.write(lambda connection: patches.insert(connection, patch))
        if announce:
            self.announce(patch.id, state)
        return patch.id

    def announce(self, patch_id: str, state: str) -> None:
        event = PatchChanged(at=self.services.clock.now(), patch_id=patch_id, name="ranks 1", state=state)
        self.services.bus.publish(event)

    async def add_nodes(self, *names: str) -> list[str]:
        """Register nodes that do not run, with their bots on the server; returns their ids."""
        for name in names:
            bot = self.sandbox.create_bot(name)
            self.guild.add_bot(bot)
            self.bots[name] = bot
            node = structs.replace(a_node(), id=new_ulid(self.services.clock), name=name, bot_user_id=bot.id)
            await self.services.ledger.write(partial(insert_node, node=node))
            self.services.directory.put(node)
        return [self.services.directory.find(name).id for name in names]

    def as_bot(self, name: str) -> Person:
        """Return the client of a node's bot."""
        return self.sandbox.people.person(self.bots[name].account)

    async def put_state(self, patch_id: str, state: PatchState, **fields: Any) -> None:
        """Have a patch be in a state, as a roll-out would."""
        book = self.services.patches._book
        patch = await book.load(patch_id)
        assert patch is not None
        book.put(structs.replace(patch, state=state, **fields))
        await book.flush()

    async def put_node(self, patch_id: str, node_id: str, state: PatchNodeState, detail: str = "") -> None:
        """Have a patch be so far on a node, as a roll-out would."""
        book = self.services.patches._book
        await book.load(patch_id)
        at = self.services.clock.now()
        book.put_node(PatchNode(patch_id=patch_id, node_id=node_id, wave=0, state=state, changed_at=at, detail=detail))
        await book.flush()

    async def audited(self, action: str) -> list[tuple[str, str]]:
        """Return who did something by the audit log, and what came of it; the latest first."""
        rows = await self.services.ledger.read(lambda connection: audit.search(connection, action=action))
        return [(row.actor, row.outcome) for row in rows]

    def successor(self) -> ChannelHandle:
        """Return the channel of PATCH_CHANNEL's name."""
        (found,) = [one.id for one in self.guild.guild.channels.values() if one.name == "patches"]
        return self.guild.channel(found)

    def dismiss(self, person: Person) -> None:
        """Take somebody out of OPERATORS."""
        people = self.settings.operators
        left = structs.replace(people, user_ids=people.user_ids - {person.id})
        self.services.permissions.update_settings(structs.replace(self.settings, operators=left))

    def alerts(self) -> list[AlertRaised]:
        """Return a list that each alert from now on is added to."""
        found: list[AlertRaised] = []
        self.services.bus.on(AlertRaised, found.append)
        return found

    async def message_of(self, patch_id: str, *, other_than: Message | None = None) -> Message:
        """Wait for the message of a patch, and until it is on record."""
        message = await self.shown(
            lambda m: m is not other_than and any(patch_id in e["footer"]["text"] for e in m.embeds if "footer" in e)
        )
        while (await self.services.patches.show(patch_id)).patch.message_id != message.id:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0)
        return message

    async def shown(self, fits: Callable[[Message], bool]) -> Message:
        """Wait for a message in PATCH_CHANNEL, also one that was edited."""
        return await self.channel.wait_for_message(fits, timeout_s=WAIT_S)

    async def tracked(self, patch_id: str, fits: Callable[[list[PatchTrack]], bool]) -> list[PatchTrack]:
        """Wait until what is written down of a patch is so."""
        async with asyncio.timeout(WAIT_S):
            while True:
                found = await self.services.patch_tracking.of_patch(patch_id)
                if fits(found):
                    return found
                await asyncio.sleep(0.01)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for the sandbox to come to a state."""
        async with asyncio.timeout(WAIT_S):
            while not holds():  # noqa: ASYNC110 - the sandbox has no event for each change
                await asyncio.sleep(0.01)


@asynccontextmanager
async def open_scene(
    settings: Settings, sandbox: Sandbox, people: tuple[Person, Person, Person], guild: GuildHandle, account: BotHandle
) -> AsyncIterator[PatchScene]:
    connection = DiscordConnection(account.token, settings.state_dir / "master-id")
    view = DiscordView(user_id=connection.user_id, state=connection.state, port=connection.port)
    channel = ChannelHandle(sandbox.people, sandbox.world.channels[settings.channels.patch])
    async with open_house(settings, sandbox, view) as house:
        made = PatchScene(sandbox, guild, channel, account, *people, settings, house, connection)
        try:
            yield made
        finally:
            await made.disconnect()


def settings_for(settings: Settings, guild: GuildHandle, channel: ChannelHandle, operators: frozenset[int]) -> Settings:
    """Return settings with a PATCH_CHANNEL; without VERIFY_CHANNEL the master needs no privileged intent."""
    return structs.replace(
        settings,
        identity=structs.replace(settings.identity, guild_id=guild.id),
        channels=structs.replace(settings.channels, verify=0, patch=channel.id),
        operators=structs.replace(settings.operators, user_ids=operators, role_ids=frozenset()),
    )


async def answered(interaction: Interaction) -> Interaction:
    """Wait until a command or a press is answered."""
    return await interaction.wait_until(lambda i: bool(i.embeds))
