"""The commands that take a removed node, whose folder was kept, into the fleet again as it was."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from master.configuration.node_options import decode_options
from master.ledger.rows.records import Node, ReadinessKind
from master.services.onboarding.option_texts import PRIORITY, shown_value

_REGISTERED_WITH = {
    "COMMAND": "--command",
    "INTERPRETER": "--interpreter",
    "ARGS": "--args",
    "READY_WHEN": "--ready-when",
    "CRON_RESTART": "--cron",
}
_DEFAULT_ENTRY, _DEFAULT_PRIORITY = "bot.py", 100


def commands_back(node: Node, folder: Path, home: Path, token_variable: str) -> tuple[str, ...]:
    """Return what to type for the node to be as it was; a bot's token is asked for.

    Parameters
    ----------
    home
        Base of relative paths in the node's options.
    token_variable
        In which a linked bot reads its token; empty for any other.
    """
    options = decode_options(node.options)
    typed = ["fleet", "register", node.name, "--folder", str(folder)]
    if node.entry != _DEFAULT_ENTRY and "COMMAND" not in options:
        typed += ["--entry", node.entry]
    for key, option in _REGISTERED_WITH.items():
        if value := options.pop(key, None):
            typed += [option, _one_text(value)]
    if env_file := options.pop("ENV_FILE", None):
        typed += ["--env-file", str(home / env_file)]
    for path in options.pop("WATCH", ()):
        typed += ["--watch", path]
    for tag in node.tags:
        typed += ["--tag", tag]
    if not node.bot_user_id:
        typed.append("--no-token")
    elif token_variable:
        typed += ["--link", "--token-env", token_variable]
    elif node.readiness is ReadinessKind.PROCESS:
        typed += ["--readiness", "process"]
    if node.priority != _DEFAULT_PRIORITY:
        options[PRIORITY] = node.priority
    settings = [part for key, value in options.items() for part in ("--set", f"{key}={_settable(key, value)}")]
    edited = [shlex.join(["fleet", "edit", node.name, *settings])] if settings else []
    return (shlex.join(typed), *edited)


def _one_text(value: Any) -> str:
    return shlex.join(value) if isinstance(value, list) else str(value)


def _settable(key: str, value: Any) -> str:
    return "0" if value == 0 else shown_value(key, value)
