"""Builds what the master does for people: licences and tickets. Giveaways have a builder in their room."""

from __future__ import annotations

from functools import partial

from master.services.building.base import Base, DiscordView
from master.services.core.alerts import Alerts
from master.services.core.auditing import Auditor
from master.services.fleet.fleet import Fleet
from master.services.people.licence_guesses import Guesses, flag_guesses
from master.services.people.licence_keeper import LicenceKeeper
from master.services.people.licence_reach import AskedBy, LicenceReach
from master.services.people.licence_roles import LicenceRoles
from master.services.people.licences import Licences
from master.services.people.ticket_tools import TicketTools
from master.services.people.ticketing import Ticketing, build_ticketing
from master.services.trust.orders import NodeOrders
from master.services.trust.verification import Verification
from master.services.upkeep.reloading import Reloading
from master.supervision.supervisor import Supervisor


def build_licences(base: Base, alerts: Alerts) -> Licences:
    """Return the licences of people, and of nodes."""
    guesses = Guesses(base.clock, partial(flag_guesses, alerts))
    return Licences(ledger=base.ledger, licensing=base.licensing, bus=base.bus, clock=base.clock, guesses=guesses)


def connect_licences(
    base: Base, licences: Licences, asked_by: AskedBy, verification: Verification, fleet: Fleet, orders: NodeOrders
) -> None:
    """Have changes of licences reach the nodes: a revoked one ends in those that run."""
    licences.reach = reach = LicenceReach(
        ledger=base.ledger,
        ledger_cache=base.ledger_cache,
        directory=base.directory,
        verification=verification,
        fleet=fleet,
        orders=orders,
        asked_by=asked_by,
    )
    licences.tell_of = reach.tell_of


def build_licence_keeping(
    base: Base, licences: Licences, alerts: Alerts, discord: DiscordView, reloading: Reloading
) -> tuple[LicenceKeeper, LicenceRoles]:
    """Return what ends licences when it is time, and what gives and takes their roles."""
    keeper = LicenceKeeper(
        ledger=base.ledger,
        licences=licences,
        licensing=base.licensing,
        bus=base.bus,
        clock=base.clock,
        alerts=alerts,
        directory=base.directory,
        port=discord.port,
    )
    roles = LicenceRoles(
        ledger=base.ledger,
        licensing=base.licensing,
        bus=base.bus,
        clock=base.clock,
        alerts=alerts,
        port=discord.port,
        guild_id=lambda: reloading.settings.identity.guild_id,
        own_id=discord.user_id,
    )
    # After the tiers themselves.
    reloading.follow(
        lambda _new: base.ledger_cache.judge_again(), lambda _new: keeper.look_again(), lambda _new: roles.look_again()
    )
    return keeper, roles


def build_tickets(
    base: Base,
    alerts: Alerts,
    auditor: Auditor,
    discord: DiscordView,
    reloading: Reloading,
    orders: NodeOrders,
    verification: Verification,
    supervisor: Supervisor,
) -> Ticketing:
    """Return the services of tickets."""
    return build_ticketing(
        TicketTools(
            ledger=base.ledger,
            bus=base.bus,
            clock=base.clock,
            settings=lambda: reloading.settings,
            directory=base.directory,
            alerts=alerts,
            auditor=auditor,
            discord=discord.port,
            master_user_id=discord.user_id,
        ),
        orders,
        is_verified=verification.is_verified,
        is_running=lambda node_id: supervisor.pid_of(node_id) is not None,
    )
