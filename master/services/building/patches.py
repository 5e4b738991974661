"""Builds what patches are received, rolled out and taken back by."""

from __future__ import annotations

from collections.abc import Callable

from master.configuration.settings import Settings
from master.services.building.base import Base
from master.services.core.alerts import Alerts
from master.services.fleet.launching import Launcher
from master.services.fleet.packages import PackageInstaller
from master.services.patches.book import PatchBook
from master.services.patches.catching_up import CatchingUp
from master.services.patches.driving import DriveTools
from master.services.patches.folder_patching import FolderPatching
from master.services.patches.health import HealthJudge
from master.services.patches.lineage_keeping import LineageKeeper
from master.services.patches.manifest import ManifestSigner
from master.services.patches.node_permissions import permissions_of
from master.services.patches.patches import Patches
from master.services.patches.receiving import Receiving
from master.services.patches.returning import Returning
from master.services.patches.rollout import RollOuts
from master.services.patches.silent_trials import SilentTrials
from master.services.patches.statuses import PatchStatuses
from master.services.patches.targets import Targets
from master.services.patches.template import TemplatePatching
from master.services.patches.trusting import LedgerAcceptance, key_names
from master.services.patches.ways import Ways
from master.services.trust.orders import NodeOrders
from master.supervision.supervisor import Supervisor


def build_returning(
    base: Base,
    supervisor: Supervisor,
    launcher: Launcher,
    installer: PackageInstaller,
    orders: NodeOrders,
    book: PatchBook,
    statuses: PatchStatuses,
    settings: Callable[[], Settings],
) -> Returning:
    """Return what takes one node back from a patch, for repairs."""
    return Returning(
        ledger=base.ledger,
        bus=base.bus,
        clock=base.clock,
        book=book,
        statuses=statuses,
        ways=Ways(
            supervisor=supervisor,
            launcher=launcher,
            orders=orders,
            folders=FolderPatching(settings),
            installer=installer,
        ),
    )


def build_patches(
    base: Base,
    supervisor: Supervisor,
    launcher: Launcher,
    installer: PackageInstaller,
    alerts: Alerts,
    orders: NodeOrders,
    judge: HealthJudge,
    book: PatchBook,
    statuses: PatchStatuses,
    settings: Callable[[], Settings],
) -> Patches:
    """Return the services of patches; a node takes what it missed before it starts."""
    ledger, clock = base.ledger, base.clock
    folders = FolderPatching(settings)
    ways = Ways(supervisor=supervisor, launcher=launcher, orders=orders, folders=folders, installer=installer)
    acceptance = LedgerAcceptance(ledger, clock)
    trials = SilentTrials(
        ledger=ledger,
        bus=base.bus,
        directory=base.directory,
        supervisor=supervisor,
        launcher=launcher,
        folders=folders,
        book=book,
        statuses=statuses,
    )
    catching_up = CatchingUp(
        ledger=ledger,
        book=book,
        statuses=statuses,
        ways=ways,
        trials=trials,
        folder_of=launcher.folder_of,
        acceptance=acceptance,
        clock=clock,
    )
    launcher.before_start = catching_up.before_start
    tools = DriveTools(
        book=book,
        statuses=statuses,
        directory=base.directory,
        targets=Targets(
            ledger, base.directory, launcher.folder_of, lambda node: bool(launcher.own_settings(node).watch)
        ),
        ways=ways,
        template=TemplatePatching(folders, settings),
        judge=judge,
        alerts=alerts,
        clock=clock,
        ready_timeout_s=lambda: settings().supervision.ready_timeout_s,
    )
    rollouts = RollOuts(tools, ledger=ledger, bus=base.bus, settings=settings, acceptance=acceptance)
    rollouts.once_good = catching_up.once_good
    return Patches(
        ledger=ledger,
        directory=base.directory,
        book=book,
        receiving=Receiving(ledger, clock, settings, acceptance),
        rollouts=rollouts,
        key_names=key_names,
        trials=trials,
    )


def build_lineage_keeper(base: Base, launcher: Launcher, signer: ManifestSigner) -> LineageKeeper:
    """Return what writes down how nodes come to be what they are."""
    return LineageKeeper(
        ledger=base.ledger,
        bus=base.bus,
        clock=base.clock,
        signer=signer,
        template=base.settings.identity.template_path,
        folder_of=launcher.folder_of,
        permissions_of=lambda node: permissions_of(node, launcher),
    )
