"""Who may do what: four permissions, resolved for whoever asks, whichever face he came through."""

from __future__ import annotations

from enum import StrEnum

from master.configuration.settings import PeopleSettings, Settings
from master.services.core.actors import Actor
from master.services.core.errors import NotAuthorised


class Permission(StrEnum):
    """What an operation needs. See :data:`_IMPLIED` for which one includes which."""

    VIEW = "view"
    """See the fleet: states, history, logs, the audit log."""
    OPERATE = "operate"
    """Steer the fleet: start, stop, register, replace secrets."""
    MODERATE = "moderate"
    """Steer what the fleet does for people: tickets, giveaways, their licences."""
    MEMBER = "member"
    """Use what the fleet offers to anybody on its server."""


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

    The box belongs to its operator: root and the user who runs the master may do everything. From Discord, and from a
    web session, which stands for somebody on Discord, the settings name users and roles. A node is nobody's operator:
    its signed messages have handlers of their own, and it may ask for what a member may.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def update_settings(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings

    def of(self, actor: Actor) -> frozenset[Permission]:
        """Return everything that ``actor`` may do."""
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
        """Let ``actor`` pass.

        Raises
        ------
        NotAuthorised
            He has not the permission that ``action`` needs.
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
