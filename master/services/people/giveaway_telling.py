"""Tells people of a giveaway: its message, its winners, their prizes. Each step is on record, and is made up for later.

What cannot be told where it belongs (the channel is gone, or closed to the master) is an alert for the operators.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec import structs
from sqlalchemy import Connection

from handshake.redaction import Secret
from master.configuration.settings import Settings
from master.events import AlertLevel
from master.ledger.database import Ledger
from master.ledger.rows import giveaways
from master.ledger.rows.records import Giveaway, GiveawayWinner
from master.services.core.alerts import Alerts
from master.services.core.discord_port import DiscordPort, MessageRef, PostedMessage
from master.services.core.errors import DiscordNotFound, DiscordRefused, TierUnknown
from master.services.people import giveaway_messages as messages
from master.services.people.giveaway_drawing import GiveawayDrawing, Vacancy, claim_until
from master.services.people.giveaway_prizes import Prizes
from master.services.people.giveaway_records import STANDING, GiveawayRecords
from master.services.people.giveaway_rules import snowflake_at
from master.services.trust.licence_rules import LicenceRefused
from master.supervision.clock import Clock
from master.wording import as_markdown

log = logging.getLogger(__name__)

_UNKNOWN_MEMBER, _UNKNOWN_USER = 10007, 10013
"""https://discord.com/developers/docs/topics/opcodes-and-status-codes#json"""
NONCE_HOLDS = timedelta(seconds=60)
"""For how long Discord surely knows a nonce: "in the past few minutes", it says."""
CLOCKS_APART = timedelta(minutes=10)


