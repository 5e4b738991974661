"""What nearly all services need, built first; and what they see of the master's own connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from handshake.replay import Sessions
from handshake.signing import LIFETIME_S
from master.bus import EventBus
from master.configuration.settings import Settings
from master.ledger.database import Ledger
from master.security.derivation import MasterSecret
from master.security.licence_codes import LicenceCodes
from master.services.core.directory import NodeDirectory
from master.services.core.discord_port import DiscordPort
from master.services.core.keys import master_secret_of
from master.services.core.ledger_cache import LedgerCache
from master.services.core.permissions import Permissions
from master.services.healing.sentry_addresses import SentryAddresses
from master.services.trust.licensing import Licensing
from master.services.upkeep.doctor import LookupOf
from master.supervision.clock import Clock
from master.supervision.connectivity import Probe
from master.supervision.logs import NodeLogs


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscordView:
    """The services' view of the master's own Discord connection."""

    user_id: Callable[[], int]
    """0 while it is not known."""
    state: Callable[[], str]
    commands_problem: Callable[[], str] = str
    """Why the slash commands are not registered; empty if they are."""
    port: DiscordPort | None = None
    """None without a token; its calls fail at once while the connection is down."""
    cogs: tuple[str, ...] = ()
    """The names of all cogs."""
    probe: Probe | None = None
    """Looks whether Discord can be reached; None: it is taken to be there."""
    lookup_of: LookupOf | None = None
    """Returns what asks Discord beside the connection, for the doctor; None: he does not ask it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What nearly all services need."""

    settings: Settings
    ledger: Ledger
    bus: EventBus
    clock: Clock
    wall_clock: Callable[[], float]
    secret: MasterSecret
    directory: NodeDirectory
    ledger_cache: LedgerCache
    permissions: Permissions
    licensing: Licensing
    logs: NodeLogs
    sessions: Sessions
    sentry_addresses: SentryAddresses


def build_base(
    settings: Settings, ledger: Ledger, bus: EventBus, clock: Clock, wall_clock: Callable[[], float]
) -> Base:
    """Return what nearly all services need."""
    secret = master_secret_of(settings.identity)
    directory = NodeDirectory(bus, clock)
    supervision = settings.supervision
    return Base(
        settings=settings,
        ledger=ledger,
        bus=bus,
        clock=clock,
        wall_clock=wall_clock,
        secret=secret,
        directory=directory,
        ledger_cache=LedgerCache(settings.ledger_cache_path, directory, secret, bus),
        permissions=Permissions(settings),
        licensing=Licensing(LicenceCodes(secret), settings.licence_tiers, clock),
        logs=NodeLogs(settings.logs_dir, max_bytes=supervision.log_max_bytes, files=supervision.log_files),
        sessions=Sessions(clock.monotonic, tolerance_s=LIFETIME_S + settings.handshake.clock_skew_s),
        sentry_addresses=SentryAddresses(secret, directory, settings.healing.sentry_port),
    )
