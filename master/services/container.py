"""All services of one master, built once and handed to every face."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from master.configuration.settings import ENV_NAME, Settings
from master.ledger.database import Ledger
from master.security.derivation import MasterSecret
from master.security.licence_codes import LicenceCodes
from master.security.secrets_file import SecretsFile
from master.security.vault import TokenVault
from master.services.core.actors import Operators
from master.services.core.alerts import Announcer
from master.services.core.auditing import Auditor
from master.services.core.directory import NodeDirectory
from master.services.core.keys import master_secret_of
from master.services.core.ledger_cache import LedgerCache
from master.services.fleet.fleet import Fleet
from master.services.fleet.launching import Launcher
from master.services.fleet.process_journal import ProcessJournal
from master.services.fleet.pulse_snapshots import PulseSnapshots
from master.services.healing.error_reports import ErrorReports
from master.services.onboarding.identity import TokenInspector
from master.services.onboarding.saga import Onboarding
from master.services.trust.handover import Handover
from master.services.trust.licensing import Licensing
from master.services.trust.rotation import SecretRotation
from master.services.trust.verification import Verification
from master.services.upkeep.ledger_admin import LedgerAdmin
from master.services.upkeep.reloading import Reloading
from master.services.upkeep.retention import Retention
from master.supervision.clock import Clock
from master.supervision.limits import Cgroups, OomWitness
from master.supervision.logs import NodeLogs
from master.supervision.merging import PageMerging
from master.supervision.run_records import RunRecords
from master.supervision.spawner import Spawner
from master.supervision.states import ProcessEvent, ProcessEventKind
from master.supervision.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What cogs and the control socket call."""

    clock: Clock
    ledger: Ledger
    directory: NodeDirectory
    operators: Operators
    announcer: Announcer
    auditor: Auditor
    supervisor: Supervisor
    fleet: Fleet
    onboarding: Onboarding
    licensing: Licensing
    verification: Verification
    ledger_admin: LedgerAdmin
    retention: Retention
    rotation: SecretRotation
    handover: Handover
    ledger_cache: LedgerCache
    snapshots: PulseSnapshots
    merging: PageMerging
    reloading: Reloading

    @property
    def settings(self) -> Settings:
        """The settings that are in effect."""
        return self.reloading.settings


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscordView:
    """What services may know of the master's own Discord connection."""

    user_id: Callable[[], int]
    """0 while it is not known."""
    state: Callable[[], str]


def build_services(
    settings: Settings,
    ledger: Ledger,
    *,
    spawner: Spawner,
    inspector: TokenInspector,
    discord: DiscordView,
    clock: Clock,
    cgroups: Cgroups | None = None,
) -> Services:
    """Put the services together; nothing runs yet."""
    secret = master_secret_of(settings.identity)
    previous = settings.identity.previous_secret
    vault = TokenVault(secret)
    directory = NodeDirectory()
    ledger_cache = LedgerCache(settings.ledger_cache_path, directory, ledger.chain, secret)
    operators = Operators(settings.operators)
    announcer = Announcer(clock)
    auditor = Auditor(ledger, ledger.chain, clock, operators)
    licensing = Licensing(LicenceCodes(secret), settings.licence_tiers, clock)
    logs = NodeLogs(
        settings.logs_dir, max_bytes=settings.supervision.log_max_bytes, files=settings.supervision.log_files
    )
    journal = ProcessJournal(ledger, directory, announcer, clock)
    merging = PageMerging(settings.merging_path, enabled=settings.supervision.merge_memory)

    def on_event(event: ProcessEvent) -> None:
        journal(event)
        if event.kind is ProcessEventKind.READY:
            merging.ask()

    supervisor = Supervisor(
        spawner=spawner,
        settings=settings.supervision,
        logs=logs,
        records=RunRecords(settings.runs_dir),
        clock=clock,
        on_event=on_event,
        oom=OomWitness(cgroups),
    )
    merging.on_merged = supervisor.read_details_anew
    verification = Verification(
        secret=secret,
        ledger=ledger,
        directory=directory,
        ledger_cache=ledger_cache,
        supervisor=supervisor,
        licensing=licensing,
        announcer=announcer,
        error_reports=ErrorReports(ledger, announcer, clock),
        handshake=settings.handshake,
        supervision=settings.supervision,
        clock=clock,
        previous_secret=None if previous is None else MasterSecret(previous),
    )
    journal.process_ended = verification.process_ended
    launcher = Launcher(
        settings=settings,
        ledger=ledger,
        vault=vault,
        secret=secret,
        logs=logs,
        current=directory.get,
        master_user_id=discord.user_id,
        ledger_cache=ledger_cache,
        cgroups=cgroups,
    )
    fleet = Fleet(
        settings=settings,
        ledger=ledger,
        directory=directory,
        ledger_cache=ledger_cache,
        supervisor=supervisor,
        launcher=launcher,
        logs=logs,
        auditor=auditor,
        clock=clock,
        discord_state=discord.state,
        merged_bytes=merging.saved_bytes,
        old_keys=lambda: len(verification.old_keys) if verification.hands_over else None,
    )
    onboarding = Onboarding(
        ledger=ledger,
        identity=settings.identity,
        vault=vault,
        licensing=licensing,
        inspector=inspector,
        directory=directory,
        fleet=fleet,
        auditor=auditor,
        announcer=announcer,
        clock=clock,
        master_user_id=discord.user_id,
    )
    retention = Retention(ledger, settings.retention, clock)
    reloading = Reloading(settings, os.environ, lambda: [node.name for node in directory])
    reloading.follow(
        lambda new: operators.update_settings(new.operators),
        lambda new: licensing.update_tiers(new.licence_tiers),
        lambda new: logs.resize(max_bytes=new.supervision.log_max_bytes, files=new.supervision.log_files),
        lambda new: supervisor.update_settings(new.supervision),
        lambda new: verification.update_settings(new.handshake, new.supervision),
        fleet.update_settings,
        lambda new: retention.update_settings(new.retention),
    )
    return Services(
        clock=clock,
        ledger=ledger,
        directory=directory,
        operators=operators,
        announcer=announcer,
        auditor=auditor,
        supervisor=supervisor,
        fleet=fleet,
        onboarding=onboarding,
        licensing=licensing,
        verification=verification,
        ledger_admin=LedgerAdmin(settings, ledger, secret, clock, head=ledger_cache.audit_head),
        retention=retention,
        rotation=SecretRotation(settings, ledger, auditor, clock),
        handover=Handover(
            file=SecretsFile(settings.home / ENV_NAME),
            directory=directory,
            supervisor=supervisor,
            verification=verification,
            patience_s=settings.handshake.key_handover_s,
        ),
        ledger_cache=ledger_cache,
        snapshots=PulseSnapshots(ledger, supervisor, clock),
        merging=merging,
        reloading=reloading,
    )