class GiveawayTelling:
    """Show a giveaway, announce its winners, hand out its prizes.

    Parameters
    ----------
    settings
        Returns the settings in effect.
    own_id
        Returns the user id of the master's bot.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        port: DiscordPort,
        records: GiveawayRecords,
        drawing: GiveawayDrawing,
        prizes: Prizes,
        alerts: Alerts,
        clock: Clock,
        settings: Callable[[], Settings],
        own_id: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._own_id = own_id
        self._port = port
        self._records = records
        self._drawing = drawing
        self._prizes = prizes
        self._alerts = alerts
        self._clock = clock
        self._settings = settings
        self._lost: set[str] = set()
        """Giveaways whose message is gone, which was told."""

    async def post(self, giveaway: Giveaway) -> None:
        """Post the message of a giveaway that is open.

        Raises
        ------
        DiscordPortError
        LedgerError
        """
        notice = messages.open_notice(giveaway, await self._count(giveaway), self._settings().colours)
        footer = notice.embeds[0].footer
        posted = await self._posted_before(giveaway, giveaway.starts_at, lambda message: footer in message.footers)
        if posted is None:
            # With the giveaway's own nonce: a master that is killed before it writes the message down posts no second.
            posted = await self._port.post(giveaway.channel_id, structs.replace(notice, nonce=giveaway.id[-24:]))
        await self._ledger.write(
            lambda connection: giveaways.change(connection, giveaway.id, ["open", "cancelled"], message_id=posted.id)
        )

    async def show(self, giveaway: Giveaway) -> datetime | None:
        """Bring the message to what the giveaway is now; returns when that was by Discord's clock.

        Raises
        ------
        DiscordPortError
        LedgerError
        """
        message = messages.message_of(giveaway)
        if message is None:
            return None
        entries, colours = await self._count(giveaway), self._settings().colours
        match giveaway.state:
            case "drawing":
                notice = messages.drawing_notice(giveaway, entries, colours)
            case "drawn":
                winners = await self._drawing.winners_of(giveaway)
                notice = messages.drawn_notice(giveaway, entries, winners, colours)
            case "cancelled":
                notice = messages.cancelled_notice(giveaway, entries, colours)
            case _:
                notice = messages.open_notice(giveaway, entries, colours)
        try:
            return await self._port.edit(message, notice)
        except DiscordRefused as error:
            self._tell_lost(giveaway, error.message)
            return None

    async def tell(self, giveaway: Giveaway) -> None:
        """Announce the draws that nobody was told of yet, hand out their prizes, and note that it was done.

        Raises
        ------
        DiscordPortError
        LedgerError
        """
        found = await self._without_those_who_left(giveaway)
        new = [winner for winner in await self._drawing.winners_of(found) if winner.state == "drawn"]
        if new:
            await self._announce(found, new)
        troubles = set[str]()
        for winner in await self._drawing.winners_of(found):
            if winner.state == "told" and not winner.detail:
                troubles.add(await self._send(found, winner))
        for trouble in sorted(troubles - {""}):
            text = f"{trouble} Once that is right, winners press **Claim** below the draw."
            self._raise(found, "has winners without their licence", text)
        await self.show(found)
        await self._note_told(found)

    async def tell_cancelled(self, giveaway: Giveaway) -> None:
        """Show that a giveaway was cancelled, and note that it was done.

        Raises
        ------
        DiscordPortError
        LedgerError
        """
        await self.show(giveaway)
        await self._note_told(giveaway)

    async def vacate(self, giveaway: Giveaway, vacated: Sequence[tuple[GiveawayWinner, Vacancy]], *, why: str) -> None:
        """Revoke the licences of winners whose prize goes on to others.

        Raises
        ------
        FleetError
        """
        for winner, _ in vacated:
            if winner.licence_id is not None:
                await self._prizes.revoke(winner.licence_id, why=f"giveaway {giveaway.id}: {why}")

    async def fresh_code(self, giveaway: Giveaway, winner: GiveawayWinner) -> Secret[str] | None:
        """Issue a winner's licence; an earlier one that he did not redeem is revoked. None: he has redeemed it.

        Raises
        ------
        FleetError
        """
        if winner.licence_id is not None:
            if await self._prizes.is_redeemed(winner.licence_id):
                return None
            await self._prizes.revoke(winner.licence_id, why="its code was sent anew")
        licence_id, code = await self._prizes.issue(giveaway, winner.user_id)
        await self._drawing.set_winner(winner, licence_id=licence_id)
        return code

    async def _without_those_who_left(self, giveaway: Giveaway) -> Giveaway:
        """Draw again for winners who are not on the server any more, until all of them are."""
        found = giveaway
        while True:
            new = [winner for winner in await self._drawing.winners_of(found) if winner.state == "drawn"]
            gone: list[tuple[GiveawayWinner, Vacancy]] = [
                (winner, "left") for winner in new if not await self._is_member(found.guild_id, winner.user_id)
            ]
            if not gone:
                return found
            await self._drawing.draw_again(found, gone, why=f"{len(gone)} had left the server")
            found = await self._again(found)

    async def _is_member(self, guild_id: int, user_id: int) -> bool:
        try:
            await self._port.roles_of(guild_id, user_id)
        except DiscordNotFound as error:
            return error.json_code not in (_UNKNOWN_MEMBER, _UNKNOWN_USER)
        except DiscordRefused:
            # The server is closed to the master: nobody is known to have left it.
            return True
        return True

    async def _announce(self, giveaway: Giveaway, new: Sequence[GiveawayWinner]) -> None:
        draw = await self._records.draw(giveaway)
        until = claim_until(giveaway, self._clock.now(), self._settings().giveaways.claim_hours * 3600)
        told = [structs.replace(winner, claim_until=until) for winner in new]
        notice = messages.announcement(giveaway, told, draw.document, self._settings().colours)
        file = messages.document_name(giveaway)
        try:
            if await self._posted_before(giveaway, max(winner.changed_at for winner in new), _has_file(file)) is None:
                await self._port.post(giveaway.channel_id, notice)
        except DiscordRefused as error:
            self._alert(giveaway, "could not be announced", error.message, new)
        now = self._clock.now()

        def write(connection: Connection) -> None:
            for winner in new:
                giveaways.change_winner(connection, winner, state="told", claim_until=until, changed_at=now)

        await self._ledger.write(write)

    async def _posted_before(
        self, giveaway: Giveaway, due_at: datetime, fits: Callable[[PostedMessage], bool]
    ) -> MessageRef | None:
        """Return what was posted already by a master that was killed before it wrote that down; None if nothing was.

        Looked for only when Discord no longer knows the nonce by which it posts the same once.
        """
        if self._clock.now() - due_at < NONCE_HOLDS:
            return None
        after_id = snowflake_at(due_at - CLOCKS_APART)
        try:
            found = await self._port.messages_since(giveaway.channel_id, after_id)
        except DiscordRefused as error:
            log.info("a giveaway's channel cannot be read", extra={"giveaway": giveaway.id, "why": error.message})
            return None
        mine = (message for message in found if message.author_id == self._own_id() and fits(message))
        return next((message.ref for message in mine), None)

    async def _send(self, giveaway: Giveaway, winner: GiveawayWinner) -> str:
        """Send a winner what he has won; one who takes no direct messages may claim it. Returns what went wrong."""
        code = None
        if giveaway.prize_tier:
            try:
                code = await self.fresh_code(giveaway, winner)
            except (TierUnknown, LicenceRefused) as error:
                # It must not hold up the other winners, nor the message that says who has won.
                await self._drawing.set_winner(winner, detail=f"not issued: {error.message}"[:400])
                return f"{error.message}. {error.hint}".rstrip(" .") + "."
            if code is None:
                await self._drawing.set_winner(winner, state="claimed", detail="redeemed")
                return ""
        try:
            await self._port.direct_message(
                winner.user_id, messages.winner_notice(giveaway, code, self._settings().colours)
            )
        except DiscordRefused:
            await self._drawing.set_winner(winner, detail="takes no direct messages")
            return ""
        if code is None:
            await self._drawing.set_winner(winner, detail="sent")
        else:
            await self._drawing.set_winner(winner, state="claimed", detail="sent", claim_until=None)
        return ""

    async def _note_told(self, giveaway: Giveaway) -> None:
        draws = giveaway.draws
        await self._ledger.write(
            lambda connection: giveaways.change(connection, giveaway.id, ["drawn", "cancelled"], told_draws=draws)
        )

    async def _again(self, giveaway: Giveaway) -> Giveaway:
        found = await self._ledger.read(lambda connection: giveaways.get(connection, giveaway.id))
        return found or giveaway

    async def _count(self, giveaway: Giveaway) -> int:
        return await self._ledger.read(lambda connection: giveaways.count_entries(connection, giveaway.id))

    def _tell_lost(self, giveaway: Giveaway, why: str) -> None:
        """Alert once that a message can no longer be edited."""
        if giveaway.id in self._lost:
            return
        self._lost.add(giveaway.id)
        if giveaway.state == "open":
            text = f"{why}. Nobody can enter any more; it ends as planned, unless `/giveaway cancel` ends it now."
            self._raise(giveaway, "has lost its message", text)
        else:
            log.info("a giveaway's message cannot be edited", extra={"giveaway": giveaway.id, "why": why})

    def _alert(self, giveaway: Giveaway, what: str, why: str, winners: Sequence[GiveawayWinner]) -> None:
        named = ", ".join(f"<@{winner.user_id}>" for winner in winners)
        words = "won it" if len(winners) == 1 else "won it, in this order"
        text = f"{why}.\n{named} {words}. `fleet giveaway export {giveaway.id}` writes the file to check it with."
        self._raise(giveaway, what, text)

    def _raise(self, giveaway: Giveaway, what: str, text: str) -> None:
        title = f"The giveaway of {as_markdown(giveaway.prize)[:150]} {what}"
        self._alerts.raise_alert(AlertLevel.WARNING, title, key=f"giveaway:{giveaway.id}:{what}", text=text[:1500])


def _has_file(name: str) -> Callable[[PostedMessage], bool]:
    return lambda message: any(file.name == name for file in message.attachments)


def standing(winners: Sequence[GiveawayWinner]) -> list[GiveawayWinner]:
    """Return the winners whose prize did not go on to others."""
    return [winner for winner in winners if winner.state in STANDING]
