"""What actions act with: the services, passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from master.services.core.alerts import Alerts
    from master.services.core.directory import NodeDirectory
    from master.services.fleet.fleet import Fleet
    from master.supervision.clock import Clock
    from master.supervision.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Services that actions call."""

    fleet: Fleet
    supervisor: Supervisor
    directory: NodeDirectory
    alerts: Alerts
    clock: Clock
