"""What actions act with: the services, passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from master.configuration.settings import Settings
    from master.services.core.alerts import Alerts
    from master.services.core.auditing import Auditor
    from master.services.core.directory import NodeDirectory
    from master.services.fleet.fleet import Fleet
    from master.services.fleet.launching import Launcher
    from master.services.fleet.packages import PackageInstaller
    from master.services.onboarding.identity import TokenInspector
    from master.services.patches.returning import Returning
    from master.services.trust.orders import NodeOrders
    from master.supervision.clock import Clock
    from master.supervision.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Services that actions call.

    Parameters
    ----------
    settings
        Returns the settings that are in effect.
    launcher
        Knows the nodes' folders and tokens.
    inspector
        Asks Discord whether a token is good.
    orders
        Has running nodes do things themselves.
    installer
        Installs packages for nodes.
    recreate_channels
        Creates those of the fleet's channels again that are gone; returns what was done, in one line.
    returning
        Takes patches back from single nodes.
    """

    fleet: Fleet
    supervisor: Supervisor
    directory: NodeDirectory
    alerts: Alerts
    clock: Clock
    auditor: Auditor
    settings: Callable[[], Settings]
    launcher: Launcher
    inspector: TokenInspector
    orders: NodeOrders
    installer: PackageInstaller
    recreate_channels: Callable[[], Awaitable[str]]
    returning: Returning
