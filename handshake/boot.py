"""The boot document: a node's secrets and settings, passed through an inherited descriptor.

It is never on disk, in argv or in the environment.
"""

from __future__ import annotations

import os
import select
from collections.abc import MutableMapping
from typing import Literal

import msgspec

from handshake.errors import BootError
from handshake.memory import hide_memory

BOOT_FD_VARIABLE = "FLEET_BOOT_FD"
"""Environment variable with the number of the descriptor; the number is not secret."""
MAX_BOOT_BYTES = 60_000
"""Less than a pipe's capacity (64 KiB), so that writing never blocks."""


class BootDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a supervised node needs to know. Its ``repr`` shows no secret."""

    version: Literal[1] = 1
    node_id: str
    name: str
    token: str
    """The Discord bot token."""
    token_variable: str = ""
    """For a linked program: the environment variable in which it reads its token. Empty for all others."""
    key: bytes
    """The node's own signing key."""
    key_epoch: int
    master_user_id: int = 0
    """The only Discord author whose messages count as the master's; 0 when the master is not on Discord."""
    verify_channel_id: int = 0
    socket_path: str | None = None
    transport: Literal["auto", "local", "channel"] = "auto"
    pulse_interval_s: float = 9.0
    channel_pulse_interval_s: float = 240.0
    api_base: str | None = None
    gateway_url: str | None = None

    def __repr__(self) -> str:
        return f"BootDocument(node_id={self.node_id!r}, name={self.name!r}, ...)"


def encode_boot(document: BootDocument) -> bytes:
    """Serialise a boot document.

    Raises
    ------
    BootError
        It does not fit into a pipe.
    """
    payload = msgspec.json.encode(document)
    if len(payload) > MAX_BOOT_BYTES:
        raise BootError(f"the boot document of {document.name} has {len(payload)} bytes")
    return payload


def read_boot(environment: MutableMapping[str, str]) -> BootDocument | None:
    """Read the boot document from the descriptor that ``environment`` names; None when it names none.

    The descriptor is closed and the variable removed, so that child processes of the node get neither.

    Raises
    ------
    BootError
        The descriptor cannot be read, or its content is not a boot document.
    """
    number = environment.pop(BOOT_FD_VARIABLE, None)
    if number is None:
        return None
    if not number.isdecimal():
        raise BootError(f"{BOOT_FD_VARIABLE} is not the number of a descriptor")
    try:
        with os.fdopen(int(number), "rb") as stream:
            # Before the secrets arrive, and after the master has opened what it wants to read of this process.
            waiting = select.poll()
            waiting.register(stream, select.POLLIN)
            waiting.poll()
            hide_memory()
            payload = stream.read(MAX_BOOT_BYTES + 1)
        return msgspec.json.decode(payload, type=BootDocument)
    except OSError as error:
        raise BootError(f"the boot descriptor {number} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError:
        # Not chained: the decoder's message may quote the document.
        raise BootError("the boot document is not valid; master and node may be of different versions") from None
