"""What a copy of a node needs beside the files of its folder: its options, and its environment without the token.

The functions block; call them in a worker thread.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from handshake.files import read_regular
from master.configuration.node_options import decode_options
from master.ledger.rows.records import Node, ReadinessKind
from master.services.core.errors import CopyRefused
from master.services.fleet.environment_files import read_environment
from master.supervision.errors import SpawnFailed

log = logging.getLogger(__name__)

ENV_NAME = ".env"
_MAX_BYTES = 256 * 1024
_TOKEN_LIKE = re.compile(r"[\w-]{20,}\.[\w-]{5,8}\.[\w-]{25,}")
"""What looks like a bot's token: https://docs.discord.com/developers/reference#authentication"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """What a copy takes along."""

    env_text: bytes = field(default=b"", repr=False)
    """For the ``.env`` in its folder; empty for none."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """For a file of variables of its own, where the source has one."""
    notes: tuple[str, ...] = ()


def require_copyable(node: Node) -> None:
    """Check that a copy of a node would get a token: the fleet hands one over to programs that take it.

    Raises
    ------
    CopyRefused
    """
    if node.readiness is ReadinessKind.HANDSHAKE:
        return
    raise CopyRefused(
        f"{node.name} finds its token itself, so a copy would run as {node.name}, or not at all",
        hint="copy its folder by hand, put the new bot's token where the program reads it, and register that:\n"
        f"  fleet register NAME --folder {node.folder}-2 --entry {node.entry or 'FILE'}",
    )


def belongings_of(node: Node, folder: Path, name: str, token_variable: str, home: Path) -> Belongings:
    """Return what a copy of ``node`` called ``name`` takes along.

    Parameters
    ----------
    folder
        The node's.
    token_variable
        In which a linked program reads its token; empty for a program of ours, which need not read a ``.env``.
    home
        The fleet's, from which its file of variables may be named.
    """
    notes = []
    env_text = b""
    if (folder / ENV_NAME).is_file():
        if token_variable:
            env_text = _without_tokens(folder / ENV_NAME, token_variable)
            notes.append(f"it has the {ENV_NAME} of {node.name}, without the token")
        else:
            notes.append(f"the {ENV_NAME} of {node.name} is not copied: put there what {name} needs")
    own = next((found for found in (".venv", "venv") if (folder / found).is_dir()), "")
    if own:
        requirements = " -r requirements.txt" if (folder / "requirements.txt").is_file() else " ..."
        notes.append(
            f"the {own} of {node.name} is not copied, so {name} runs on the master's Python; for its own, in its "
            f"folder: python3 -m venv {own} && {own}/bin/pip install{requirements}, then fleet restart {name}"
        )
    return Belongings(env_text=env_text, environment=_environment_of(node, folder, home), notes=tuple(notes))


def _environment_of(node: Node, folder: Path, home: Path) -> dict[str, str]:
    named = decode_options(node.options).get("ENV_FILE")
    if not isinstance(named, str):
        return {}
    try:
        values = read_environment(home / named, folder).values
    except SpawnFailed as error:
        log.warning("a node's variables are not copied", extra={"node": node.name, "why": error.message})
        return {}
    return {key: value for key, value in values.items() if _TOKEN_LIKE.search(value) is None}


def _without_tokens(path: Path, token_variable: str) -> bytes:
    """Return the lines of a file of variables that hold no bot's token."""
    try:
        text = read_regular(path, _MAX_BYTES).decode("utf-8", "replace")
    except OSError as error:
        log.warning("a .env is not copied", extra={"path": str(path), "why": error.strerror})
        return b""
    of_token = re.compile(rf"\s*(?:export\s+)?{re.escape(token_variable)}\s*=")
    kept = [line for line in text.splitlines(keepends=True) if not (of_token.match(line) or _TOKEN_LIKE.search(line))]
    return "".join(kept).encode()
