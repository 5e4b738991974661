"""The library that runs inside a node; imports the protocol and discord.py, but not the master.

The names below are imported on first use: the master imports modules of this package without discord.py, and an older
Python of a linked program must be able to import the package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodekit.attachment import attach
    from nodekit.bot import HandshakeBot
    from nodekit.exit_codes import NodeExit
    from nodekit.licence import licence_of, requires_feature
    from nodekit.own_secrets import read_secret
    from nodekit.running import run
    from nodekit.store import Store, open_store

__all__ = [
    "HandshakeBot",
    "NodeExit",
    "Store",
    "attach",
    "licence_of",
    "open_store",
    "read_secret",
    "requires_feature",
    "run",
]

_HOMES = {
    "HandshakeBot": "nodekit.bot",
    "NodeExit": "nodekit.exit_codes",
    "Store": "nodekit.store",
    "attach": "nodekit.attachment",
    "licence_of": "nodekit.licence",
    "open_store": "nodekit.store",
    "read_secret": "nodekit.own_secrets",
    "requires_feature": "nodekit.licence",
    "run": "nodekit.running",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value
