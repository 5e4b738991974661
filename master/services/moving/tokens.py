"""The bot's token among a program's variables: which of them it is, without showing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from handshake.redaction import Secret
from master.security.tokens import claimed_user_id

TOKEN_NAMES = ("DISCORD_TOKEN", "DISCORD_BOT_TOKEN", "BOT_TOKEN", "TOKEN", "CLIENT_TOKEN", "DISCORD_API_TOKEN")
"""The names that bots use, in the order in which they are believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundToken:
    """A token, and where it was found."""

    token: Secret[str]
    variable: str
    others: tuple[str, ...] = ()
    """Variables with the tokens of further bots."""

    @property
    def claimed_user_id(self) -> int | None:
        """The user id that it begins with; None for a token of another shape."""
        return claimed_user_id(self.token.reveal())


def find_token(environment: Mapping[str, str]) -> FoundToken | None:
    """Return the variable that holds a bot's token: one of Discord's shape, or one that is called as tokens are."""
    shaped = [name for name, value in environment.items() if claimed_user_id(value.strip()) is not None]
    named = [name for name in TOKEN_NAMES if environment.get(name, "").strip()]
    candidates = [*(name for name in TOKEN_NAMES if name in shaped), *sorted(shaped), *named]
    if not candidates:
        return None
    first = environment[candidates[0]].strip()
    others = dict.fromkeys(name for name in shaped if environment[name].strip() != first)
    return FoundToken(token=Secret(first), variable=candidates[0], others=tuple(others))


def shows_token(words: Iterable[str]) -> bool:
    """Tell whether a command line holds a token of Discord's shape."""
    return any(claimed_user_id(part) is not None for word in words for part in word.split("="))
