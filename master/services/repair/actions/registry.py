"""All actions; a solution names one of them."""

from __future__ import annotations

from typing import Any

from master.services.repair.actions import restarting
from master.services.repair.actions.action import Action

_ALL: tuple[Action[Any], ...] = (restarting.restart,)

ACTIONS: dict[str, Action[Any]] = {action.name: action for action in _ALL}
"""All actions by name."""
