"""Runs a bot with its own interpreter, as ``python bootstrap.py ENTRY``: links it if asked to, then runs it.

The interpreter has its own libraries. Packages that nodekit needs and that are missing are imported from the master's.
Where nodekit cannot run (an older Python, another Discord library), the program still runs, with its token, and the
master is told so. Uses only Python 3.8 syntax and the standard library.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import json
import os
import sys
import types
from collections.abc import Sequence
from typing import Any

KIT_VARIABLE = "FLEET_KIT"
"""Folders of the packages that the master provides, as a JSON list."""
LENT_VARIABLE = "FLEET_LENT"
"""Set for a program that uses nodekit by itself: it is lent the packages, and not linked."""
OLDEST_PYTHON = (3, 11)
DISCORD_MAJOR = 2
"""Tested with each discord.py from 2.0 to 2.7; other major versions are not supported."""


class KitFinder:
    """Finds the packages that the master provides; used only for what the environment does not have."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = {os.path.basename(folder): folder for folder in folders}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Find one of the packages; their submodules are found in the normal way."""
        folder = self._folders.get(name)
        if folder is None:
            return None
        begin = os.path.join(folder, "__init__.py")
        return importlib.util.spec_from_file_location(name, begin, submodule_search_locations=[folder])


def why_unlinked() -> str:
    """Return why nodekit cannot join this program to the fleet; empty when it can."""
    if tuple(sys.version_info) < OLDEST_PYTHON:
        return f"Python {sys.version_info[0]}.{sys.version_info[1]} is too old, 3.11 is required"
    if importlib.util.find_spec("discord") is None:
        return "its environment has no discord.py"
    import discord

    if discord.__title__ != "discord":
        return f"its Discord library is {discord.__title__}, not discord.py"
    if discord.version_info.major != DISCORD_MAJOR:
        return f"nodekit knows discord.py {DISCORD_MAJOR}, not {discord.__version__}"
    try:
        importlib.import_module("nodekit.linking")
    except (ImportError, AttributeError) as error:
        return f"nodekit does not work with its libraries: {error}"
    return ""


def join() -> None:
    """Link the program as far as this environment allows, and print the result."""
    problem = why_unlinked()
    if problem:
        from nodekit.presence import announce_unlinked

        tell(f"not linked: {problem}; it runs without error reports and RESUME")
        announce_unlinked(problem)
        return
    import discord

    from nodekit.linking import link_program

    link_program()
    tell(f"linked, with discord.py {discord.__version__}")


def settle() -> None:
    """Settle the folder before any of its code is read, where it was patched."""
    if not os.path.isdir(".releases"):
        return
    try:
        settling = importlib.import_module("nodekit.settling")
    except (ImportError, SyntaxError, AttributeError, TypeError) as error:
        tell(f"its releases are not settled, nodekit does not work here: {error}")
        return
    settling.settle_here()


def tell(text: str) -> None:
    """Write a line to the node's log."""
    print("[fleet]", text, file=sys.stderr)


def run(entry: str, *arguments: str) -> None:
    """Run the program as ``python ENTRY`` would."""
    sys.argv = [entry, *arguments]
    path = os.path.abspath(entry)
    code = importlib.machinery.SourceFileLoader("__main__", path).get_code("__main__")
    module = types.ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    exec(code, module.__dict__)  # type: ignore[arg-type]  # noqa: S102 - the node's own program


def main() -> None:
    """Link the program unless it joins the fleet by itself, and run it."""
    entry, *arguments = sys.argv[1:]
    sys.path[0] = os.path.dirname(os.path.realpath(entry))
    sys.meta_path.append(KitFinder(json.loads(os.environ.pop(KIT_VARIABLE, "[]"))))
    settle()
    if os.environ.pop(LENT_VARIABLE, None) is None:
        join()
    run(entry, *arguments)


if __name__ == "__main__":
    main()
