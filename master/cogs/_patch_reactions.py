"""Reactions to the messages of PATCH_CHANNEL: written down, and those of operators carried out as requests."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from master.bot.embeds import error_embed
from master.cogs._patch_embeds import APPROVE, PAUSE, RESUME, ROLL_BACK
from master.cogs._patch_presses import rollback_question
from master.errors import FleetError
from master.operations import patches
from master.operations.operation import Operations
from master.operations.parameters import PatchParams, PatchStopParams
from master.services.container import Services
from master.services.core.actors import Actor
from master.services.core.discord_port import DiscordPort, Embed, MessageRef, Notice
from master.services.core.errors import DiscordForbidden, DiscordNotFound, DiscordPortError, NotAuthorised
from master.services.core.permissions import Permission

log = logging.getLogger(__name__)

_VARIATION = "\ufe0f"
"""Asks for an emoji's coloured form; Discord writes it or not."""
REFUSALS, REFUSALS_IN_S = 5, 60.0
"""Whoever is refused this often within this time is not answered until it is over: each answer is an audit row."""

ActorOf = Callable[[], Awaitable[Actor]]
"""Returns who reacted, with the roles that they have now."""


class PatchReactions:
    """Write reactions down, and carry out what operators ask for with them.

    A reaction that is taken off takes nothing back; it is only written down.

    Parameters
    ----------
    own_id
        Returns the master's own user id.
    touch
        Shows a patch anew.
    """

    def __init__(
        self,
        operations: Operations[Services],
        port: DiscordPort,
        own_id: Callable[[], int],
        touch: Callable[[str], None],
    ) -> None:
        self._operations = operations
        self._services = operations.services
        self._port = port
        self._own_id = own_id
        self._touch = touch
        self._locks: dict[str, asyncio.Lock] = {}
        self._refused: dict[int, deque[float]] = {}
        self._may_take_off = True

    async def came(self, patch_id: str, message: MessageRef, user_id: int, emoji: str, actor_of: ActorOf) -> None:
        """Write down a reaction, and carry it out if it is an operator's."""
        if user_id == self._own_id():
            return
        async with self._lock(patch_id):
            is_new = await self._services.patch_tracking.note(patch_id, user_id, emoji, came=True)
        if is_new:
            await self._steer(patch_id, message, user_id, emoji, actor_of)

    async def went(self, patch_id: str, user_id: int, emoji: str) -> None:
        """Write down that a reaction was taken off."""
        if user_id != self._own_id():
            async with self._lock(patch_id):
                await self._services.patch_tracking.note(patch_id, user_id, emoji, came=False)

    async def all_gone(self, patch_id: str, emoji: str = "", *, detail: str = "") -> None:
        """Write down that all reactions were taken off, or all with one emoji."""
        tracking = self._services.patch_tracking
        async with self._lock(patch_id):
            for user_id, other in sorted(await tracking.standing(patch_id)):
                if emoji in ("", other):
                    await tracking.note(patch_id, user_id, other, came=False, detail=detail)

    async def read_back(self, patch_id: str, message: MessageRef) -> None:
        """Compare a message's reactions with what was written down, and do what was asked for meanwhile.

        What steers of somebody who is no operator any more is taken off.

        Raises
        ------
        DiscordPortError
        """
        self._may_take_off = True
        # Events that arrive meanwhile wait, for what they tell may be newer than what is read.
        async with self._lock(patch_id):
            present = await self._present(message)
            came = await self._services.patch_tracking.compare(patch_id, present)
        if not any(_plain(emoji) in _STEERS for _, emoji in present):
            return
        guild_id = (await self._port.channel(message.channel_id)).guild_id
        for user_id, emoji in sorted(present):
            if _plain(emoji) not in _STEERS or self._services.directory.by_user(user_id) is not None:
                continue
            actor = await self._actor(guild_id, user_id)
            if (user_id, emoji) in came:
                await self._steer(patch_id, message, user_id, emoji, _already(actor))
            elif not self._services.permissions.allow(actor, Permission.OPERATE):
                await self._take_off(message, emoji, user_id)

    async def _present(self, message: MessageRef) -> set[tuple[int, str]]:
        found = set[tuple[int, str]]()
        for reaction in (await self._port.fetch_message(message)).reactions:
            if reaction.count > reaction.is_own:
                found |= {(user_id, reaction.emoji) for user_id in await self._port.reactors(message, reaction.emoji)}
        return {(user_id, emoji) for user_id, emoji in found if user_id != self._own_id()}

    async def _actor(self, guild_id: int | None, user_id: int) -> Actor:
        """Return a member with the roles that they have now; without any who is none any more."""
        try:
            roles = await self._port.roles_of(guild_id or 0, user_id)
            name = await self._port.user_name(user_id)
        except DiscordNotFound:
            return Actor(face="discord", identity=str(user_id), name=str(user_id))
        return Actor(face="discord", identity=str(user_id), name=name, role_ids=roles, is_member=True)

    # Requests

    async def _steer(self, patch_id: str, message: MessageRef, user_id: int, emoji: str, actor_of: ActorOf) -> None:
        act = _STEERS.get(_plain(emoji))
        # The reactions of nodes show how far they are.
        if act is None or self._services.directory.by_user(user_id) is not None or self._is_tiresome(user_id):
            return
        try:
            actor = await actor_of()
            await act(self, patch_id, message, actor)
        except NotAuthorised:
            self._note_refusal(user_id)
            await self._take_off(message, emoji, user_id)
        except FleetError as error:
            await self._tell(message, user_id, error)
            await self._take_off(message, emoji, user_id)
        else:
            self._touch(patch_id)
            if _plain(emoji) != APPROVE:
                # So that it can be pressed again; an approval stays to be seen.
                await self._take_off(message, emoji, user_id)

    async def _approve(self, patch_id: str, message: MessageRef, actor: Actor) -> None:
        await self._operations.run(patches.approve, actor, PatchParams(patch=patch_id))

    async def _pause(self, patch_id: str, message: MessageRef, actor: Actor) -> None:
        await self._operations.run(patches.pause, actor, PatchStopParams(patch=patch_id))

    async def _resume(self, patch_id: str, message: MessageRef, actor: Actor) -> None:
        await self._operations.run(patches.resume, actor, PatchParams(patch=patch_id))

    async def _ask_to_roll_back(self, patch_id: str, message: MessageRef, actor: Actor) -> None:
        """Ask: it is one press from something that touches every node, and so easily missed."""
        await self._operations.authorise(patches.rollback, actor)
        found = await self._services.patches.show(patch_id)
        notice = rollback_question(self._services.settings, found, int(actor.identity), message.id)
        await self._port.post(message.channel_id, notice)

    async def _tell(self, message: MessageRef, user_id: int, error: FleetError) -> None:
        """Answer an operator whose request could not be carried out."""
        shown = error_embed(self._services.settings, error)
        embed = Embed(
            title=shown.title or "",
            description=shown.description or "",
            colour=self._services.settings.colours.error,
            footer=error.code,
        )
        notice = Notice(text=f"<@{user_id}>", embeds=(embed,), mention_users=(user_id,), reply_to=message.id)
        try:
            await self._port.post(message.channel_id, notice)
        except DiscordPortError as failure:
            log.warning("an operator could not be answered", extra={"why": failure.message, "about": error.message})

    async def _take_off(self, message: MessageRef, emoji: str, user_id: int) -> None:
        if not self._may_take_off:
            return
        try:
            await self._port.unreact(message, emoji, user_id=user_id)
        except DiscordForbidden as error:
            # Not tried again until the next connection: it would be refused for each reaction.
            self._may_take_off = False
            log.info("reactions are ignored and not taken off", extra={"why": error.message})
        except DiscordPortError as error:
            log.info("a reaction was not taken off", extra={"why": error.message})

    def _lock(self, patch_id: str) -> asyncio.Lock:
        return self._locks.setdefault(patch_id, asyncio.Lock())

    def _is_tiresome(self, user_id: int) -> bool:
        refused = self._refused.get(user_id)
        oldest = self._services.clock.monotonic() - REFUSALS_IN_S
        while refused and refused[0] < oldest:
            refused.popleft()
        return refused is not None and len(refused) >= REFUSALS

    def _note_refusal(self, user_id: int) -> None:
        self._refused.setdefault(user_id, deque(maxlen=REFUSALS)).append(self._services.clock.monotonic())


_Act = Callable[[PatchReactions, str, MessageRef, Actor], Awaitable[Any]]


def _plain(emoji: str) -> str:
    return emoji.replace(_VARIATION, "")


_STEERS: dict[str, _Act] = {
    _plain(APPROVE): PatchReactions._approve,
    _plain(PAUSE): PatchReactions._pause,
    _plain(RESUME): PatchReactions._resume,
    _plain(ROLL_BACK): PatchReactions._ask_to_roll_back,
}


def _already(actor: Actor) -> ActorOf:
    async def known() -> Actor:
        return actor

    return known
