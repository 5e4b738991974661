"""What keeps the master from a repair, looked at before it begins, with the exact permission to grant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from master.services.channels.drift import Step
from master.services.channels.permission_names import names_of
from master.services.channels.tree import MOST_IN_CATEGORY, MOST_IN_GUILD
from master.services.core.discord_port import Channel, Overwrite
from master.services.people.ticket_check import Standing
from master.services.people.ticket_sets import MANAGE_CHANNELS, MANAGE_ROLES, VIEW_CHANNEL

_ALL = (1 << 53) - 1


def obstacle(step: Step, standing: Standing, found: Mapping[int, Channel]) -> str:
    """Return why a step cannot be carried out, and what to do; empty if it can."""
    if step.plan is not None:
        return _to_make(step, standing, found)
    channel = found[step.channel_id]
    if step.changes is None:
        return ""
    bits = standing.bits_in(channel.overwrites)
    needed = VIEW_CHANNEL | MANAGE_CHANNELS
    overwrites: Iterable[Overwrite] = ()
    if isinstance(step.changes.overwrites, tuple):
        needed |= MANAGE_ROLES
        overwrites = step.changes.overwrites
    parent_id = step.changes.parent_id
    full = "" if not isinstance(parent_id, int) else _full(parent_id, found)
    return full or _missing(needed, overwrites, bits, f"in #{channel.name}")


def _to_make(step: Step, standing: Standing, found: Mapping[int, Channel]) -> str:
    plan = step.plan
    if plan is None:
        return ""
    if len(found) >= MOST_IN_GUILD:
        return f"the server has {len(found)} channels, as many as Discord allows: delete one that is not needed"
    full = "" if plan.parent_id is None else _full(plan.parent_id, found)
    return full or _missing(MANAGE_CHANNELS, plan.overwrites, standing.bits, "on the server")


def _full(parent_id: int, found: Mapping[int, Channel]) -> str:
    inside = sum(channel.parent_id == parent_id for channel in found.values())
    if inside < MOST_IN_CATEGORY:
        return ""
    name = found[parent_id].name if parent_id in found else str(parent_id)
    return f"the category {name} has {inside} channels, as many as Discord allows: move or delete one"


def _missing(needed: int, overwrites: Iterable[Overwrite], bits: int, where: str) -> str:
    """Return the permissions to grant. A bot writes into an overwrite only what it may do itself."""
    if bits == _ALL:
        return ""
    for one in overwrites:
        needed |= one.allow | one.deny
    if any((one.allow | one.deny) & MANAGE_ROLES for one in overwrites):
        return f"only an administrator writes Manage Permissions: give the master's role Administrator {where}"
    missing = needed & ~bits
    return f"give the master's role {', '.join(names_of(missing))} {where}" if missing else ""
