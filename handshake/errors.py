"""Exceptions of the protocol."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a message was refused; ``handshake_events`` stores these values."""

    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    REPLAYED = "replayed"
    UNKNOWN_NODE = "unknown_node"
    REVOKED_LICENSE = "revoked_license"
    WRONG_AUTHOR = "wrong_author"
    MALFORMED = "malformed"
    STALE_EPOCH = "stale_epoch"


class HandshakeError(Exception):
    """Base class of the protocol's errors."""


class Refused(HandshakeError):
    """A message that must not be trusted.

    Parameters
    ----------
    reason
        One of the recorded reasons.
    detail
        For the ledger and the log; never sent to the author of the message.
    claimed_node_id
        The node that the message claims to be from; not verified.
    message_type
        The type that the message claims, if it could be read.
    """

    def __init__(
        self, reason: Reason, detail: str, *, claimed_node_id: str | None = None, message_type: str = ""
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.claimed_node_id = claimed_node_id
        self.message_type = message_type


class BootError(HandshakeError):
    """The boot document could not be read."""


class ManifestError(HandshakeError):
    """A node's manifest is missing or wrong; the message names the file and what to do."""


class BundleError(HandshakeError):
    """A bundle of a patch, or what it says, is not acceptable."""


class TransportError(HandshakeError):
    """A message could not be delivered."""
