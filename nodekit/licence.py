"""What a person's licence, or the node's own, allows: asked of the master, and remembered for as long as it says.

Answers are signed for this node, and carry until when they hold while the master is away; after that nobody knows. An
order of the master makes the node forget what it remembers, the moment a licence changes. Imported when it is used.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import discord
from discord import app_commands
from discord.ext import commands

from handshake.errors import TransportError
from handshake.messages import LicenceCheck, LicenceStatus
from nodekit.attachment import attachment_of

log = logging.getLogger("node")

FRESH_S = 300.0
"""An answer is asked for again after this long, in case an order got lost; until it is answered the old one holds."""
DENIED_FRESH_S = 10.0
"""The same for who has no licence: whoever gets one is known at once by an order, and soon without it."""
PATIENCE_S = 2.0
"""How long a question waits: who used a command has to be answered within three seconds."""
MOST_REMEMBERED = 5_000
_LEDGER_AWAY = "unavailable"
MOST_HELD_S = 7 * 86_400.0
UNKNOWN = LicenceStatus(state="unknown", reason="unknown")
"""The master is away, and has not said anything that still holds."""
NO_MASTER = LicenceStatus(state="unknown", reason="no_master")
"""The bot was started by hand, or its link is not up yet."""

_ATTRIBUTE = "_fleet_licences"

Key = tuple[int, str]
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class _Remembered:
    """An answer, by a clock that nobody sets."""

    status: LicenceStatus
    fresh_until: float
    holds_until: float


class FeatureMissing(commands.CheckFailure, app_commands.CheckFailure):
    """Who used a command has no licence with the feature that it is for.

    Attributes
    ----------
    feature
        Its name; empty for any licence.
    status
        What the master said.
    """

    def __init__(self, feature: str, status: LicenceStatus) -> None:
        super().__init__(_why(feature, status))
        self.feature = feature
        self.status = status


class NodeLicences:
    """Licences as one node sees them: ``bot.licence``.

    Parameters
    ----------
    client
        Attached to its fleet.
    ask
        Asks the master; None: over the client's own link.
    """

    def __init__(
        self,
        client: discord.Client,
        *,
        ask: Callable[[LicenceCheck], Awaitable[LicenceStatus]] | None = None,
        wall_clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._ask = ask or self._ask_master
        self._wall_clock = wall_clock
        self._monotonic = monotonic
        self._remembered: OrderedDict[Key, _Remembered] = OrderedDict()
        self._asking: dict[Key, asyncio.Task[LicenceStatus | None]] = {}
        self._forgotten = 0
        """How often it was told to forget: an answer that was on its way meanwhile is not remembered."""

    async def check(self, user: discord.abc.Snowflake | int, feature: str = "") -> LicenceStatus:
        """Return what the licence of a person allows; never raises.

        Parameters
        ----------
        user
            A user, a member, or an id.
        feature
            One of a tier's in the master's config; empty: any valid licence.
        """
        user_id = user if isinstance(user, int) else user.id
        return await self._check((user_id, feature), LicenceCheck(user_id=user_id, feature=feature))

    async def own(self, feature: str = "") -> LicenceStatus:
        """Return what the node's own licence allows; never raises."""
        attachment = attachment_of(self._client)
        code = attachment.licence if attachment is not None else ""
        if not code:
            return NO_MASTER
        return await self._check((0, feature), LicenceCheck(licence=code, feature=feature))

    def forget(self, user_id: int | None = None) -> None:
        """Forget what the master said of a person, or of everybody."""
        self._forgotten += 1
        for key in [key for key in self._remembered if user_id in (None, key[0])]:
            del self._remembered[key]
        # Who asks from now on asks anew.
        for key in [key for key in self._asking if user_id in (None, key[0])]:
            del self._asking[key]

    async def _check(self, key: Key, question: LicenceCheck) -> LicenceStatus:
        known = self._remembered.get(key)
        if known is not None and self._monotonic() < min(known.fresh_until, known.holds_until):
            self._remembered.move_to_end(key)
            return known.status
        # Those who ask for the same wait for one answer.
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._learn(key, question), name="licence")
        try:
            async with asyncio.timeout(PATIENCE_S):
                status = await asyncio.shield(asking)
        except TimeoutError:
            status = None
        if status is not None:
            return status
        known = self._remembered.get(key)
        if known is not None and self._monotonic() < known.holds_until:
            return known.status
        return UNKNOWN if attachment_of(self._client) is not None else NO_MASTER

    async def _learn(self, key: Key, question: LicenceCheck) -> LicenceStatus | None:
        """Ask the master; None if nobody knows."""
        forgotten = self._forgotten
        try:
            status = await self._ask(question)
        except TransportError as error:
            log.debug("the master does not say what a licence allows: %s", error)
            return None
        finally:
            if self._asking.get(key) is asyncio.current_task():
                del self._asking[key]
        if status.reason == _LEDGER_AWAY:
            return None
        if forgotten == self._forgotten:
            self._remember(key, status)
        return status

    def _remember(self, key: Key, status: LicenceStatus) -> None:
        now = self._monotonic()
        fresh_s = FRESH_S if status.valid else DENIED_FRESH_S
        holds_s = DENIED_FRESH_S
        if status.holds_until is not None:
            holds_s = min(status.holds_until - self._wall_clock(), MOST_HELD_S)
        self._remembered[key] = _Remembered(status, now + fresh_s, now + holds_s)
        self._remembered.move_to_end(key)
        if len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)

    async def _ask_master(self, question: LicenceCheck) -> LicenceStatus:
        attachment = attachment_of(self._client)
        if attachment is None or attachment.link is None:
            raise TransportError("this bot is not linked to a master")
        answer = await attachment.link.ask(question)
        if not isinstance(answer, LicenceStatus):
            raise TransportError(f"the master answered with {type(answer).__name__}")
        return answer


