"""Links a program that does not use nodekit to the fleet; called before its first line runs."""

from __future__ import annotations

import functools
import logging
import os
from typing import Any

import discord

from handshake.errors import HandshakeError
from nodekit.attachment import attach_as
from nodekit.exit_codes import NodeExit
from nodekit.identity import inherited_identity

log = logging.getLogger(__name__)


def link_program() -> None:
    """Set the program's token variable, and attach the client that logs in with that token.

    Raises
    ------
    SystemExit
        With code 64: the inherited data cannot be read.
    """
    try:
        identity = inherited_identity()
    except HandshakeError as error:
        log.error("%s", error)
        raise SystemExit(NodeExit.CONFIGURATION) from error
    if identity is None:
        return
    set_private_variable(identity.boot.token_variable, identity.boot.token)
    initialise = discord.Client.__init__

    # Every client calls it, whatever subclass the program uses.
    @functools.wraps(initialise)
    def __init__(client: discord.Client, *args: Any, **kwargs: Any) -> None:
        initialise(client, *args, **kwargs)
        attach_as(client, identity, only_its_token=True)

    discord.Client.__init__ = __init__  # type: ignore[method-assign, assignment]


def set_private_variable(name: str, value: str) -> None:
    """Set an environment variable for this program, but not for its child processes.

    ``os.environ[name] = value`` would also change the C library's environment, which child processes inherit and show
    in their ``/proc/PID/environ``.
    """
    environment = os.environ
    known: dict[Any, Any] = environment._data  # type: ignore[attr-defined]
    known[environment.encodekey(name)] = environment.encodevalue(value)
