"""What is shown of the server's channels."""

from __future__ import annotations

import msgspec


class ChannelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that the fleet wants."""

    key: str
    name: str
    kind: str
    state: str
    """ok, drift, gone, left, asked, failed, unknown."""
    channel_id: int
    category: str = ""
    config_id: int = 0
    """The old id that config.py still has; 0: it has the one of now, or does not name it."""
    detail: str = ""


class ChannelsView(msgspec.Struct, frozen=True, kw_only=True):
    """All channels that the fleet wants, and what is wrong with the wishes themselves."""

    mode: str
    channels: tuple[ChannelRow, ...]
    troubles: tuple[str, ...] = ()


class DriftRow(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which a channel is not as it has to be, and what would be done about it."""

    key: str
    drift: str
    channel_id: int
    words: str
    plan: str
    """``make anew``, ``change in place``."""
    state: str
    """``due``, ``left``, ``asked``, ``failed``: what becomes of it without anybody asking."""
    obstacle: str = ""
    culprit_id: int | None = None
    culprit: str = ""


class ChannelRepairRow(msgspec.Struct, frozen=True, kw_only=True):
    """A drift on record, and what came of it."""

    id: str
    at: float
    key: str
    drift: str
    words: str
    channel_id: int
    state: str
    culprit_id: int | None = None
    culprit: str = ""
    detail: str = ""
    changed_at: float
    changed_by: str


class CapturedTree(msgspec.Struct, frozen=True, kw_only=True):
    """channels.toml, as it would be written from the server as it is."""

    text: str
    categories: int
    channels: int
