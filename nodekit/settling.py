"""Settles a node's folder before its code is imported: wholly old or wholly new. Imported where it has releases."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from nodekit.releases import Outcome, ReleaseError, Releases, Settled

SETTLED_VARIABLE = "FLEET_SETTLED"
"""What was found, for the program's own handshake; also set by a master that settles a folder before a start."""
NOT_SETTLED = "not settled: "


def settle_here() -> None:
    """Settle the folder that this process starts in; what became of it is told once the node is verified.

    A folder that cannot be settled is run as it is: its code may be half new, which is better than no bot at all, and
    the master is told. One that the master settled before this start is left as it is: a second time would end a trial.
    """
    if SETTLED_VARIABLE in os.environ:
        return
    folder = Path.cwd()
    try:
        settled = Releases(folder).settle()
    except Exception as error:
        # Also what nobody thought of: a bug of ours must not keep the bot down.
        why = error.message if isinstance(error, ReleaseError) else f"{type(error).__name__}: {error}"
        os.environ[SETTLED_VARIABLE] = f"{NOT_SETTLED}{why}"
        print(f"[fleet] the releases in {folder} could not be settled: {why}", file=sys.stderr)
        return
    # Behind all others: they are there for what the libraries do not have.
    sys.path += [path for path in settled.packages if path not in sys.path]
    if settled.outcome is not Outcome.NOTHING:
        os.environ[SETTLED_VARIABLE] = msgspec.json.encode(settled).decode()
        print(f"[fleet] release {settled.current} is in force: {settled.outcome}", file=sys.stderr)


def take_settled() -> Settled | str | None:
    """Return what was found before this process ran its program, or why it could not be settled; None for nothing."""
    text = os.environ.pop(SETTLED_VARIABLE, None)
    if text is None:
        return None
    if text.startswith(NOT_SETTLED):
        return text.removeprefix(NOT_SETTLED)
    try:
        return msgspec.json.decode(text, type=Settled)
    except msgspec.MsgspecError:
        return None
