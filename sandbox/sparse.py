"""Leaves out what Discord's documentation does not require, so that nobody comes to rely on it."""

from __future__ import annotations

from typing import Any

_OPTIONAL: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    # What only such an object has, and its fields that may be missing.
    (
        frozenset({"discriminator"}),
        frozenset({"email", "verified", "public_flags", "flags", "mfa_enabled", "locale"}),
    ),
    (
        # The document lets more be missing of an application; discord.py 2.7 cannot log in without it.
        frozenset({"verify_key"}),
        frozenset({"bot"}),
    ),
    (
        frozenset({"rate_limit_per_user"}),
        frozenset({"nsfw", "topic", "last_message_id", "rate_limit_per_user"}),
    ),
    (
        frozenset({"author", "channel_id"}),
        frozenset({"nonce", "application_id", "interaction_metadata", "interaction"}),
    ),
    (
        frozenset({"proxy_url", "size"}),
        frozenset({"content_type", "description", "ephemeral"}),
    ),
    (
        # Of a reaction; one that is taken off has no author either.
        frozenset({"message_id", "emoji", "burst"}),
        frozenset({"message_author_id"}),
    ),
    (
        frozenset({"default_member_permissions"}),
        frozenset({"contexts", "dm_permission", "nsfw"}),
    ),
    (
        frozenset({"token", "application_id", "version"}),
        frozenset({"channel", "guild", "guild_locale", "locale", "attachment_size_limit"}),
    ),
)
_REQUIRED_IN_REST = frozenset({"public_flags", "flags", "mfa_enabled", "locale"})
"""Of a user: the reference calls them optional, the OpenAPI document requires them in what REST answers."""


def thinned(payload: Any, *, rest: bool = False) -> Any:
    """Return a payload without the fields that may be missing.

    Parameters
    ----------
    rest
        Keep what the OpenAPI document requires, beyond the reference.
    """
    if isinstance(payload, list):
        return [thinned(item, rest=rest) for item in payload]
    if not isinstance(payload, dict):
        return payload
    absent: set[str] = set()
    for marks, optional in _OPTIONAL:
        if marks <= payload.keys():
            absent |= optional
    if rest:
        absent -= _REQUIRED_IN_REST
    return {name: thinned(value, rest=rest) for name, value in payload.items() if name not in absent}
