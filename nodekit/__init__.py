"""What runs inside a node: imports the protocol and discord.py, and nothing of the master.

The names below are loaded when they are first used: the master imports modules of this package, and no Discord library
with them; a program's own, older Python has to be able to import the package itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodekit.attachment import attach
    from nodekit.bot import HandshakeBot
    from nodekit.exit_codes import NodeExit
    from nodekit.running import run

__all__ = ["HandshakeBot", "NodeExit", "attach", "run"]

_HOMES = {
    "HandshakeBot": "nodekit.bot",
    "NodeExit": "nodekit.exit_codes",
    "attach": "nodekit.attachment",
    "run": "nodekit.running",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value
