"""Builds what operators change solutions by."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from master.configuration.settings import HealingSettings
from master.services.building.base import Base
from master.services.healing.library import SolutionLibrary
from master.services.repair.drafting import Drafting
from master.services.repair.manager import SolutionManager
from master.services.repair.modes import Modes
from master.services.repair.stored import recent_lines
from master.services.repair.testing import SolutionTesting


def build_solutions(
    base: Base, library: SolutionLibrary, modes: Modes, healing: Callable[[], HealingSettings]
) -> SolutionManager:
    """Return what operators change solutions by."""
    testing = SolutionTesting(
        library=library, directory=base.directory, logs=base.logs, ledger=base.ledger, healing=healing
    )
    return SolutionManager(
        own=base.settings.solutions_dir,
        library=library,
        modes=modes,
        testing=testing,
        drafting=Drafting(library, base.ledger),
        directory=base.directory,
        ledger=base.ledger,
        clock=base.clock,
        healing=healing,
        recent_lines=partial(recent_lines_of, base),
    )


def recent_lines_of(base: Base) -> list[str]:
    """Return lines that nodes wrote lately, on which patterns are timed; called in a thread."""
    return recent_lines(base.logs, [node.name for node in base.directory])
