"""The roles of a guild."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from sandbox import payloads, permissions
from sandbox.bodies import RoleBody, convert
from sandbox.errors import DiscordError, missing_permissions, unknown
from sandbox.records import Guild, Role
from sandbox.rest.call import NO_CONTENT, Call, Routes

MAX_ROLES = 250


def _guild(call: Call) -> Guild:
    """Return a guild whose roles the bot may manage."""
    guild = call.world.guild_for(call.account, call.id("guild_id"))
    if not permissions.in_guild(guild, call.account.id) & permissions.MANAGE_ROLES:
        raise missing_permissions()
    return guild


async def list_roles(call: Call) -> Any:
    """GET /guilds/{guild_id}/roles."""
    guild = call.world.guild_for(call.account, call.id("guild_id"))
    return [payloads.role(role) for role in guild.roles.values()]


async def create_role(call: Call) -> Any:
    """POST /guilds/{guild_id}/roles: at the bottom, with no permission that the bot lacks."""
    guild = _guild(call)
    raw, _ = await call.body()
    body = convert(raw, RoleBody)
    _check_bits(call, guild, body)
    if len(guild.roles) >= MAX_ROLES:
        raise DiscordError(400, 30005, f"Maximum number of guild roles reached ({MAX_ROLES})")
    name = body.name if body.name is not UNSET and body.name else "new role"
    bits = guild.roles[guild.id].permissions
    if body.permissions is not UNSET and body.permissions is not None:
        bits = int(body.permissions)
    role = call.world.create_role(guild, name, bits, act=call.act, prepare=lambda made: _fill(made, body))
    return payloads.role(role)


def _check_bits(call: Call, guild: Guild, body: RoleBody) -> None:
    bits = int(body.permissions or 0) if body.permissions is not UNSET else 0
    if bits & ~permissions.in_guild(guild, call.account.id):
        raise missing_permissions()


def _fill(role: Role, body: RoleBody) -> None:
    if body.name is not UNSET and body.name:
        role.name = body.name
    if body.permissions is not UNSET and body.permissions is not None:
        role.permissions = int(body.permissions)
    if body.color is not UNSET:
        role.colour = body.color or 0
    if body.hoist is not UNSET:
        role.hoist = bool(body.hoist)
    if body.mentionable is not UNSET:
        role.mentionable = bool(body.mentionable)


def _role_below(call: Call, guild: Guild) -> Role:
    """Return a role that the bot may change: one below its own highest."""
    role = guild.roles.get(call.id("role_id"))
    if role is None:
        raise unknown("role")
    if role.position >= permissions.highest_role(guild, call.account.id):
        raise missing_permissions()
    return role


async def edit_role(call: Call) -> Any:
    """PATCH /guilds/{guild_id}/roles/{role_id}."""
    guild = _guild(call)
    role = _role_below(call, guild)
    raw, _ = await call.body()
    body = convert(raw, RoleBody)
    _check_bits(call, guild, body)
    call.world.edit_role(guild, role, lambda one: _fill(one, body), call.act)
    return payloads.role(role)


async def delete_role(call: Call) -> Any:
    """DELETE /guilds/{guild_id}/roles/{role_id}: neither @everyone nor one that belongs to an integration."""
    guild = _guild(call)
    role = _role_below(call, guild)
    if role.id == guild.id or role.managed_by is not None:
        raise DiscordError(400, 50028, "Invalid Role")
    call.world.delete_role(guild, role, call.act)
    return NO_CONTENT


ROUTES: Routes = [
    ("GET", "/guilds/{guild_id}/roles", list_roles),
    ("POST", "/guilds/{guild_id}/roles", create_role),
    ("PATCH", "/guilds/{guild_id}/roles/{role_id}", edit_role),
    ("DELETE", "/guilds/{guild_id}/roles/{role_id}", delete_role),
]
