"""All services of one master, built once and handed to the operations."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from handshake.messages import (
    Body,
    ErrorReport,
    Heartbeat,
    LicenceCheck,
    OrderResult,
    PatchStatus,
    ShutdownNotice,
    TicketPermissionRequest,
    TicketRequest,
    VerificationRequest,
)
from handshake.replay import Sessions
from master.bus import EventBus
from master.configuration.settings import ENV_NAME, Settings
from master.ledger.database import Ledger
from master.security.derivation import MasterSecret
from master.security.licence_codes import LicenceCodes
from master.security.secrets_file import SecretsFile
from master.security.vault import SeedVault, TokenVault
from master.services.announcing.building import Announcing, build_announcing
from master.services.building.base import Base, DiscordView, build_base
from master.services.building.patches import build_lineage_keeper, build_patches, build_returning
from master.services.building.people import build_licence_keeping, build_licences, build_tickets, connect_licences
from master.services.building.repair import build_solutions, recent_lines_of
from master.services.channels.channels import Channels, build_channels
from master.services.channels.records import ChannelRecords
from master.services.channels.recreating import recreate
from master.services.channels.tools import ChannelTools
from master.services.core.alert_outbox import AlertOutbox
from master.services.core.alerts import Alerts
from master.services.core.auditing import Auditor
from master.services.core.channel_moves import ChannelMoves
from master.services.core.directory import NodeDirectory
from master.services.core.discord_port import DiscordPort
from master.services.core.keys import master_secret_of
from master.services.core.ledger_cache import LedgerCache
from master.services.core.lifecycle import Lifecycle
from master.services.core.permissions import Permissions
from master.services.fleet.fleet import Fleet
from master.services.fleet.launching import Launcher
from master.services.fleet.log_flushing import LogFlushing
from master.services.fleet.opening import Opening
from master.services.fleet.overview import Overview
from master.services.fleet.packages import PackageInstaller
from master.services.fleet.process_journal import ProcessJournal
from master.services.fleet.pulse_snapshots import PulseSnapshots
from master.services.fleet.ready_signs import ReadySigns
from master.services.fleet.scheduled_restarts import ScheduledRestarts
from master.services.fleet.watching import Watching
from master.services.healing.crash_watch import CrashWatch
from master.services.healing.error_book import ErrorBook
from master.services.healing.exit_output import ExitOutput
from master.services.healing.group_alerts import GroupAlerts
from master.services.healing.groups import ErrorGroups
from master.services.healing.library import SolutionLibrary
from master.services.healing.monitor import ErrorMonitor
from master.services.healing.output_watch import OutputWatch
from master.services.healing.sentry_addresses import SentryAddresses
from master.services.healing.sources import ErrorSources
from master.services.healing.undecided_exits import UndecidedExits
from master.services.mailbox.form_port import PostForm
from master.services.mailbox.mail_tools import MailTools
from master.services.mailbox.mailboxes import Mailboxes
from master.services.onboarding.editing import Editing
from master.services.onboarding.file_work import FileWorks
from master.services.onboarding.identity import TokenInspector, invite_url
from master.services.onboarding.node_locks import NodeLocks
from master.services.onboarding.removal import Removal
from master.services.onboarding.renaming import Renaming
from master.services.onboarding.saga import Onboarding
from master.services.onboarding.token_replacement import TokenReplacement
from master.services.patches.book import PatchBook
from master.services.patches.folder_patching import FolderPatching
from master.services.patches.health import HealthJudge
from master.services.patches.keys import PatchKeys
from master.services.patches.lineage import Lineage
from master.services.patches.lineage_keeping import LineageKeeper
from master.services.patches.manifest import ManifestSigner
from master.services.patches.patches import Patches
from master.services.patches.restored_trials import RestoredTrials
from master.services.patches.restoring import Restoring
from master.services.patches.statuses import PatchStatuses
from master.services.patches.tracking import PatchTracking
from master.services.people.giveaway_building import build_giveaways
from master.services.people.giveaway_records import GiveawayRecords
from master.services.people.giveaways import Giveaways
from master.services.people.licence_guesses import Guesses
from master.services.people.licence_keeper import LicenceKeeper
from master.services.people.licence_reach import AskedBy
from master.services.people.licence_roles import LicenceRoles
from master.services.people.licence_showing import LicenceShowing
from master.services.people.licences import Licences
from master.services.people.ticketing import Ticketing
from master.services.repair.actions.registry import check_action
from master.services.repair.actions.tools import Tools
from master.services.repair.manager import SolutionManager
from master.services.repair.modes import Modes
from master.services.repair.repair import Repair
from master.services.trust.handover import Handover
from master.services.trust.licensing import LicenceChecks, Licensing
from master.services.trust.node_keys import NodeKeys
from master.services.trust.notices import Notices
from master.services.trust.orders import NodeOrders
from master.services.trust.pulses import Pulses
from master.services.trust.reception import MessageHandler, Reception
from master.services.trust.refusals import Refusals
from master.services.trust.revocation import Revocation
from master.services.trust.rotation import SecretRotation
from master.services.trust.verification import Verification
from master.services.upkeep.box import BoxWatch
from master.services.upkeep.cogs import Cogs
from master.services.upkeep.doctor import Doctor
from master.services.upkeep.guild_watch import GuildWatch
from master.services.upkeep.ledger_admin import LedgerAdmin
from master.services.upkeep.needed_permissions import needed_permissions
from master.services.upkeep.reloading import Reloading
from master.services.upkeep.retention import Retention
from master.services.upkeep.state_watch import StateWatch
from master.services.upkeep.telling import MasterNodes, Telling
from master.supervision.clock import Clock
from master.supervision.connectivity import Connectivity
from master.supervision.inotify import FolderWatch
from master.supervision.last_output import LastOutput
from master.supervision.limits import Cgroups, OomDetector
from master.supervision.merging import PageMerging
from master.supervision.run_records import RunRecords
from master.supervision.spawner import Spawner
from master.supervision.stderr_lines import StderrLines
from master.supervision.supervisor import Supervisor

__all__ = ["DiscordView", "LedgerServices", "Services", "build_ledger_services", "build_services"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerServices:
    """The services that need only the ledger, with or without a running master."""

    lifecycle: Lifecycle
    clock: Clock
    ledger: Ledger
    permissions: Permissions
    auditor: Auditor
    ledger_admin: LedgerAdmin
    rotation: SecretRotation
    telling: Telling
    error_groups: ErrorGroups
    lineage: Lineage
    patch_keys: PatchKeys
    giveaway_records: GiveawayRecords
    channel_records: ChannelRecords
    licences: Licences
    licence_showing: LicenceShowing


@dataclass(frozen=True, slots=True, kw_only=True)
class Services(LedgerServices):
    """All services of a running master."""

    bus: EventBus
    directory: NodeDirectory
    supervisor: Supervisor
    connectivity: Connectivity
    alerts: Alerts
    outbox: AlertOutbox
    crash_watch: CrashWatch
    fleet: Fleet
    opening: Opening
    overview: Overview
    onboarding: Onboarding
    removal: Removal
    token_replacement: TokenReplacement
    editing: Editing
    renaming: Renaming
    licensing: Licensing
    revocation: Revocation
    keys: NodeKeys
    verification: Verification
    reception: Reception
    sessions: Sessions
    retention: Retention
    handover: Handover
    ledger_cache: LedgerCache
    snapshots: PulseSnapshots
    ready_signs: ReadySigns
    scheduled_restarts: ScheduledRestarts
    watching: Watching
    box: BoxWatch
    merging: PageMerging
    stderr_lines: StderrLines
    log_flushing: LogFlushing
    reloading: Reloading
    state_watch: StateWatch
    cogs: Cogs
    guild_watch: GuildWatch
    library: SolutionLibrary
    folders: FolderWatch
    output_watch: OutputWatch
    error_monitor: ErrorMonitor
    sentry_addresses: SentryAddresses
    modes: Modes
    repair: Repair
    tools: Tools
    solutions: SolutionManager
    patches: Patches
    lineage_keeper: LineageKeeper
    restoring: Restoring
    restored_trials: RestoredTrials
    patch_tracking: PatchTracking
    licence_keeper: LicenceKeeper
    licence_roles: LicenceRoles
    ticketing: Ticketing
    announcing: Announcing
    mailboxes: Mailboxes
    doctor: Doctor
    channels: Channels
    giveaways: Giveaways | None
    """None for a master without a token."""
    discord: DiscordPort | None
    """None for a master without a token."""

    @property
    def settings(self) -> Settings:
        """The settings that are in effect."""
        return self.reloading.settings


def build_ledger_services(settings: Settings, ledger: Ledger, *, clock: Clock) -> LedgerServices:
    """Build the services for an open ledger while no master runs."""
    permissions = Permissions(settings)
    licensing = Licensing(LicenceCodes(master_secret_of(settings.identity)), settings.licence_tiers, clock)
    return LedgerServices(
        lifecycle=Lifecycle(),
        clock=clock,
        ledger=ledger,
        permissions=permissions,
        auditor=Auditor(ledger, ledger.chain, clock, permissions, EventBus()),
        ledger_admin=LedgerAdmin(settings, ledger, master_secret_of(settings.identity), clock),
        rotation=SecretRotation(settings, ledger, clock),
        telling=Telling(lambda: settings, ledger, clock, None),
        error_groups=ErrorGroups(
            ledger=ledger,
            clock=clock,
            bus=EventBus(),
            book=ErrorBook(ledger, clock, SolutionLibrary(settings.solutions_dir)),
        ),
        patch_keys=PatchKeys(ledger, clock),
        lineage=Lineage(ledger, ManifestSigner(master_secret_of(settings.identity))),
        giveaway_records=GiveawayRecords(ledger),
        channel_records=ChannelRecords(ledger),
        licences=Licences(ledger=ledger, licensing=licensing, bus=EventBus(), clock=clock, guesses=Guesses(clock)),
        licence_showing=LicenceShowing(ledger, licensing, clock),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trust:
    """The services of the room ``trust`` that others need."""

    orders: NodeOrders
    keys: NodeKeys
    verification: Verification
    reception: Reception


@dataclass(frozen=True, slots=True, kw_only=True)
class _Intake:
    """What takes in all that is seen of errors."""

    exit_output: ExitOutput
    monitor: ErrorMonitor
    output_watch: OutputWatch


def build_services(
    settings: Settings,
    ledger: Ledger,
    *,
    bus: EventBus,
    spawner: Spawner,
    inspector: TokenInspector,
    discord: DiscordView,
    clock: Clock,
    cgroups: Cgroups | None = None,
    wall_clock: Callable[[], float] = time.time,
    post_form: PostForm | None = None,
) -> Services:
    """Build the services; nothing is started yet.

    Parameters
    ----------
    bus
        The bus that the ledger was opened with.
    wall_clock
        Unix seconds, as signed messages carry them.
    post_form
        Sends a form over HTTP; None: no mailbox opens with XOAUTH2.
    """
    base = build_base(settings, ledger, bus, clock, wall_clock)
    launcher = _build_launcher(base, discord, cgroups)
    connectivity = Connectivity(bus, clock, discord.probe, expects_gateway=discord.port is not None)
    supervisor = Supervisor(
        spawner=spawner,
        preparer=launcher,
        settings=settings.supervision,
        logs=base.logs,
        records=RunRecords(settings.runs_dir),
        clock=clock,
        bus=bus,
        oom=OomDetector(cgroups),
        connectivity=connectivity,
    )
    # Subscription order matters: after an exit, a verification is void before any other subscriber reacts.
    book = PatchBook(ledger, bus, clock)
    statuses = PatchStatuses(book, clock)
    alerts = Alerts(bus, base.directory, clock)
    licences, asked_by = build_licences(base, alerts), AskedBy()
    checks = LicenceChecks(ledger, base.licensing, licences.check_person, asked_by.note)
    trust = _build_trust(base, supervisor, statuses, checks)
    ProcessJournal(ledger, base.directory, bus, clock)
    fleet = Fleet(
        settings=settings,
        ledger=ledger,
        directory=base.directory,
        supervisor=supervisor,
        launcher=launcher,
        clock=clock,
    )
    merging = PageMerging(settings.merging_path, enabled=settings.supervision.merge_memory, bus=bus, clock=clock)
    retention = Retention(ledger, settings.retention, clock)
    state_watch = StateWatch(ledger=ledger, supervisor=supervisor, alerts=alerts)
    cogs = Cogs(discord.cogs, settings.disabled_cogs_path, alerts, clock)
    guild_watch = GuildWatch(
        settings.identity,
        lambda: invite_url(discord.user_id(), needed_permissions(reloading.settings)),
        alerts,
    )
    reloading = _build_reloading(base, supervisor, trust.verification, fleet, retention)
    works = FileWorks(settings.changes_dir, settings.removed_dir, ledger)
    locks = NodeLocks(base.directory)
    revocation = Revocation(ledger, base.ledger_cache, trust.verification, base.licensing, clock)
    scheduled = ScheduledRestarts(
        directory=base.directory,
        schedule_of=lambda node: launcher.own_settings(node).cron_restart,
        bus=bus,
        clock=clock,
    )
    watching = Watching(directory=base.directory, watched=launcher.watched, bus=bus, clock=clock)
    reloading.follow(lambda _new: scheduled.look_again(), lambda _new: watching.look_again())
    connect_licences(base, licences, asked_by, trust.verification, fleet, trust.orders)
    licence_keeper, licence_roles = build_licence_keeping(base, licences, alerts, discord, reloading)
    box = BoxWatch(settings.state_dir, ledger, bus, clock)
    read_lines = partial(recent_lines_of, base)
    library = SolutionLibrary(settings.solutions_dir, check_action=check_action, recent_lines=read_lines)
    folders = FolderWatch()
    error_groups = ErrorGroups(
        ledger=ledger,
        clock=clock,
        bus=bus,
        book=ErrorBook(ledger, clock, library),
        alerts=GroupAlerts(alerts, base.directory, clock),
    )
    undecided = UndecidedExits()
    intake = _build_intake(base, library, folders, error_groups, undecided)
    auditor = Auditor(ledger, ledger.chain, clock, base.permissions, bus)
    installer = PackageInstaller(lambda: reloading.settings, os.environ)
    channels = _build_channels(base, alerts, discord, reloading, trust.orders, guild_watch)
    tools = Tools(
        fleet=fleet,
        supervisor=supervisor,
        directory=base.directory,
        alerts=alerts,
        clock=clock,
        auditor=auditor,
        settings=lambda: reloading.settings,
        launcher=launcher,
        inspector=inspector,
        orders=trust.orders,
        installer=installer,
        recreate_channels=partial(recreate, channels.keeper, lambda: reloading.written, channels.tools.moves),
        returning=build_returning(
            base, supervisor, launcher, installer, trust.orders, book, statuses, lambda: reloading.settings
        ),
    )
    ticketing = build_tickets(base, alerts, auditor, discord, reloading, trust.orders, trust.verification, supervisor)
    trust.reception.add_handlers(
        {TicketRequest: ticketing.desk.handle, TicketPermissionRequest: ticketing.permissions.handle}
    )
    reloading.follow(lambda _new: ticketing.upkeep.look_again())
    announcing = build_announcing(
        ledger=ledger,
        bus=bus,
        clock=clock,
        alerts=alerts,
        settings=lambda: reloading.settings,
        port=discord.port,
        own_id=discord.user_id,
    )
    reloading.follow(lambda _new: announcing.sender.look_again())
    signer = ManifestSigner(base.secret)
    giveaway_records = GiveawayRecords(ledger)
    lineage, keeper = Lineage(ledger, signer), build_lineage_keeper(base, launcher, signer)
    modes = Modes(ledger, bus, clock, lambda: reloading.settings.healing.detect_only_s)
    repair = Repair(
        library=library,
        modes=modes,
        tools=tools,
        ledger=ledger,
        connectivity=connectivity,
        bus=bus,
        settings=lambda: reloading.settings,
        exits=undecided,
    )
    repair.alerts.is_muted, repair.alerts.told = error_groups.is_muted, error_groups.told
    intake.monitor.follow(repair.take)
    intake.monitor.follow(lambda finding: error_groups.known_to_solution(finding.sighting.fingerprint))
    mailboxes = Mailboxes(
        MailTools(
            ledger=ledger,
            bus=bus,
            clock=clock,
            settings=lambda: reloading.settings,
            alerts=alerts,
            vault=TokenVault(base.secret),
            ticketing=ticketing,
            licences=licences,
            repair=repair,
            discord=discord.port,
            post_form=post_form,
            own_user_id=discord.user_id,
        )
    )
    overview = _build_overview(
        base,
        supervisor,
        launcher,
        discord,
        merging,
        trust.keys,
        lambda: (
            *state_watch.troubles(),
            *guild_watch.troubles(),
            *cogs.troubles(),
            *channels.keeper.troubles(),
        ),
        lambda: spawner.trouble,
        box,
        mailboxes,
    )
    judge = HealthJudge(
        ledger=ledger,
        groups=error_groups,
        supervisor=supervisor,
        connectivity=connectivity,
        clock=clock,
        sessions_dir=settings.sessions_dir,
    )
    return Services(
        clock=clock,
        ledger=ledger,
        bus=bus,
        lifecycle=Lifecycle(),
        directory=base.directory,
        permissions=base.permissions,
        auditor=auditor,
        supervisor=supervisor,
        connectivity=connectivity,
        alerts=alerts,
        outbox=AlertOutbox(
            settings.outbox_path,
            bus,
            clock,
            lambda: reloading.settings.channels.log != 0,
        ),
        crash_watch=CrashWatch(
            bus=bus,
            directory=base.directory,
            ledger=ledger,
            alerts=alerts,
            clock=clock,
            exit_output=intake.exit_output,
            groups=error_groups,
            told_otherwise=repair.tells,
            exits=undecided,
        ),
        fleet=fleet,
        opening=_build_opening(base, supervisor, fleet),
        overview=overview,
        telling=Telling(lambda: reloading.settings, ledger, clock, MasterNodes(base.directory, overview, discord.port)),
        onboarding=_build_onboarding(base, fleet, inspector, discord, works),
        removal=Removal(
            settings=lambda: reloading.settings,
            ledger=ledger,
            ledger_cache=base.ledger_cache,
            directory=base.directory,
            fleet=fleet,
            supervisor=supervisor,
            logs=base.logs,
            works=works,
            locks=locks,
            clock=clock,
        ),
        token_replacement=TokenReplacement(
            settings=lambda: reloading.settings,
            ledger=ledger,
            ledger_cache=base.ledger_cache,
            vault=TokenVault(base.secret),
            inspector=inspector,
            directory=base.directory,
            fleet=fleet,
            supervisor=supervisor,
            revocation=revocation,
            locks=locks,
            clock=clock,
            master_user_id=discord.user_id,
        ),
        editing=Editing(
            settings=lambda: reloading.settings,
            ledger=ledger,
            directory=base.directory,
            fleet=fleet,
            supervisor=supervisor,
            revocation=revocation,
            works=works,
            locks=locks,
            clock=clock,
        ),
        renaming=Renaming(
            settings=lambda: reloading.settings,
            ledger=ledger,
            directory=base.directory,
            fleet=fleet,
            logs=base.logs,
            works=works,
            locks=locks,
            clock=clock,
        ),
        licensing=base.licensing,
        licences=licences,
        licence_keeper=licence_keeper,
        licence_roles=licence_roles,
        licence_showing=LicenceShowing(ledger, base.licensing, clock),
        revocation=revocation,
        keys=trust.keys,
        verification=trust.verification,
        reception=trust.reception,
        sessions=base.sessions,
        ledger_admin=LedgerAdmin(settings, ledger, base.secret, clock),
        retention=retention,
        rotation=SecretRotation(settings, ledger, clock, check_restart=reloading.check_restart),
        handover=_build_handover(base, supervisor, trust.keys),
        ledger_cache=base.ledger_cache,
        snapshots=PulseSnapshots(ledger, supervisor, clock),
        ready_signs=ReadySigns(
            bus=bus,
            supervisor=supervisor,
            logs=base.logs,
            sign_of=supervisor.ready_sign_of,
            log_sizes=launcher.log_sizes,
            name_of=base.directory.name_of,
        ),
        scheduled_restarts=scheduled,
        watching=watching,
        box=box,
        merging=merging,
        stderr_lines=StderrLines(bus, clock, base.logs, supervisor),
        log_flushing=LogFlushing(base.logs),
        state_watch=state_watch,
        cogs=cogs,
        guild_watch=guild_watch,
        library=library,
        folders=folders,
        output_watch=intake.output_watch,
        error_monitor=intake.monitor,
        error_groups=error_groups,
        patch_keys=PatchKeys(ledger, clock),
        sentry_addresses=base.sentry_addresses,
        modes=modes,
        repair=repair,
        tools=tools,
        solutions=build_solutions(base, library, modes, lambda: reloading.settings.healing),
        lineage=lineage,
        lineage_keeper=keeper,
        restoring=Restoring(
            ledger=ledger,
            directory=base.directory,
            supervisor=supervisor,
            launcher=launcher,
            lineage=lineage,
            keeper=keeper,
            folders=FolderPatching(lambda: reloading.settings),
        ),
        restored_trials=RestoredTrials(
            ledger=ledger,
            supervisor=supervisor,
            orders=trust.orders,
            book=book,
            statuses=statuses,
            alerts=alerts,
        ),
        patches=build_patches(
            base,
            supervisor,
            launcher,
            installer,
            alerts,
            trust.orders,
            judge,
            book,
            statuses,
            lambda: reloading.settings,
        ),
        patch_tracking=PatchTracking(ledger, base.directory, clock),
        ticketing=ticketing,
        announcing=announcing,
        mailboxes=mailboxes,
        doctor=Doctor(settings.home, overview.master_status, discord.lookup_of),
        channels=channels,
        giveaway_records=giveaway_records,
        channel_records=ChannelRecords(ledger),
        giveaways=None
        if discord.port is None
        else build_giveaways(
            ledger=ledger,
            records=giveaway_records,
            port=discord.port,
            licences=licences,
            auditor=auditor,
            alerts=alerts,
            seeds=SeedVault(base.secret),
            bus=bus,
            clock=clock,
            settings=lambda: reloading.settings,
            own_id=discord.user_id,
        ),
        reloading=reloading,
        discord=discord.port,
    )


def _build_channels(
    base: Base,
    alerts: Alerts,
    discord: DiscordView,
    reloading: Reloading,
    orders: NodeOrders,
    guild_watch: GuildWatch,
) -> Channels:
    moves = ChannelMoves(base.settings.channel_moves_path)
    reloading.adjust = moves.follow
    tools = ChannelTools(
        ledger=base.ledger,
        bus=base.bus,
        clock=base.clock,
        alerts=alerts,
        settings=lambda: reloading.settings,
        discord=discord.port,
        master_user_id=discord.user_id,
        moves=moves,
        take_effect=reloading.take_effect,
        is_unavailable=guild_watch.is_unavailable,
    )
    channels = build_channels(tools, orders, base.directory, lambda: reloading.written)
    reloading.follow(lambda _new: channels.keeper.look_again())
    return channels


def _build_launcher(base: Base, discord: DiscordView, cgroups: Cgroups | None) -> Launcher:
    return Launcher(
        settings=base.settings,
        ledger=base.ledger,
        vault=TokenVault(base.secret),
        secret=base.secret,
        logs=base.logs,
        current=base.directory.get,
        master_user_id=discord.user_id,
        ledger_cache=base.ledger_cache,
        open_session=base.sessions.open,
        sentry_address_of=base.sentry_addresses.address_of,
        cgroups=cgroups,
    )


def _build_trust(base: Base, supervisor: Supervisor, statuses: PatchStatuses, checks: LicenceChecks) -> _Trust:
    settings, previous = base.settings, base.settings.identity.previous_secret
    keys = NodeKeys(
        base.secret,
        base.directory,
        bus=base.bus,
        previous_secret=None if previous is None else MasterSecret(previous),
        wall_clock=base.wall_clock,
    )
    refusals = Refusals(ledger=base.ledger, directory=base.directory, bus=base.bus, clock=base.clock)
    verification = Verification(
        ledger=base.ledger,
        ledger_cache=base.ledger_cache,
        supervisor=supervisor,
        licensing=base.licensing,
        refusals=refusals,
        bus=base.bus,
        handshake=settings.handshake,
        supervision=settings.supervision,
        clock=base.clock,
        wall_clock=base.wall_clock,
    )
    orders = NodeOrders(base.bus, lambda: supervisor.pulse_interval_s, pid_of=supervisor.pid_of)
    reception = Reception(
        _handlers(base, supervisor, keys, verification, orders)
        | {
            PatchStatus: statuses.handle,
            LicenceCheck: checks.handle,
        },
        keys=keys,
        directory=base.directory,
        refusals=refusals,
        wall_clock=base.wall_clock,
        sessions=base.sessions,
    )
    return _Trust(keys=keys, verification=verification, reception=reception, orders=orders)


def _handlers(
    base: Base, supervisor: Supervisor, keys: NodeKeys, verification: Verification, orders: NodeOrders
) -> dict[type[Body], MessageHandler]:
    """Return who takes which message of a node."""
    pulses = Pulses(
        verification=verification, supervisor=supervisor, keys=keys, orders=orders, wall_clock=base.wall_clock
    )
    notices = Notices(base.bus, base.clock)
    return {
        VerificationRequest: verification.handle,
        Heartbeat: pulses.handle,
        ErrorReport: notices.handle_error,
        ShutdownNotice: notices.handle_goodbye,
        OrderResult: orders.handle_result,
    }


def _build_intake(
    base: Base, library: SolutionLibrary, folders: FolderWatch, groups: ErrorGroups, undecided: UndecidedExits
) -> _Intake:
    bus, clock, directory = base.bus, base.clock, base.directory
    exit_output = ExitOutput(bus, directory, LastOutput(base.logs))
    monitor = ErrorMonitor(library, groups, clock, undecided)
    ErrorSources(bus, exit_output, monitor)
    output_watch = OutputWatch(
        bus=bus,
        clock=clock,
        logs=base.logs,
        directory=directory,
        folders=folders,
        exit_output=exit_output,
        library=library,
        monitor=monitor,
    )
    return _Intake(exit_output=exit_output, monitor=monitor, output_watch=output_watch)


def _build_opening(base: Base, supervisor: Supervisor, fleet: Fleet) -> Opening:
    return Opening(
        settings=base.settings,
        ledger=base.ledger,
        directory=base.directory,
        ledger_cache=base.ledger_cache,
        supervisor=supervisor,
        fleet=fleet,
    )


def _build_overview(
    base: Base,
    supervisor: Supervisor,
    launcher: Launcher,
    discord: DiscordView,
    merging: PageMerging,
    keys: NodeKeys,
    troubles: Callable[[], tuple[str, ...]],
    start_trouble: Callable[[], str],
    box: BoxWatch,
    mailboxes: Mailboxes,
) -> Overview:
    return Overview(
        settings=base.settings,
        ledger=base.ledger,
        directory=base.directory,
        supervisor=supervisor,
        logs=base.logs,
        clock=base.clock,
        discord_state=discord.state,
        commands_problem=discord.commands_problem,
        merged_bytes=merging.saved_bytes,
        box_states=lambda: box.states,
        old_keys=lambda: len(keys.old) if keys.hands_over else None,
        start_trouble=start_trouble,
        isolation=lambda: launcher.isolation(base.directory, supervisor.isolated_names()),
        is_revoked=base.ledger_cache.is_revoked,
        troubles=lambda: (*troubles(), *base.sentry_addresses.troubles()),
        sentry=lambda: base.sentry_addresses.state,
        mailboxes=mailboxes.facts,
    )


def _build_onboarding(
    base: Base, fleet: Fleet, inspector: TokenInspector, discord: DiscordView, works: FileWorks
) -> Onboarding:
    return Onboarding(
        ledger=base.ledger,
        identity=base.settings.identity,
        vault=TokenVault(base.secret),
        licensing=base.licensing,
        inspector=inspector,
        directory=base.directory,
        fleet=fleet,
        bus=base.bus,
        clock=base.clock,
        master_user_id=discord.user_id,
        works=works,
    )


def _build_handover(base: Base, supervisor: Supervisor, keys: NodeKeys) -> Handover:
    return Handover(
        file=SecretsFile(base.settings.home / ENV_NAME),
        directory=base.directory,
        supervisor=supervisor,
        keys=keys,
        patience_s=base.settings.handshake.key_handover_s,
    )


def _build_reloading(
    base: Base, supervisor: Supervisor, verification: Verification, fleet: Fleet, retention: Retention
) -> Reloading:
    reloading = Reloading(base.settings, os.environ, lambda: [node.name for node in base.directory])
    reloading.follow(
        base.permissions.update_settings,
        lambda new: base.licensing.update_tiers(new.licence_tiers),
        lambda new: base.logs.resize(max_bytes=new.supervision.log_max_bytes, files=new.supervision.log_files),
        lambda new: supervisor.update_settings(new.supervision),
        lambda new: verification.update_settings(new.handshake, new.supervision),
        fleet.update_settings,
        lambda new: retention.update_settings(new.retention),
    )
    return reloading
