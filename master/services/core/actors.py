"""Who asks for something, as authorisation and audit see it, whichever face the request came through."""

from __future__ import annotations

import pwd
from dataclasses import dataclass
from typing import Literal

from master.configuration.settings import PeopleSettings
from master.services.core.errors import NotAuthorised

Face = Literal["discord", "cli", "web", "system"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One caller.

    Parameters
    ----------
    face
        The way in.
    identity
        What the audit log keeps: a Discord user id, a Unix user name, ``master``.
    name
        What people read.
    role_ids
        Discord roles the caller holds; empty elsewhere.
    """

    face: Face
    identity: str
    name: str
    role_ids: frozenset[int] = frozenset()

    @property
    def label(self) -> str:
        """``discord:1234``, ``cli:root``, ``system:master``."""
        return f"{self.face}:{self.identity}"


SYSTEM = Actor(face="system", identity="master", name="the master itself")


def unix_actor(user_id: int) -> Actor:
    """Return the operator behind a process of this box."""
    try:
        name = pwd.getpwuid(user_id).pw_name
    except KeyError:
        name = str(user_id)
    return Actor(face="cli", identity=name, name=name)


class Operators:
    """Decide who may steer the fleet.

    The control socket is the operator's by its file mode; from Discord only the users and roles in the settings may.
    """

    def __init__(self, settings: PeopleSettings) -> None:
        self._settings = settings

    def update_settings(self, settings: PeopleSettings) -> None:
        """Let others steer the fleet from now on."""
        self._settings = settings

    def includes(self, actor: Actor) -> bool:
        """Tell whether ``actor`` may steer the fleet."""
        if actor.face in ("cli", "system"):
            return True
        known_user = actor.identity.isdigit() and int(actor.identity) in self._settings.user_ids
        return known_user or not self._settings.role_ids.isdisjoint(actor.role_ids)

    def require(self, actor: Actor, action: str) -> None:
        """Let ``actor`` pass.

        Raises
        ------
        NotAuthorised
            The caller is no operator.
        """
        if not self.includes(actor):
            raise NotAuthorised(
                f"{actor.name} may not {action}",
                hint="ask whoever runs this fleet to add you, or your role, to OPERATORS in config.py",
            )
