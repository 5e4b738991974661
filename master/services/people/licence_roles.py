"""The roles that licences bring: given at redeeming, taken at the end, put right at the start and now and then."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from master.bus import EventBus
from master.events import AlertLevel, GatewayConnected, LicenceChanged
from master.ledger.database import Ledger
from master.ledger.rows import licence_events, licence_uses, licences
from master.ledger.rows.records import Licence, LicenceState
from master.services.core.actors import SYSTEM
from master.services.core.alerts import Alerts
from master.services.core.discord_port import DiscordPort
from master.services.core.errors import DiscordNotFound, DiscordPortError, DiscordUnavailable
from master.services.people.licence_role_checks import role_troubles
from master.services.trust.licence_rules import judge
from master.services.trust.licence_writing import note
from master.services.trust.licensing import Licensing
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

EVERY_S = 6 * 3600.0
AGAIN_S = 30.0
"""After Discord was away."""
PAUSE_S = 0.2
"""Between people, while all are looked at."""
FORMER_FOR = timedelta(days=30)
"""How long who passed a licence on is looked at."""
_FROM = re.compile(r"^from (\d+) to ")


class LicenceRoles:
    """Add and remove the roles of licences.

    Parameters
    ----------
    port
        None for a master without a token: there are no roles.
    guild_id
        Returns the fleet's server; 0 for none.
    own_id
        Returns the master's own user id.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        licensing: Licensing,
        bus: EventBus,
        clock: Clock,
        alerts: Alerts,
        port: DiscordPort | None,
        guild_id: Callable[[], int],
        own_id: Callable[[], int],
        pause_s: float = PAUSE_S,
    ) -> None:
        self._ledger, self._licensing = ledger, licensing
        self._clock, self._alerts = clock, alerts
        self._port, self._guild_id, self._own_id = port, guild_id, own_id
        self._pause_s = pause_s
        self._changed: set[str] = set()
        """Licences that were changed since their people were looked at."""
        self._owed: set[int] = set()
        """People whose roles are not as they should be, as far as is known, while Discord was away."""
        self._wake = asyncio.Event()
        self._checked: tuple[tuple[str, int], ...] | None = None
        """The tiers, with their roles, that were checked."""
        self._all_due = 0.0
        bus.on(LicenceChanged, self._on_changed)
        bus.on(GatewayConnected, lambda _event: self._wake.set())

    def _on_changed(self, event: LicenceChanged) -> None:
        self._changed.add(event.licence_id)
        self._wake.set()

    def look_again(self) -> None:
        """Look at the tiers again: the settings were changed."""
        self._all_due = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Keep the roles right, until cancelled."""
        if self._port is None:
            return
        while True:
            self._wake.clear()
            wait_s = await self.step()
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def step(self) -> float:
        """Put right what is known to be wrong, and look at everybody when that is due; returns how long to wait."""
        await self._ledger.wait_available()
        if not self._roles() or not self._guild_id():
            self._changed.clear()
            return EVERY_S
        try:
            await self._check_setup()
            await self._settle_changed()
            if self._clock.monotonic() >= self._all_due:
                await self._settle_all()
                self._all_due = self._clock.monotonic() + EVERY_S
        except DiscordUnavailable as error:
            log.info("roles of licences wait for Discord", extra={"why": error.message})
            return AGAIN_S
        return max(self._all_due - self._clock.monotonic(), 1.0)

    def _roles(self) -> frozenset[int]:
        return frozenset(tier.role_id for tier in self._licensing.tiers if tier.role_id)

    async def _check_setup(self) -> None:
        """Tell once, after the start and after each change of the tiers, which roles cannot be given."""
        tiers, port, guild_id = self._licensing.tiers, self._port, self._guild_id()
        named = tuple((tier.name, tier.role_id) for tier in tiers)
        if self._checked == named or port is None or not self._own_id():
            return
        roles, own = await port.roles(guild_id), await port.roles_of(guild_id, self._own_id())
        for trouble in role_troubles(tiers, roles, own, guild_id):
            self._alerts.raise_alert(
                AlertLevel.ERROR,
                f"The role of the licence tier {trouble.tier} cannot be given",
                key=f"licence role:{trouble.role_id}",
                text=f"{trouble.problem}. {trouble.fix}",
            )
        self._checked = named

    async def _settle_changed(self) -> None:
        changed, self._changed = self._changed, set()
        try:
            for licence_id in changed:
                self._owed |= await self._ledger.read(partial(people_of, licence_id=licence_id))
        except BaseException:
            self._changed |= changed
            raise
        for user_id in sorted(self._owed):
            await self.settle(user_id, is_change=True)
            self._owed.discard(user_id)

    async def _settle_all(self) -> None:
        since = self._clock.now() - FORMER_FOR
        for user_id in sorted(await self._ledger.read(lambda connection: _everybody(connection, since))):
            if self._changed:
                # Whoever redeems a licence does not wait for all the others.
                await self._settle_changed()
            await self.settle(user_id, is_change=False)
            await asyncio.sleep(self._pause_s)

    async def settle(self, user_id: int, *, is_change: bool) -> None:
        """Add the roles of a person's valid licences, and remove those of the others.

        Parameters
        ----------
        is_change
            Whether a licence of theirs was changed just now; otherwise somebody else changed the roles, which is told.

        Raises
        ------
        DiscordUnavailable
        LedgerError
        """
        port, guild_id = self._port, self._guild_id()
        if port is None or not guild_id:
            return
        mine = await self._ledger.read(lambda connection: licences.list_of_person(connection, user_id))
        wanted = self._wanted(mine)
        try:
            has = await port.roles_of(guild_id, user_id)
        except DiscordNotFound:
            return  # No member: the roles come when they join again, and everybody is looked at.
        except DiscordUnavailable:
            raise
        except DiscordPortError as error:
            log.warning("roles of a member cannot be read", extra={"user": user_id, "why": error.message})
            return
        for role_id, licence in wanted.items():
            if role_id not in has:
                await self._set(user_id, role_id, licence, give=True, is_change=is_change)
        for role_id in (self._roles() & has) - set(wanted):
            former = next((one for one in mine if self._licensing.tier_of(one).role_id == role_id), None)
            await self._set(user_id, role_id, former, give=False, is_change=is_change)

    def _wanted(self, mine: list[Licence]) -> dict[int, Licence]:
        """Return the roles that licences bring now, each with one that does."""
        now = self._clock.now()
        found: dict[int, Licence] = {}
        for licence in mine:
            tier = self._licensing.tier_of(licence)
            if tier.role_id and licence.state is not LicenceState.ISSUED and judge(licence, tier, now).is_valid:
                found.setdefault(tier.role_id, licence)
        return found

    async def _set(self, user_id: int, role_id: int, licence: Licence | None, *, give: bool, is_change: bool) -> None:
        port, guild_id = self._port, self._guild_id()
        if port is None:
            return
        act, verb = (port.add_role, "given to") if give else (port.remove_role, "taken from")
        reason = "licence" if licence is None else f"licence {licence.id}, {licence.tier}"
        try:
            await act(guild_id, user_id, role_id, reason=reason)
        except DiscordUnavailable:
            raise
        except DiscordPortError as error:
            self._alerts.raise_alert(
                AlertLevel.ERROR,
                "The role of a licence could not be given" if give else "The role of a licence could not be taken",
                key=f"licence role:{role_id}",
                text=f"<@&{role_id}> for <@{user_id}>: {error.message}. {error.hint}".rstrip(". ") + ".",
            )
            return
        if licence is not None:
            detail = f"{role_id} {verb} {user_id}"
            await self._ledger.write(
                lambda c: note(c, licence.id, "role", at=self._clock.now(), actor=SYSTEM.label, detail=detail)
            )
        if not is_change:
            why = "their licence is valid" if give else "no licence of theirs brings it"
            self._alerts.raise_alert(
                AlertLevel.INFORMATION,
                "The role of a licence was put right",
                key="licence role put right",
                text=f"<@&{role_id}> was {verb} <@{user_id}>: {why}, and somebody had changed it by hand, or while the "
                "master was away.",
            )


def people_of(connection: Connection, licence_id: str) -> set[int]:
    """Return who uses a licence, and who passed it on."""
    uses = licence_uses.list_of(connection, licence_id)
    transfers = licence_events.list_of(connection, licence_id)
    former = (_FROM.match(event.detail) for event in transfers if event.what == "transferred")
    return {int(use.subject) for use in uses if use.kind == "person"} | {int(found[1]) for found in former if found}


def _everybody(connection: Connection, since: datetime) -> set[int]:
    former = (_FROM.match(event.detail) for event in licence_events.list_since(connection, "transferred", since))
    people = {int(use.subject) for use in licence_uses.list_people(connection)}
    return people | {int(found[1]) for found in former if found}
