"""Permissions: four levels, resolved for an actor of any face."""

from __future__ import annotations

from enum import StrEnum

from master.configuration.settings import PeopleSettings, Settings
from master.services.core.actors import Actor
from master.services.core.errors import NotAuthorised


class Permission(StrEnum):
    """A permission that an operation needs; :data:`_IMPLIED` lists what each includes."""

    VIEW = "view"
    """Read the fleet: states, history, logs, the audit log."""
    OPERATE = "operate"
    """Operate the fleet: start, stop, register, rotate the secret."""
    MODERATE = "moderate"
    """Moderate what the fleet does for members: tickets, giveaways, licences."""
    MEMBER = "member"
    """Use what the fleet offers to any member of its server."""


_IMPLIED = {
    Permission.OPERATE: frozenset(Permission),
    Permission.VIEW: frozenset({Permission.VIEW, Permission.MEMBER}),
    Permission.MODERATE: frozenset({Permission.MODERATE, Permission.MEMBER}),
    Permission.MEMBER: frozenset({Permission.MEMBER}),
}
NOTHING: frozenset[Permission] = frozenset()

_WHERE = {
    Permission.OPERATE: "OPERATORS",
    Permission.VIEW: "VIEWERS",
    Permission.MODERATE: "MODERATORS",
}


class Permissions:
    """Resolve permissions from the settings.

    On the host, root and the user who runs the master may do everything. For Discord users, and for web sessions, which
    belong to a Discord user, the settings list users and roles. A node is never an operator: its signed messages have
    their own handlers, and it has the permissions of a member.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def update_settings(self, settings: Settings) -> None:
        """Apply changed settings."""
        self._settings = settings

    def of(self, actor: Actor) -> frozenset[Permission]:
        """Return the permissions of ``actor``."""
        match actor.face:
            case "system":
                return _IMPLIED[Permission.OPERATE]
            case "cli":
                return _IMPLIED[Permission.OPERATE] if actor.owns_box else NOTHING
            case "node":
                return _IMPLIED[Permission.MEMBER]
            case "discord" | "web":
                return self._of_person(actor)

    def _of_person(self, actor: Actor) -> frozenset[Permission]:
        found = _IMPLIED[Permission.MEMBER] if actor.is_member else NOTHING
        for permission, people in (
            (Permission.OPERATE, self._settings.operators),
            (Permission.VIEW, self._settings.viewers),
            (Permission.MODERATE, self._settings.moderators),
        ):
            if _includes(people, actor):
                found |= _IMPLIED[permission]
        return found

    def allow(self, actor: Actor, permission: Permission) -> bool:
        """Tell whether ``actor`` has ``permission``."""
        return permission in self.of(actor)

    def require(self, actor: Actor, permission: Permission, action: str) -> None:
        """Raise unless ``actor`` has ``permission``.

        Raises
        ------
        NotAuthorised
            The actor lacks the permission.
        """
        if not self.allow(actor, permission):
            raise NotAuthorised(actor.name, action, permission.value, _hint(permission))


def _includes(people: PeopleSettings, actor: Actor) -> bool:
    known = actor.identity.isdecimal() and int(actor.identity) in people.user_ids
    return known or not people.role_ids.isdisjoint(actor.role_ids)


def _hint(permission: Permission) -> str:
    section = _WHERE.get(permission)
    if section is None:
        return "join the fleet's server first"
    return f"ask whoever runs this fleet to add you, or your role, to {section} in config.py"
