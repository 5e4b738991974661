"""Entry point of the master: open the ledger, build the services, open both sockets, start the fleet, connect."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Protocol

from handshake.sockets import Peer
from handshake.transports.local import Handler, LocalServer
from master.bot.forms import post_form
from master.bot.lookup import lookup_of
from master.bot.probe import DiscordProbe
from master.bot.token_inspector import DiscordTokenInspector
from master.bus import EventBus
from master.configuration.settings import Settings
from master.control.key import ControlKey
from master.control.server import ControlServer
from master.descriptors import share_descriptors
from master.ending import KILLED_WITHIN_S, TASKS_WITHIN_S, Ending
from master.events import AuditLogCut, LedgerAway
from master.instance import InstanceLock
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.operations.nodes import restart as restart_nodes
from master.operations.operation import END_TIMEOUT_S, Operations
from master.operations.parameters import NamesParams
from master.services.container import DiscordView, Services, build_services
from master.services.core.actors import SYSTEM
from master.services.core.auditing import audit_chain_of
from master.services.core.discord_port import DiscordPort
from master.services.core.lasting import keep_running
from master.services.core.lifecycle import Lifecycle
from master.services.core.secret_check import require_own_secret
from master.services.fleet.launching import node_environment
from master.services.trust.rotation import finish_rotation
from master.services.trust.source import Source
from master.supervision.clock import SystemClock
from master.supervision.limits import find_cgroups
from master.supervision.zygote_spawner import ZygoteSpawner
from master.systemd import feed_watchdog, notify, reloading
from nodekit.endpoints import apply_endpoints

log = logging.getLogger(__name__)

WORKER_THREADS = 4
"""For files and /proc. The jobs are short, and each thread costs memory permanently."""
_RECOVER_AGAIN_S = 5.0


class Presence(Protocol):
    """The master's own connection to Discord."""

    @property
    def port(self) -> DiscordPort | None:
        """Return the services' port to Discord; None without a token."""
        ...

    @property
    def cogs(self) -> tuple[str, ...]:
        """Return the names of all cogs."""
        ...

    def user_id(self) -> int:
        """Return the master's user id; 0 without one."""
        ...

    def state(self) -> str:
        """Return the state of the connection."""
        ...

    def commands_problem(self) -> str:
        """Return why the slash commands are not registered; empty if they are."""
        ...

    async def run(self, operations: Operations[Services]) -> None:
        """Stay connected until cancelled."""
        ...


class NoPresence:
    """A master without a token: only supervision and the command line."""

    port = None
    cogs = ()

    def user_id(self) -> int:
        """Return 0."""
        return 0

    def state(self) -> str:
        """Return ``off``."""
        return "off"

    def commands_problem(self) -> str:
        """Return nothing: there are none."""
        return ""

    async def run(self, operations: Operations[Services]) -> None:
        """Do nothing."""


async def run_master(settings: Settings, *, own_process: bool = False) -> bool:
    """Run a master until it is asked to stop; True if it asks for a restart, with its settings read again.

    SIGTERM and SIGINT stop the nodes too; their desired state is still running, so the next master starts them again.
    SIGHUP stops only the master: its nodes keep running, and the next master adopts them.

    Parameters
    ----------
    own_process
        Whether the process is the master's alone: if something does not end in time, the process is ended.

    Raises
    ------
    FleetError
        It cannot start: another master runs, or the config or the ledger cannot be used.
    """
    lock = InstanceLock(settings.lock_path)
    lock.acquire()
    try:
        bus = EventBus()
        chain = audit_chain_of(settings)
        ledger = await Ledger.open(settings.database, chain=chain, spool_dir=settings.spool_dir, bus=bus)
        try:
            settings = await finish_rotation(settings, ledger, SystemClock())
            await require_own_secret(ledger, settings.identity)
            return await _run_with(settings, ledger, bus, own_process=own_process)
        finally:
            await ledger.close()
    finally:
        lock.release()


