"""An action: its name, its parameters, and the function that carries it out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from master.services.core.actors import Actor, Face
from master.services.healing.solution import Risk

if TYPE_CHECKING:
    from master.ledger.rows.records import Node
    from master.services.core.auditing import AuditEntry
    from master.services.healing.sighting import Sighting
    from master.services.repair.actions.tools import Tools


class ActionParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Root of the parameters of actions; captured groups have been put in, and are hostile until checked."""


class NoParameters(ActionParameters, frozen=True):
    """For actions that need none."""


P = TypeVar("P", bound=ActionParameters)


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What an action did."""

    detail: str
    """In one line, after ``done:``."""
    awaits_ready: bool = False
    """Whether the node is to become ready again; if not in time, it did not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acting:
    """What an action acts on, and with.

    Parameters
    ----------
    node
        The node on which the error was seen.
    sighting
        The error.
    title, advice
        The solution's.
    actor
        Who it is done for, in the audit log: ``system:solution/ID``, or the operator who pressed the button.
    """

    node: Node
    sighting: Sighting
    title: str
    advice: str
    actor: str
    tools: Tools

    def audited(self, what: str) -> AbstractAsyncContextManager[AuditEntry]:
        """Return what runs a block as the actor, and writes one row of the audit log with its outcome."""
        face, _, identity = self.actor.partition(":")
        actor = Actor(face=msgspec.convert(face, Face), identity=identity, name=identity)
        return self.tools.auditor.action(actor, what, node_id=self.node.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(Generic[P]):
    """One entry of the registry.

    Parameters
    ----------
    least_risk
        A solution may say more, and not less: what installs a package never runs by itself unless its own parameters
        and the allow-list permit it.
    run
        Raises ``ActionSkipped`` or ``ActionFailed``, and ``FleetError`` of what it calls.
    is_allowed
        Tells whether the config lets it be carried out at all; nobody is asked for what would be skipped.
    """

    name: str
    summary: str
    parameters: type[P]
    run: Callable[[Acting, P], Awaitable[Done]]
    least_risk: Risk = Risk.AUTO
    is_allowed: Callable[[Tools, P], bool] = lambda _tools, _parameters: True


def parameters_of(action: Action[P], raw: Mapping[str, Any], captures: Mapping[str, str]) -> P:
    """Return an action's parameters with captured groups put in.

    Raises
    ------
    msgspec.ValidationError
        They are not what the action takes.
    """
    filled = {key: _fill(value, captures) for key, value in raw.items()}
    return msgspec.convert(filled, action.parameters)


def placeholders_of(raw: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the groups that parameters want, as in ``{module}``."""
    texts = (value for value in raw.values() if isinstance(value, str))
    return frozenset(name for text in texts for name in _PLACEHOLDER.findall(text))


_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")


def _fill(value: Any, captures: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    # In one pass: what was captured may itself look like a placeholder, and is not filled in again.
    return _PLACEHOLDER.sub(lambda found: captures.get(found[1], found[0]), value)
