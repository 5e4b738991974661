"""Rate limits: https://discord.com/developers/docs/topics/rate-limits. Buckets by route and major parameter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

GLOBAL_LIMIT, GLOBAL_WINDOW_S = 50, 1.0


@dataclass(slots=True)
class _Bucket:
    limit: int
    window_s: float
    used: int = 0
    resets_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request is admitted, and the rate limit headers of its response."""

    headers: dict[str, str]
    retry_after_s: float | None = None
    is_global: bool = False


_REACTION = "/channels/{channel_id}/messages/{message_id}/reactions/{emoji_name}"
# Method and path -> requests and seconds. Discord does not publish its limits; these were observed.
_LIMITS: dict[tuple[str, str], tuple[int, float]] = {
    ("POST", "/channels/{channel_id}/messages"): (5, 5.0),
    ("PATCH", "/channels/{channel_id}/messages/{message_id}"): (5, 5.0),
    ("PUT", _REACTION + "/@me"): (1, 0.25),
    ("DELETE", _REACTION + "/@me"): (1, 0.25),
    ("DELETE", _REACTION + "/{user_id}"): (1, 0.25),
    ("POST", "/guilds/{guild_id}/channels"): (50, 10.0),
    # discord/discord-api-docs#2190; an edit of the name or topic has a limit of its own beside it, below.
    ("PATCH", "/channels/{channel_id}"): (10, 15.0),
    ("POST", "/webhooks/{webhook_id}/{webhook_token}"): (5, 2.0),
    ("PUT", "/applications/{application_id}/commands"): (20, 60.0),
}
_DEFAULT = (50, 1.0)
NAME_EDITS, NAME_WINDOW_S = 2, 600.0
"""Edits of a channel's name or topic, by all bots together. No header shows it: discord/discord-api-docs#1900."""


class RateLimits:
    """Counts requests per bot, route and major parameter.

    Parameters
    ----------
    clock
        Returns Unix time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[tuple[int, str, str, str], _Bucket] = {}
        self._global: dict[int, _Bucket] = {}
        self.enabled = True
        self.refused = 0
        """Number of requests refused with 429."""

    def admit(self, bot_id: int, method: str, route: str, major: str) -> Verdict:
        """Count a request of a bot; webhooks and callbacks have bot id 0 and no global limit."""
        now = self._clock()
        if bot_id and not self._take(self._global.setdefault(bot_id, _Bucket(GLOBAL_LIMIT, GLOBAL_WINDOW_S)), now):
            wait_s = max(self._global[bot_id].resets_at - now, 0.001)
            return self._refuse(Verdict({"X-RateLimit-Global": "true"}, wait_s, is_global=True))
        key = (bot_id, method, route, major)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(*_LIMITS.get((method, route), _DEFAULT))
        passed = self._take(bucket, now)
        name = hashlib.sha256(f"{method} {route}".encode()).hexdigest()[:16]
        headers = {
            "X-RateLimit-Limit": str(bucket.limit),
            "X-RateLimit-Remaining": str(max(bucket.limit - bucket.used, 0)),
            "X-RateLimit-Reset": f"{bucket.resets_at:.3f}",
            "X-RateLimit-Reset-After": f"{max(bucket.resets_at - now, 0):.3f}",
            "X-RateLimit-Bucket": name,
        }
        if passed:
            return Verdict(headers)
        return self._refuse(Verdict({**headers, "X-RateLimit-Scope": "user"}, max(bucket.resets_at - now, 0.001)))

    def admit_name_edit(self, channel_id: int) -> float | None:
        """Count an edit of a channel's name or topic; returns how long to wait when it is refused."""
        now = self._clock()
        key = (0, "PATCH", "name or topic", str(channel_id))
        bucket = self._buckets.setdefault(key, _Bucket(NAME_EDITS, NAME_WINDOW_S))
        if self._take(bucket, now):
            return None
        self.refused += 1
        return max(bucket.resets_at - now, 0.001)

    def _refuse(self, verdict: Verdict) -> Verdict:
        self.refused += 1
        return verdict

    def _take(self, bucket: _Bucket, now: float) -> bool:
        if now >= bucket.resets_at:
            bucket.used, bucket.resets_at = 0, now + bucket.window_s
        if self.enabled and bucket.used >= bucket.limit:
            return False
        bucket.used += 1
        return True
