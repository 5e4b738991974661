"""The exit codes of a node; docs/writing-a-node.md tells operators what they mean."""

from __future__ import annotations

from enum import IntEnum


class NodeExit(IntEnum):
    """Why a node ended."""

    ASKED = 0
    CONFIGURATION = 64
    """No token, or a bad boot document."""
    TOKEN = 65
    """Discord refuses the token."""
    INTENTS = 66
    """Discord refuses the intents."""
    LICENCE = 67
    """The master does not accept the node."""
    IDENTIFIES = 68
    """The token's IDENTIFYs of today are spent."""
    UNREACHABLE = 69
    """A call to Discord failed in the program's own ``setup_hook``; login and connection wait for Discord."""
    UNEXPECTED = 70
