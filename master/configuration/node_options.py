"""What a node was registered with, under the keys of NODES: the ledger keeps it as JSON, and config.py overrides it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from msgspec import structs

from master.configuration.checks import secrets_opened_by
from master.configuration.loading import FORMS
from master.configuration.reading import Reader
from master.configuration.settings import NodeSettings, Settings
from master.configuration.tree import fields_of
from master.errors import ExitCode, FleetError

MAX_OPTIONS_CHARACTERS = 4_000
"""As wide as the ledger's column."""
_NOT_STORED = frozenset({"ENV"})
"""Its values may be secrets, which belong into a file (ENV_FILE)."""


class OptionsRefused(FleetError):
    """An option of a node is not known, or its value not valid."""

    code: ClassVar[str] = "options_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


def encode_options(options: Mapping[str, Any], home: Path) -> str:
    """Return options as the ledger stores them, once they were found valid; empty for none.

    Parameters
    ----------
    options
        By their keys in NODES, with values as in config.py. None takes an option away.
    home
        Base of relative paths.

    Raises
    ------
    OptionsRefused
    """
    chosen = {key: value for key, value in options.items() if value is not None}
    for key in _NOT_STORED & chosen.keys():
        raise OptionsRefused(f"{key} is not stored with a node", hint="put the variables into a file, and name it")
    if not chosen:
        return ""
    text = msgspec.json.encode(chosen, order="deterministic").decode()
    _parse(text, home)
    if len(text) > MAX_OPTIONS_CHARACTERS:
        raise OptionsRefused(f"the options have {len(text)} characters", hint="put them into NODES in config.py")
    return text


def require_closed(settings: Settings, own: NodeSettings) -> None:
    """Check that a node's settings do not open the secrets of the fleet to it. Blocks.

    Raises
    ------
    OptionsRefused
    """
    for problem in secrets_opened_by(settings, own):
        raise OptionsRefused(f"{problem.key}: {problem.problem}", hint=problem.fix)


def decode_options(text: str) -> dict[str, Any]:
    """Return stored options by their keys in NODES."""
    return msgspec.json.decode(text, type=dict[str, Any]) if text else {}


@functools.lru_cache(maxsize=512)
def _parse(text: str, home: Path) -> NodeSettings:
    reader = Reader(home, FORMS)
    found = NodeSettings(**reader.section(NodeSettings, decode_options(text)))
    if reader.problems:
        first = reader.problems[0]
        raise OptionsRefused(f"{first.key}: {first.problem}", hint=first.fix)
    return found


def settings_of(settings: Settings, name: str, options: str) -> NodeSettings:
    """Return a node's settings: what NODES says of it, and else what it was registered with.

    Parameters
    ----------
    options
        As the ledger has them.

    Raises
    ------
    OptionsRefused
        They are not valid, for example in a ledger of another version.
    """
    configured = settings.node(name)
    if not options:
        return configured
    given = _parse(options, settings.home)
    said = {field.name: getattr(configured, field.name) for field in fields_of(NodeSettings)}
    defaults = NodeSettings()
    changed = {key: value for key, value in said.items() if value != getattr(defaults, key)}
    return structs.replace(given, **changed)
