"""Bundles that come as attachments: downloaded within bounds, and handed on as a file of the master's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import discord

from handshake.files import open_regular
from handshake.patch_bundle import MAX_BUNDLE_BYTES
from handshake.patch_document import SUFFIX
from master.services.core.discord_port import DiscordPort, PostedAttachment
from master.services.core.errors import FilesFailed
from master.services.patches.errors import PatchRefused

INCOMING = "incoming"
"""A folder below the folder of bundles; what is in it is of a download that goes on, or was cut off."""


@asynccontextmanager
async def downloaded(port: DiscordPort, attachment: discord.Attachment, bundles: Path) -> AsyncIterator[Path]:
    """Download an attachment into a file that lasts as long as the block.

    Raises
    ------
    PatchRefused
        It is larger than any patch.
    DiscordPortError
        It cannot be downloaded, or not in time.
    FilesFailed
        There is no room for it.
    """
    if attachment.size > MAX_BUNDLE_BYTES:
        raise PatchRefused(f"{attachment.filename[:100]!r} is larger than any patch", hint=_MADE_WITH)
    posted = PostedAttachment(id=attachment.id, name=attachment.filename, size=attachment.size, url=attachment.url)
    content = await port.download(posted, max_bytes=MAX_BUNDLE_BYTES)
    # The name is ours: of what somebody called it nothing becomes a path.
    path = bundles / INCOMING / f"{secrets.token_hex(16)}{SUFFIX}"
    try:
        await asyncio.to_thread(_write, path, content)
        yield path
    finally:
        await asyncio.to_thread(_remove, path)


_MADE_WITH = "`fleet patch build` makes patches, and `fleet patch sign` signs them"


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as stream:
            stream.write(content)
    except OSError as error:
        raise FilesFailed(
            f"the attachment cannot be kept in {path.parent}: {error.strerror}", hint="`fleet doctor` looks at the disk"
        ) from error


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
