"""Inspection of a program that becomes a node: its readiness kind, and the variable of its token."""

from __future__ import annotations

import re
from pathlib import Path

from handshake.files import read_regular
from master.ledger.rows.records import ReadinessKind
from master.services.core.errors import LinkRefused

_MAX_SOURCE_BYTES = 4 * 2**20
_IMPORTS_OURS = re.compile(
    r"^\s*(?:from\s+(?:nodekit|handshake)\b|import\s[^\n#]*\b(?:nodekit|handshake)\b)", re.MULTILINE
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)


def readiness_of(folder: Path, wanted: str) -> ReadinessKind:
    """Resolve ``auto``: a program that speaks the protocol imports ``nodekit`` or ``handshake``."""
    if wanted != "auto":
        return ReadinessKind(wanted)
    speaks = any(_IMPORTS_OURS.search(_source_of(path)) for path in folder.glob("*.py"))
    return ReadinessKind.HANDSHAKE if speaks else ReadinessKind.PROCESS


def _source_of(path: Path) -> str:
    """Return a program's text; empty for what is no file, and cut where it is longer than any program."""
    try:
        return read_regular(path, _MAX_SOURCE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def token_variable(name: str, readiness: str) -> str:
    """Return the environment variable from which a linked program reads its token.

    Raises
    ------
    LinkRefused
    """
    if readiness == "process":
        raise LinkRefused(
            "a linked bot reports readiness itself", hint="link it, or let it count as ready when it runs"
        )
    if _VARIABLE.fullmatch(name) is None or name.startswith(("FLEET_", "PYTHON")) or name in ("PATH", "HOME"):
        raise LinkRefused(
            f"{name!r} is not a valid environment variable for the token", hint="such as DISCORD_TOKEN or BOT_TOKEN"
        )
    return name
