"""What is shown of licences."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from master.ledger.database import Ledger
from master.ledger.rows import licence_events, licence_uses, licences, nodes
from master.ledger.rows.records import Licence, LicenceState
from master.services.core.licence_views import LicenceDetails, LicenceEventView, LicencesView, LicenceUseView
from master.services.people.licences import find_licence
from master.services.trust.licence_rules import end_of, judge
from master.services.trust.licensing import Licensing
from master.supervision.clock import Clock


class LicenceShowing:
    """Read licences for people who look at them."""

    def __init__(self, ledger: Ledger, licensing: Licensing, clock: Clock) -> None:
        self._ledger, self._licensing, self._clock = ledger, licensing, clock

    @property
    def tier_names(self) -> tuple[str, ...]:
        """Names of the tiers in the config."""
        return self._licensing.tier_names

    async def list(
        self, *, state: str = "", tier: str = "", holder_id: int | None = None, limit: int = 100, offset: int = 0
    ) -> LicencesView:
        """Return licences, the newest first.

        Raises
        ------
        LedgerError
        """
        wanted = LicenceState(state) if state else None

        def read(connection: Connection) -> LicencesView:
            found = licences.list_matching(
                connection, state=wanted, tier=tier, holder_id=holder_id, limit=limit, offset=offset
            )
            names = nodes.names(connection)
            return LicencesView(
                licences=tuple(self.details(licence, names) for licence in found),
                total=licences.count(connection),
                tiers=self._licensing.tier_names,
            )

        return await self._ledger.read(read)

    async def of_person(self, user_id: int) -> LicencesView:
        """Return the licences that a person redeemed, the newest first.

        Raises
        ------
        LedgerError
        """
        found = await self._ledger.read(partial(licences.list_of_person, user_id=user_id))
        return LicencesView(licences=tuple(self.details(licence) for licence in found), total=len(found))

    async def show(self, wanted: str) -> LicenceDetails:
        """Return a licence with who uses it and what became of it.

        Raises
        ------
        LicenceNotFound
        LedgerError
        """

        def read(connection: Connection) -> LicenceDetails:
            return self._whole(connection, find_licence(connection, wanted))

        return await self._ledger.read(read)

    def _whole(self, connection: Connection, licence: Licence) -> LicenceDetails:
        names = nodes.names(connection)
        uses = tuple(
            LicenceUseView(
                kind=use.kind,
                subject=use.subject,
                name=names.get(use.subject, ""),
                at=use.at.timestamp(),
                last_at=use.last_at.timestamp(),
            )
            for use in licence_uses.list_of(connection, licence.id)
        )
        events = tuple(
            LicenceEventView(at=event.at.timestamp(), what=event.what, actor=event.actor, detail=event.detail)
            for event in licence_events.list_of(connection, licence.id)
        )
        return self.details(licence, names, uses=uses, events=events)

    def details(
        self,
        licence: Licence,
        names: Mapping[str, str] | None = None,
        *,
        uses: tuple[LicenceUseView, ...] = (),
        events: tuple[LicenceEventView, ...] = (),
    ) -> LicenceDetails:
        """Return what is shown of a licence.

        Parameters
        ----------
        names
            Names of nodes by their ids.
        """
        tier = self._licensing.tier_of(licence)
        found = judge(licence, tier, self._clock.now())
        is_new = found.is_valid and licence.state is LicenceState.ISSUED
        return LicenceDetails(
            id=licence.id,
            tier=licence.tier,
            state=(found.becomes or licence.state).value,
            reason="not_redeemed" if is_new else found.reason,
            valid=found.is_valid and not is_new,
            features=tier.features,
            issued_at=licence.issued_at.timestamp(),
            expires_at=_seconds(licence.expires_at),
            ends_at=_seconds(end_of(licence, tier)),
            activated_at=_seconds(licence.activated_at),
            holder_id=licence.holder_id,
            guild_id=licence.guild_id,
            node_id=licence.node_id,
            node=(names or {}).get(licence.node_id or "", ""),
            origin=licence.origin,
            note=licence.note,
            changed_at=_seconds(licence.changed_at),
            changed_by=licence.changed_by,
            uses=uses,
            events=events,
        )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
