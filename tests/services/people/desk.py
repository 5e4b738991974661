"""Licences over a real ledger, with a clock that is turned by hand, for several test modules."""

from __future__ import annotations

from master.bus import EventBus
from master.configuration.settings import LicenceTier
from master.events import LicenceChanged
from master.ledger.database import Ledger
from master.security.derivation import MasterSecret
from master.security.licence_codes import LicenceCodes
from master.services.core.actors import Actor
from master.services.people.licence_guesses import Guesses
from master.services.people.licence_showing import LicenceShowing
from master.services.people.licences import Licences
from master.services.trust.licensing import Licensing
from tests.conftest import TurnableClock
from tests.services.conftest import OPERATOR

DAY = 86_400.0
PRO = LicenceTier(name="pro", days=30, features=("exports",), grace_days=7, role_id=5)
TEAM = LicenceTier(name="team", days=30, people=2, features=("exports", "music"), transfers_a_month=0)
KEPT = LicenceTier(name="kept", days=1, on_expiry="keep")
ENDED = LicenceTier(name="ended", days=1, on_expiry="revoke")
GUILD, ADA, BO, CY = 100, 1001, 1002, 1003


def person(user_id: int) -> Actor:
    return Actor(face="discord", identity=str(user_id), name=f"user {user_id}", is_member=True)


class Desk:
    """Licences over a real ledger, with what was told of them."""

    def __init__(self, ledger: Ledger, secret: MasterSecret, clock: TurnableClock) -> None:
        self.bus, self.clock, self.ledger = EventBus(), clock, ledger
        self.flags: list[tuple[int, int]] = []
        self.events: list[LicenceChanged] = []
        self.licensing = Licensing(LicenceCodes(secret), (PRO, TEAM, KEPT, ENDED), clock)
        self.licences = Licences(
            ledger=ledger,
            licensing=self.licensing,
            bus=self.bus,
            clock=clock,
            guesses=Guesses(clock, lambda who, count: self.flags.append((who, count))),
        )
        self.showing = LicenceShowing(ledger, self.licensing, clock)
        self.bus.on(LicenceChanged, self.events.append)

    async def issue(self, tier: str = "pro", **more: object) -> tuple[str, str]:
        self.clock.turn(1)  # Of two events at one moment either may be the later one.
        issued = await self.licences.issue(tier, actor=OPERATOR, **more)  # type: ignore[arg-type]
        self.clock.turn(1)
        return issued.record.id, issued.code.reveal()

    async def redeem(self, code: str, user_id: int = ADA) -> str:
        redeemed = await self.licences.redeem(code, user_id=user_id, guild_id=GUILD, actor=person(user_id))
        return redeemed.id

    async def redeemed(self, tier: str = "pro", user_id: int = ADA) -> str:
        _, code = await self.issue(tier)
        return await self.redeem(code, user_id)

    async def reason(self, user_id: int = ADA, feature: str = "") -> tuple[bool, str]:
        status = await self.licences.check_person(user_id, feature)
        return status.valid, status.reason
