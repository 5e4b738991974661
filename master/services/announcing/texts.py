"""A text as a place takes it: cut to what fits there, and nobody mentioned. Imported by the child process too."""

from __future__ import annotations

import re

import msgspec

MAX_CHARACTERS, MAX_TITLE_CHARACTERS = 10_000, 200
_ELLIPSIS = "…"
# An at sign inside a word belongs to an address; after a letter nobody is mentioned.
_MENTION = re.compile(r"(?<![\w.+-])@(?=[\w&!])")
_APART = "\u200b"
"""Between an at sign and a name, so that no place reads them as a mention."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a place takes."""

    text: int
    """Characters; 0: no limit."""
    title: int = 0
    """Characters; 0: it has no title, which becomes the text's first line."""
    service: str = ""
    """What it is, such as ``Mastodon``."""


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent to a place."""

    title: str
    text: str
    cut: int = 0
    """How many characters did not fit."""


def fit(title: str, text: str, limits: Limits) -> Fitted:
    """Return a text as a place takes it."""
    title, text = unmentioned(title), unmentioned(text)
    cut = 0
    if title and not limits.title:
        title, text = "", f"{title}\n\n{text}"
    elif len(title) > limits.title:
        kept = _cut(title, limits.title)
        cut, title = len(title) - len(kept) + 1, kept
    if limits.text and len(text) > limits.text:
        kept = _cut(text, limits.text)
        cut, text = cut + len(text) - len(kept) + 1, kept
    return Fitted(title=title, text=text, cut=cut)


def _cut(text: str, most: int) -> str:
    """Return the beginning of a text, to the end of a word where one is near."""
    kept = text[: most - 1]
    space = max(kept.rfind(" "), kept.rfind("\n"))
    if space > most * 0.8:
        kept = kept[:space]
    return kept.rstrip() + _ELLIPSIS


def unmentioned(text: str) -> str:
    """Return a text that mentions nobody, neither on Discord nor on Mastodon; addresses of mail stay as they are."""
    return _MENTION.sub(f"@{_APART}", text)
