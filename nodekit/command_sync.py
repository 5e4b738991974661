"""Registers slash commands with Discord, only if they changed: Discord limits registrations."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from discord import app_commands

from nodekit.call_failures import ANY_FAILURE

log = logging.getLogger(__name__)

NOTE_NAME = ".commands"


async def sync_commands(tree: app_commands.CommandTree[Any], folder: Path, *, always: bool = False) -> Exception | None:
    """Register a tree's commands if they differ from the fingerprint in the folder; returns the error on failure.

    On failure the bot keeps the commands that were registered before.

    Parameters
    ----------
    always
        Register them even if they are the same.
    """
    payload = [command.to_dict(tree) for command in tree.get_commands()]
    content = json.dumps([tree.client.application_id, payload], sort_keys=True)
    fingerprint = hashlib.sha256(content.encode()).hexdigest()
    note = folder / NOTE_NAME
    if not always and note.exists() and note.read_text("utf-8") == fingerprint:
        return None
    try:
        await tree.sync()
    except ANY_FAILURE as error:
        log.warning("slash commands could not be registered: %s", error)
        return error
    try:
        note.write_text(fingerprint, "utf-8")
    except OSError as error:
        # On a full disk they are registered again at the next start.
        log.warning("the fingerprint of the slash commands could not be kept: %s", error.strerror)
    return None
