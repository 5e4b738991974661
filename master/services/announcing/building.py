"""All of announcing, built together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from master.bus import EventBus
from master.configuration.settings import Settings
from master.ledger.database import Ledger
from master.services.announcing.announcements import Announcements
from master.services.announcing.discord_place import DiscordPlace
from master.services.announcing.outside import Outside
from master.services.announcing.places import Places
from master.services.announcing.sending import BACKOFF_S, Sender
from master.services.core.alerts import Alerts
from master.services.core.discord_port import DiscordPort
from master.supervision.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcing:
    """The services of announcing."""

    announcements: Announcements
    sender: Sender


def build_announcing(
    *,
    ledger: Ledger,
    bus: EventBus,
    clock: Clock,
    alerts: Alerts,
    settings: Callable[[], Settings],
    port: DiscordPort | None,
    own_id: Callable[[], int],
    backoff_s: Sequence[float] = BACKOFF_S,
) -> Announcing:
    """Build the services of announcing; nothing is started yet."""
    places = Places(settings, DiscordPlace(port, own_id), Outside())
    return Announcing(
        announcements=Announcements(ledger=ledger, places=places, bus=bus, clock=clock),
        sender=Sender(ledger=ledger, places=places, bus=bus, clock=clock, alerts=alerts, backoff_s=backoff_s),
    )