async def _run_with(settings: Settings, ledger: Ledger, bus: EventBus, *, own_process: bool) -> bool:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(WORKER_THREADS, "worker"))
    discord = _presence(settings)
    spawner = ZygoteSpawner(node_environment(os.environ), merge_memory=settings.supervision.merge_memory)
    services = build_services(
        settings,
        ledger,
        bus=bus,
        spawner=spawner,
        inspector=DiscordTokenInspector(settings.discord.api_base),
        discord=DiscordView(
            user_id=discord.user_id,
            state=discord.state,
            commands_problem=discord.commands_problem,
            port=discord.port,
            cogs=discord.cogs,
            probe=DiscordProbe(settings.discord).look,
            lookup_of=lookup_of,
        ),
        clock=SystemClock(),
        cgroups=find_cgroups(),
        post_form=post_form,
    )
    operations = Operations(services)
    shares = share_descriptors()
    nodes = LocalServer(settings.node_socket_path, _local_handler(services), max_connections=shares.nodes)
    services.tools.orders.nudge = nodes.nudge
    key = ControlKey(settings.state_dir)
    control = ControlServer(settings.control_socket_path, operations, key, max_connections=shares.control)
    _listen_to_signals(services.lifecycle)
    await _prepare(services)
    await nodes.start()
    await control.start()
    services.state_watch.guard(control.acceptor, nodes=nodes.acceptor)
    try:
        await _run_until_asked(operations, discord, spawner, own_process=own_process)
    finally:
        await operations.end()
        await control.close()
        await nodes.close()
        services.reception.flush()
        await spawner.close()
        await ledger.flush()
    return services.lifecycle.again


async def _prepare(services: Services) -> None:
    """Load what the fleet is, take running nodes back; nothing is started yet."""
    ledger = services.ledger
    if ledger.away is None:
        await services.onboarding.recover()
    else:
        # No service was listening yet when the outage was detected.
        away = ledger.away
        services.bus.publish(LedgerAway(at=away.since, why=away.why, hint=away.hint, disk_full=away.disk_full))
        services.onboarding.hold()
    if ledger.audit_cut:
        services.bus.publish(AuditLogCut(at=services.clock.now(), detail=ledger.audit_cut))
    await services.channels.load()
    await services.library.reload()
    await services.opening.load()
    services.reloading.warn_of_unknown_names()
    services.handover.begin()


async def _run_until_asked(
    operations: Operations[Services], discord: Presence, spawner: ZygoteSpawner, *, own_process: bool
) -> None:
    """Run everything until the master is asked to end; then stop the nodes, if they are to be stopped."""
    services, lifecycle = operations.services, operations.services.lifecycle
    async with asyncio.TaskGroup() as group:
        lasting = [
            group.create_task(keep_running(name, work, services.bus, services.clock), name=name)
            for name, work in (
                ("connectivity", services.connectivity.run),
                ("discord", partial(discord.run, operations)),
                ("alerts", services.outbox.run),
                ("crash watch", services.crash_watch.run),
                ("retention", services.retention.run),
                ("ledger cache", services.ledger_cache.run),
                ("snapshots", services.snapshots.run),
                ("box", services.box.run),
                ("merging", services.merging.run),
                ("stderr", services.stderr_lines.run),
                ("recovery", partial(_recover_when_back, services)),
                ("handover", services.handover.run),
                ("state watch", services.state_watch.run),
                ("cogs", services.cogs.run),
                ("ready signs", services.ready_signs.run),
                ("scheduled restarts", partial(services.scheduled_restarts.run, _restart_as("schedule", operations))),
                ("watching", partial(services.watching.run, _restart_as("watch", operations))),
                ("files", services.folders.run),
                ("solution files", partial(services.library.run, services.folders)),
                ("error monitor", services.error_monitor.run),
                ("output", services.output_watch.run),
                ("error groups", services.error_groups.run),
                ("repair", services.repair.run),
                ("patches", services.patches.run),
                ("lineage", services.lineage_keeper.run),
                ("licences", services.licence_keeper.run),
                ("roles of licences", services.licence_roles.run),
                ("tickets", services.ticketing.upkeep.run),
                ("announcements", services.announcing.sender.run),
                ("mailboxes", services.mailboxes.run),
                ("channels", services.channels.keeper.run),
                ("channels of nodes", services.channels.following.run),
                ("giveaways", partial(_run_giveaways, services)),
                ("intake for sentry-sdk", partial(_take_from_sdks, services)),
                ("shop", partial(_take_from_shops, services)),
                ("solutions", services.solutions.run),
                ("watchdog", partial(feed_watchdog, os.environ)),
            )
        ]
        # Not started again: a supervisor that failed does not know its processes. The next master adopts them.
        lasting.append(group.create_task(services.supervisor.run(), name="supervisor"))
        await spawner.warm()
        # Services and Discord's classes are never freed: exclude them from garbage collection.
        gc.freeze()
        opening = group.create_task(services.opening.open(), name="opening")
        log.info("master up", extra={"nodes": len(services.directory), "home": str(services.settings.home)})
        notify(os.environ, f"READY=1\nSTATUS={len(services.directory)} nodes")
        await lifecycle.wait()
        notify(os.environ, reloading() if lifecycle.again else "STOPPING=1")
        opening.cancel()
        await _end(operations, lasting, own_process=own_process)


