"""Forms over HTTP, as services see them; ``master.bot.forms`` sends them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec


class FormAnswer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    body: bytes

    def __repr__(self) -> str:
        return f"FormAnswer({self.status})"


PostForm = Callable[[str, Mapping[str, str]], Awaitable[FormAnswer]]
"""Sends a form to a URL; raises OSError if there is no answer."""
