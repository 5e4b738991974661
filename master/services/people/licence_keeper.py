"""What falls due with licences: warnings before their end, the end, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from msgspec.structs import replace
from sqlalchemy import Connection

from master.bus import EventBus
from master.events import AlertLevel, LicenceChanged
from master.ledger.database import Ledger
from master.ledger.rows import licences
from master.ledger.rows.records import Licence
from master.services.core.alerts import Alerts
from master.services.core.directory import NodeDirectory
from master.services.core.discord_port import DiscordPort, Notice
from master.services.core.errors import DiscordPortError, DiscordUnavailable
from master.services.people.licences import Licences
from master.services.trust.licence_rules import LicenceRefused, end_of
from master.services.trust.licence_writing import KEEPER, note
from master.services.trust.licensing import Licensing
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

WARN_DAYS = (14, 3, 1)
"""How many days before its end a licence's holder is warned; of a short one not the early ones."""
LOOK_EVERY_S = 60.0
"""How often the clock is compared with what is due next: it may be set."""
SOONEST_S = 30.0
"""Between two looks at the ledger: what falls due seconds apart is one."""
TELL_FOR = timedelta(days=7)
"""For how long an end is told of that nobody was told of, since Discord or the master was away."""
PAUSE_S = 1.0
"""Between messages: Discord takes many at once for spam."""
MOST_A_STEP = 50
"""Messages, after which it is looked what else is due: what ends is more urgent than who is warned."""
_GRACE, _TOLD = 0, -1
"""In place of the days of the last warning: it was told that the grace has begun, or of the end."""


