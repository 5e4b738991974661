"""All actions; a solution names one of them."""

from __future__ import annotations

from typing import Any

import msgspec

from master.services.healing.matching import compile_pattern
from master.services.healing.solution import Risk, Solution
from master.services.repair.actions import (
    channels,
    ordering,
    packages,
    patching,
    quarantining,
    restarting,
    telling,
    tokens,
)
from master.services.repair.actions.action import Action, parameters_of, placeholders_of
from master.wording import visible

_ALL: tuple[Action[Any], ...] = (
    restarting.restart,
    restarting.restart_bot_by_path,
    restarting.fresh_identify,
    packages.install_package,
    ordering.reload_cog,
    ordering.disable_cog,
    ordering.sync_commands,
    channels.recreate_channels,
    tokens.refresh_token,
    quarantining.quarantine,
    patching.rollback_patch,
    telling.notify,
)

ACTIONS: dict[str, Action[Any]] = {action.name: action for action in _ALL}
"""All actions by name."""

_RISKS = list(Risk)
"""From the one that asks nobody to the one that a person carries out."""


def check_action(solution: Solution) -> str:
    """Return why a solution's action is wrong, in one line; empty if it is not.

    Its parameters are tried with what its own samples capture. Its patterns have been compiled before.
    """
    action = ACTIONS.get(solution.action_name)
    if action is None:
        known = ", ".join(sorted(ACTIONS))
        if not solution.action_name:
            return f"[action] has no name; there are {known}"
        return f"there is no action {visible(solution.action_name)[:60]!r}; there are {known}"
    if _RISKS.index(solution.risk) < _RISKS.index(action.least_risk):
        return f"risk is {solution.risk.value!r}, and {action.name} needs {action.least_risk.value!r} at least"
    return _check_placeholders(solution) or _check_parameters(action, solution)


def _check_placeholders(solution: Solution) -> str:
    wanted = placeholders_of(solution.parameters)
    for number, pattern in enumerate(solution.patterns, start=1):
        missing = sorted(wanted - compile_pattern(pattern).groupindex.keys())
        if missing:
            return f"the action uses {{{missing[0]}}}, which pattern {number} does not capture: (?P<{missing[0]}>...)"
    return ""


def _check_parameters(action: Action[Any], solution: Solution) -> str:
    for captures in _captures_of(solution):
        try:
            parameters_of(action, solution.parameters, captures)
        except msgspec.ValidationError as error:
            takes = ", ".join(action.parameters.__struct_fields__) or "none"
            return f"a parameter of {action.name} is wrong: {visible(str(error))[:300]}; it takes {takes}"
    return ""


def _captures_of(solution: Solution) -> list[dict[str, str]]:
    """Return what the patterns capture of the samples: real values, for the parameters' types to judge."""
    if not placeholders_of(solution.parameters):
        return [{}]
    patterns = [compile_pattern(pattern) for pattern in solution.patterns]
    hits = (pattern.search(line) for line in solution.samples.match for pattern in patterns)
    return [{name: value for name, value in hit.groupdict().items() if value is not None} for hit in hits if hit]
