"""Inspection of a program that becomes a node: its options, its readiness kind, and the variable of its token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from handshake.files import read_regular
from master.configuration.node_options import encode_options, require_closed, settings_of
from master.configuration.settings import Settings
from master.ledger.rows.records import ReadinessKind
from master.services.core.errors import FolderRefused, LinkRefused
from master.services.fleet.environment_files import EnvironmentRefused, check_environment
from master.services.onboarding.folders import require_entry

if TYPE_CHECKING:
    from master.services.onboarding.saga import RegisterRequest

_MAX_SOURCE_BYTES = 4 * 2**20
_IMPORTS_OURS = re.compile(
    r"^\s*(?:from\s+(?:nodekit|handshake)\b|import\s[^\n#]*\b(?:nodekit|handshake)\b)", re.MULTILINE
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a program becomes a node."""

    entry: str
    """Empty for a program that is started by a command."""
    readiness: ReadinessKind
    token_variable: str
    """Empty for a program that is not linked."""
    options: str
    """As the ledger keeps them."""


def plan_program(folder: Path, request: RegisterRequest, settings: Settings) -> Plan:
    """Decide how the program in a folder becomes a node. Blocks.

    Raises
    ------
    FolderRefused, LinkRefused, OptionsRefused, EnvironmentRefused
        What is said of it is not valid, or not possible.
    """
    options = encode_options(request.options, settings.home)
    own = settings_of(settings, request.name, options)
    require_closed(settings, own)
    check_environment(request.environment)
    if request.environment and own.env_file is not None:
        raise EnvironmentRefused(
            "variables were given, and ENV_FILE too", hint=f"write all of them into {own.env_file}"
        )
    variable = token_variable(request.token_env, request.readiness) if request.link else ""
    if variable and (request.token is None or own.command):
        without = "has no token" if request.token is None else "is started by a command"
        raise LinkRefused(f"a program that {without} cannot be linked", hint="leave out --link")
    if request.token is None and request.readiness == "handshake":
        raise LinkRefused("a program without a token has no handshake", hint="leave out --readiness handshake")
    if own.command:
        _require_folder(folder)
    else:
        require_entry(folder, request.entry)
    readiness = readiness_of(folder, "handshake" if variable else _wanted_readiness(request, own.command))
    if readiness is ReadinessKind.HANDSHAKE and own.ready_when:
        raise LinkRefused("a node that speaks the protocol says itself when it is ready", hint="leave out READY_WHEN")
    return Plan(
        entry="" if own.command else request.entry,
        readiness=readiness,
        token_variable=variable,
        options=options,
    )


def _wanted_readiness(request: RegisterRequest, command: str | None) -> str:
    is_python = not command and Path(request.entry).suffix in ("", ".py", ".pyw")
    if request.readiness != "auto" or (request.token is not None and is_python):
        return request.readiness
    return "process"


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise FolderRefused(
            f"the folder {folder} does not exist",
            hint="a name alone is a folder in BOTS_BASE_PATH; give any other by its path",
        )


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