class LicenceKeeper:
    """Warn, end licences, and tell their holders.

    Each step is on record in the ledger: what is due follows from a licence's end and from the last thing that its
    holder was told. A master that is killed between a message and its record sends it once more.

    Parameters
    ----------
    port
        None for a master without a token: holders are told nothing.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        licences: Licences,
        licensing: Licensing,
        bus: EventBus,
        clock: Clock,
        alerts: Alerts,
        directory: NodeDirectory,
        port: DiscordPort | None,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._ledger, self._licences, self._licensing = ledger, licences, licensing
        self._clock, self._alerts, self._directory = clock, alerts, directory
        self._port, self._pause_s = port, pause_s
        self._messages = 0
        """Sent in this step."""
        self._changed = asyncio.Event()
        bus.on(LicenceChanged, lambda _event: self._changed.set())

    def look_again(self) -> None:
        """Look at the licences again: the tiers were changed."""
        self._changed.set()

    async def run(self) -> None:
        """Do what is due, until cancelled."""
        while True:
            self._changed.clear()
            due = await self.step()
            soonest = self._clock.now() + timedelta(seconds=SOONEST_S)
            if due is not None:
                due = max(due, soonest)
            while not self._changed.is_set() and (due is None or self._clock.now() < due):
                left_s = LOOK_EVERY_S if due is None else min((due - self._clock.now()).total_seconds(), LOOK_EVERY_S)
                try:
                    async with asyncio.timeout(max(left_s, 0.1)):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def step(self) -> datetime | None:
        """Do what is due now; returns when something is due next, None if nothing is.

        Raises
        ------
        LedgerError
        """
        await self._ledger.wait_available()
        now = self._clock.now()
        await self._reinstate_early(now)
        horizon = now + timedelta(days=max(WARN_DAYS))
        moments: list[datetime | None] = []
        self._messages = 0
        for licence in await self._ledger.read(lambda connection: licences.list_ending(connection, horizon)):
            moments.append(await self._keep(licence, now))
        if not await self._tell_ends(now):
            moments.append(now)
        later = await self._ledger.read(lambda connection: licences.first_end_after(connection, horizon))
        if later is not None:
            moments.append(later - timedelta(days=max(WARN_DAYS)))
        return min((moment for moment in moments if moment is not None), default=None)

    async def _reinstate_early(self, now: datetime) -> None:
        """Reinstate what ended while the clock was ahead."""
        for licence in await self._ledger.read(lambda c: licences.list_ended_early(c, KEEPER.label, now)):
            await self._licences.change(
                licence.id, "reinstate", actor=KEEPER, why="its time is not over: the clock was ahead"
            )

    async def _keep(self, licence: Licence, now: datetime) -> datetime | None:
        """Do what is due with one licence; returns when something is due with it next."""
        tier = self._licensing.tier_of(licence)
        end, expires_at = end_of(licence, tier), licence.expires_at
        if end is None or expires_at is None:
            return None
        if end <= now:
            try:
                await self._licences.expire(licence.id, actor=KEEPER)
            except LicenceRefused as error:
                log.info("a licence was changed as it ended", extra={"licence": licence.id, "why": error.message})
            return None
        days = _warning(licence, now)
        if days is not None and (self._messages >= MOST_A_STEP or not await self._warn(licence, days, end)):
            return now + timedelta(seconds=SOONEST_S)
        ahead = [expires_at - timedelta(days=warn) for warn in _thresholds(licence)]
        return min(moment for moment in (*ahead, expires_at, end) if moment > now)

    async def _warn(self, licence: Licence, days: int, end: datetime) -> bool:
        """Warn of a licence's end; False if it has to be done again."""
        if licence.holder_id is not None and licence.activated_at is None:
            return True  # Meant for somebody who does not have it yet.
        at = licence.expires_at or end
        if days:
            text = f"Your licence **{licence.tier}** ends {_when(at)}."
        else:
            text = f"Your licence **{licence.tier}** has ended. It goes on to hold until {_when(end)}."
        return await self._tell(licence, text, days, "ends soon" if days else "is in its days of grace")

    async def _tell_ends(self, now: datetime) -> bool:
        """Tell of what has ended; False if some of it is left."""
        untold = await self._ledger.read(lambda c: licences.list_told_nothing(c, KEEPER.label, now - TELL_FOR))
        for licence in untold:
            tier = self._licensing.tier_of(licence)
            goes_on = " What it brought you stays." if tier.on_expiry == "keep" else ""
            text = f"Your licence **{licence.tier}** has ended.{goes_on}"
            if self._messages >= MOST_A_STEP or not await self._tell(licence, text, _TOLD, "has ended"):
                return False
        return True

    async def _tell(self, licence: Licence, text: str, days: int, short: str) -> bool:
        """Tell whose licence it is, and write that down; False if Discord is away."""
        if licence.node_id is not None:
            self._tell_of_node(licence, short)
        elif licence.holder_id is not None and self._port is not None:
            self._messages += 1
            try:
                await self._port.direct_message(licence.holder_id, Notice(text=text))
            except DiscordUnavailable:
                return False
            except DiscordPortError as error:
                self._alerts.raise_alert(
                    AlertLevel.WARNING,
                    f"The holder of a licence could not be told that it {short}",
                    key=f"licence untold:{licence.id}",
                    text=f"<@{licence.holder_id}>, licence {licence.id}, {licence.tier}: {error.message}",
                )
            await asyncio.sleep(self._pause_s)

        def write(connection: Connection) -> None:
            if licences.change(connection, licence, replace(licence, warned_days=days)):
                note(connection, licence.id, "warned", at=self._clock.now(), actor=KEEPER.label, detail=short)

        await self._ledger.write(write)
        return True

    def _tell_of_node(self, licence: Licence, short: str) -> None:
        node = self._directory.get(licence.node_id or "")
        if node is None:
            return
        at = "" if licence.expires_at is None else f", {_when(licence.expires_at)}"
        self._alerts.raise_alert(
            AlertLevel.WARNING,
            f"The licence of {node.name} {short}",
            key=f"licence of node:{licence.id}",
            text=f"{licence.tier}{at}. `fleet licence renew {licence.id}` goes on with it; without one that is valid, "
            f"{node.name} is refused when it starts next.",
            node=node.name,
        )


def _thresholds(licence: Licence) -> tuple[int, ...]:
    """Return of how many days before its end a licence's holder is warned: of a short one not early."""
    if licence.expires_at is None:
        return ()
    term = licence.expires_at - licence.issued_at
    return tuple(days for days in WARN_DAYS if term >= timedelta(days=2 * days))


def _warning(licence: Licence, now: datetime) -> int | None:
    """Return the warning that is due: the last one, if several are; None for none."""
    if licence.expires_at is None:
        return None
    left = licence.expires_at - now
    due = [days for days in (*_thresholds(licence), _GRACE) if left <= timedelta(days=days)]
    if not due:
        return None
    last = licence.warned_days
    return min(due) if last is None or last > min(due) else None


def _when(moment: datetime) -> str:
    seconds = int(moment.timestamp())
    return f"<t:{seconds}:D> (<t:{seconds}:R>)"
