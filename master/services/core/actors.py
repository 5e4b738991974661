"""Actors: callers as permissions and the audit log see them, independent of the face they use."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import Literal

Face = Literal["discord", "cli", "web", "node", "system"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One caller.

    Parameters
    ----------
    face
        The interface that the request came through.
    identity
        Stored in the audit log: a Discord user id, a Unix user name, a node's id, ``master``.
    name
        Display name.
    role_ids
        Discord roles that the caller holds now; empty for other faces.
    is_member
        On Discord, and for a web session: whether the caller is a member of the fleet's server.
    owns_box
        On the command line: whether the caller is root or the user who runs the master.
    """

    face: Face
    identity: str
    name: str
    role_ids: frozenset[int] = frozenset()
    is_member: bool = False
    owns_box: bool = False

    @property
    def label(self) -> str:
        """``discord:1234``, ``cli:root``, ``system:master``."""
        return f"{self.face}:{self.identity}"


SYSTEM = Actor(face="system", identity="master", name="the master itself")


def unix_actor(user_id: int) -> Actor:
    """Return the actor for a Unix user of this host."""
    try:
        name = pwd.getpwuid(user_id).pw_name
    except KeyError:
        name = str(user_id)
    return Actor(face="cli", identity=name, name=name, owns_box=user_id in (0, os.geteuid()))