def licence_of(client: discord.Client) -> NodeLicences:
    """Return the licences as a program's client sees them; ``bot.licence`` of a HandshakeBot is the same."""
    found = getattr(client, _ATTRIBUTE, None)
    if not isinstance(found, NodeLicences):
        found = NodeLicences(client)
        setattr(client, _ATTRIBUTE, found)
    return found


def requires_feature(feature: str = "") -> Callable[[C], C]:
    """Return a decorator that lets a command be used only by people whose licence has a feature.

    For slash commands, text commands and hybrid ones, above or below the decorator that makes the command. Who lacks
    it gets an answer that says why, which only he sees if it is a slash command.

    Parameters
    ----------
    feature
        One of a tier's in the master's config; empty: any valid licence.

    Raises
    ------
    FeatureMissing
        By the command, to its error handlers.
    """

    async def may_use(interaction: discord.Interaction[Any]) -> bool:
        return await _require(interaction.client, interaction.user, feature)

    async def may_type(context: commands.Context[Any]) -> bool:
        return await _require(context.bot, context.author, feature)

    def decorate(command: C) -> C:
        if not isinstance(command, commands.Command):
            app_commands.check(may_use)(command)
        if not isinstance(command, app_commands.Command | app_commands.ContextMenu):
            commands.check(may_type)(command)
        return command

    return decorate


async def _require(client: discord.Client, user: discord.abc.Snowflake, feature: str) -> bool:
    status = await licence_of(client).check(user, feature)
    if not status.valid:
        raise FeatureMissing(feature, status)
    return True


def _why(feature: str, status: LicenceStatus) -> str:
    """Return what to tell who lacks a feature: what is wrong, and what he can do."""
    needed = f"This needs a licence with `{feature}`" if feature else "This needs a licence"
    return f"{needed}: {_REASONS.get(status.reason, status.reason or status.state)}"


_ASK_A_MODERATOR = "The moderators of this server know why."
_REASONS = {
    "unknown": "that cannot be checked at the moment. Try again in a few minutes.",
    "no_master": "that cannot be checked, since this bot runs without its fleet.",
    "not_found": "you have none. `/licence redeem` takes its code.",
    "not_redeemed": "yours is not redeemed yet. `/licence redeem` takes its code.",
    "expired": "yours has expired. `/licence show` tells when.",
    "suspended": f"yours is suspended. {_ASK_A_MODERATOR}",
    "revoked": f"yours was revoked. {_ASK_A_MODERATOR}",
    "no_feature": "yours does not include it. `/licence show` lists what it includes.",
}