async def _end(operations: Operations[Services], lasting: list[asyncio.Task[None]], *, own_process: bool) -> None:
    """End what runs, each within its time; what does not end is named."""
    services, lifecycle = operations.services, operations.services.lifecycle
    supervisor = services.supervisor
    nodes_s = services.settings.supervision.grace_s + KILLED_WITHIN_S if lifecycle.stop_nodes else 0.0
    ending = Ending(lifecycle, os.environ, nodes_within_s=nodes_s, own_process=own_process)
    async with ending.watched(END_TIMEOUT_S):
        # While the supervisor still runs: an operation that is cut off may wait for what only it can finish.
        await ending.step(
            lambda: (f"operation {name}" for name in operations.running()),
            operations.end(),
            within_s=END_TIMEOUT_S + 1.0,
        )
        if lifecycle.stop_nodes:
            log.info("stopping the nodes")
            hurrying = asyncio.create_task(_kill_when_hurried(services), name="no patience with nodes")
            await ending.step(
                lambda: (f"node {name}" for name in supervisor.running_names()),
                supervisor.stop_all(),
                within_s=nodes_s,
            )
            hurrying.cancel()
        for task in lasting:
            task.cancel()
        ended = await ending.step(
            lambda: (f"task {task.get_name()}" for task in lasting if not task.done()),
            _ended(lasting),
            within_s=TASKS_WITHIN_S,
        )
    if not ended:
        # The group would wait for them for ever.
        await services.ledger.flush()
        ending.give_up()


async def _kill_when_hurried(services: Services) -> None:
    await services.lifecycle.hurried.wait()
    services.supervisor.kill_all()


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)


def _restart_as(who: str, operations: Operations[Services]) -> Callable[[str], Awaitable[object]]:
    """Return what restarts a node as an operator would, with another name in the audit log."""
    actor = replace(SYSTEM, identity=who)

    async def restart(name: str) -> object:
        return await operations.run(restart_nodes, actor, NamesParams(names=(name,)))

    return restart


async def _take_from_sdks(services: Services) -> None:
    """Take what sentry-sdk in the nodes sends, if there is a port for it."""
    if not services.sentry_addresses.port:
        return
    from master.intake.sentry import SentryIntake

    intake = SentryIntake(
        addresses=services.sentry_addresses,
        take=services.error_monitor.take,
        alerts=services.alerts,
        clock=services.clock,
    )
    await intake.run()


async def _take_from_shops(services: Services) -> None:
    """Take what shops tell of sales, if there is a port for it."""
    if not services.settings.shop.port:
        return
    from master.intake.shop import ShopIntake
    from master.services.people.shops import Shops

    shops = Shops(
        ledger=services.ledger,
        licences=services.licences,
        alerts=services.alerts,
        port=services.discord,
        settings=lambda: services.settings,
        clock=services.clock,
    )
    await ShopIntake(services.settings.shop, shops, services.alerts).run()


async def _run_giveaways(services: Services) -> None:
    """Advance giveaways, if there is a Discord to show them on."""
    if services.giveaways is not None:
        await services.giveaways.run()


async def _recover_when_back(services: Services) -> None:
    """Remove nodes that an earlier master left incomplete, once the ledger is available."""
    while services.onboarding.held:
        await services.ledger.wait_available()
        try:
            await services.onboarding.recover()
        except LedgerError as error:
            log.warning("incomplete nodes could not be looked for", extra={"why": error.message})
            await asyncio.sleep(_RECOVER_AGAIN_S)


def _presence(settings: Settings) -> Presence:
    token = settings.identity.master_token
    if token is None:
        return NoPresence()
    # Imported here: the library costs 20 MB, which a master without a token saves.
    from master.bot.connection import DiscordConnection

    apply_endpoints(settings.discord.api_base, settings.discord.gateway_url)
    return DiscordConnection(token.reveal(), settings.state_dir / "master-id")


def _local_handler(services: Services) -> Handler:
    def handle(text: str, peer: Peer) -> str | Awaitable[str | None] | None:
        return services.reception.take(text, Source(transport="local", pid=peer.pid))

    return handle


def _listen_to_signals(lifecycle: Lifecycle) -> None:
    loop, signals = asyncio.get_running_loop(), list[int]()

    def stop(number: int) -> None:
        signals.append(number)
        lifecycle.end(stop_nodes=True)
        # Only after another signal: systemd may send the first to a master that `fleet down` is ending.
        if len(signals) > 1:
            lifecycle.hurry()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGHUP, lambda: lifecycle.end(stop_nodes=False))
