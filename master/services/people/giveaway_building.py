"""Builds what giveaways consist of, once."""

from __future__ import annotations

from collections.abc import Callable

from master.bus import EventBus
from master.configuration.settings import Settings
from master.ledger.database import Ledger
from master.security.vault import SeedVault
from master.services.core.alerts import Alerts
from master.services.core.auditing import Auditor
from master.services.core.discord_port import DiscordPort
from master.services.people.giveaway_drawing import GiveawayDrawing
from master.services.people.giveaway_entries import GiveawayEntries
from master.services.people.giveaway_keeper import GiveawayKeeper
from master.services.people.giveaway_prizes import Prizes
from master.services.people.giveaway_records import GiveawayRecords
from master.services.people.giveaway_telling import GiveawayTelling
from master.services.people.giveaways import Giveaways
from master.services.people.licences import Licences
from master.supervision.clock import Clock


def build_giveaways(
    *,
    ledger: Ledger,
    records: GiveawayRecords,
    port: DiscordPort,
    licences: Licences,
    auditor: Auditor,
    alerts: Alerts,
    seeds: SeedVault,
    bus: EventBus,
    clock: Clock,
    settings: Callable[[], Settings],
    own_id: Callable[[], int],
) -> Giveaways:
    """Return giveaways that act through ``port``."""
    prizes = Prizes(licences, ledger)
    drawing = GiveawayDrawing(ledger=ledger, auditor=auditor, seeds=seeds, bus=bus, clock=clock)
    telling = GiveawayTelling(
        ledger=ledger,
        port=port,
        records=records,
        drawing=drawing,
        prizes=prizes,
        alerts=alerts,
        clock=clock,
        settings=settings,
        own_id=own_id,
    )
    keeper = GiveawayKeeper(
        ledger=ledger, drawing=drawing, telling=telling, alerts=alerts, bus=bus, clock=clock, settings=settings
    )
    return Giveaways(
        ledger=ledger,
        records=records,
        entries=GiveawayEntries(ledger, clock),
        drawing=drawing,
        telling=telling,
        keeper=keeper,
        prizes=prizes,
        seeds=seeds,
        bus=bus,
        clock=clock,
        settings=settings,
    )
