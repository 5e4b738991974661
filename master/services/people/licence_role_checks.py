"""Can the master give and take the roles that licences bring? Told at set-up, not at the first use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from master.configuration.settings import LicenceTier
from master.services.core.discord_port import Role

# https://discord.com/developers/docs/topics/permissions#permissions-bitwise-permission-flags
_ADMINISTRATOR, _MANAGE_ROLES = 1 << 3, 1 << 28
_LACKS = "the master lacks Manage Roles"


@dataclass(frozen=True, slots=True)
class RoleTrouble:
    """Why the role of a tier cannot be given."""

    tier: str
    role_id: int
    problem: str
    fix: str
    lacks_permission: bool = False
    """Whether it is a permission that the master lacks: an invitation that asks for it gives it, too."""


def role_troubles(
    tiers: Iterable[LicenceTier], roles: Sequence[Role], own: frozenset[int], guild_id: int
) -> list[RoleTrouble]:
    """Return what is wrong with the roles of tiers.

    Parameters
    ----------
    roles
        All of the server.
    own
        Ids of the master's own roles, without @everyone.
    """
    wanted = [tier for tier in tiers if tier.role_id]
    held = [role for role in roles if role.id in own or role.id == guild_id]
    bits = 0
    for role in held:
        bits |= role.permissions
    highest = max((role.position, -role.id) for role in held) if held else (0, 0)
    by_id = {role.id: role for role in roles}
    found = []
    for tier in wanted:
        problem, fix = _trouble(tier, by_id.get(tier.role_id), bits, highest)
        if problem:
            lacks = problem.startswith(_LACKS)
            found.append(RoleTrouble(tier.name, tier.role_id, problem, fix, lacks_permission=lacks))
    return found


def _trouble(tier: LicenceTier, role: Role | None, bits: int, highest: tuple[int, int]) -> tuple[str, str]:
    key = f"LICENCES[{tier.name!r}]['ROLE_ID']"
    if role is None:
        return f"there is no role {tier.role_id} on the server", f"config.py: {key}; it may have been deleted"
    if role.is_managed:
        return f"the role {role.name} belongs to a bot or an integration", f"config.py: {key}: name another role"
    if not bits & (_ADMINISTRATOR | _MANAGE_ROLES):
        return (
            f"{_LACKS}, which the role {role.name} needs",
            "Server Settings > Roles: allow the master's role Manage Roles",
        )
    if (role.position, -role.id) >= highest:
        fix = f"Server Settings > Roles: drag the master's role above {role.name}"
        return f"the role {role.name} is not below the master's highest role", fix
    return "", ""
