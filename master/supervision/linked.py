"""How a bot is started by its own interpreter: by nodekit's bootstrap, which is lent the packages that the bot has not.

In the zygote's nodes nodekit is loaded already; see ``zygote._become``.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

import handshake
import nodekit
from nodekit.bootstrap import KIT_VARIABLE, LENT_VARIABLE


def linked_command(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command that runs a node's program (interpreter, entry file, arguments) by the bootstrap."""
    bootstrap = Path(nodekit.__path__[0]) / "bootstrap.py"
    return (command[0], str(bootstrap), *command[1:])


def linked_environment(*, lent: bool) -> dict[str, str]:
    """Return what the bootstrap wants to know: where the packages are that a bot's own environment may not have.

    msgspec is of use to the same version of Python only; another says that it finds none.

    Parameters
    ----------
    lent
        The bot uses nodekit by itself, and is not to be linked.
    """
    folders = [package.__path__[0] for package in (handshake, nodekit, msgspec)]
    return {KIT_VARIABLE: msgspec.json.encode(folders).decode(), **({LENT_VARIABLE: "1"} if lent else {})}
