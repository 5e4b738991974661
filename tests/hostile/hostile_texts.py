"""Texts that would act on a terminal, a reader, a log or Discord, and views filled with them."""

from __future__ import annotations

import random
import re
import types
import typing
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

HOSTILE = (
    "[/]",
    "[bold red]x[/bold red][/]",
    "[link=https://evil.example]click[/link]",
    ":skull:",
    "\x1b[2J\x1b[H\x1b[31mred",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "\x1b]0;title\x07",
    "\x9b31mone character",
    "\x9d52;c;ZXZpbA==\x9c",
    "\x1bP+q544e\x1b\\",
    "a\rb\x08\x08\x7f\x0b\x0c",
    "safe\n12:00:00  atlas  ready",
    "nul\x00in it",
    "\u202egnp.exe\u202c \u2066x\u2069 \u200f\u061c",
    "a\u2028b\u2029c\x85d",
    "invisible\u200b\u2060\ufeff\xad\U000e0041\U000e007f",
    "**bold** _it_ ~~no~~ ||spoiler|| `code` ```py\nblock```",
    "[click](https://evil.example) <https://evil.example>",
    "@everyone @here <@123456789012345678> <@&123456789012345678> <#123456789012345678> </x:123456789012345678>",
    "# heading",
    "-# small",
    "> quote",
    "\\",
    "{0} {name} %s %(x)s",
    "x" * 20_000,
    "\u0301" * 500,
    "👩‍🚀 全角 é",
    "",
)

UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""What must not reach a terminal; line feeds are the program's own."""


def filled(kind: Any, chance: random.Random, texts: tuple[str, ...] = HOSTILE) -> Any:
    """Return a value of a type with hostile texts wherever it has room for a text."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return filled(arguments[0], chance, texts)
    if origin is Literal:
        return chance.choice(arguments)
    if origin in (typing.Union, types.UnionType):
        return filled(chance.choice(arguments), chance, texts)
    if origin in (list, tuple):
        items = [filled(arguments[0], chance, texts) for _ in range(chance.randint(1, 3))]
        return items if origin is list else tuple(items)
    if origin is dict:
        return {filled(arguments[0], chance, texts): filled(arguments[1], chance, texts) for _ in range(2)}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: filled(hints[field.name], chance, texts) for field in msgspec.structs.fields(kind)})
    simple: dict[Any, Any] = {str: chance.choice(texts), bool: chance.random() < 0.5, int: 3, float: 2.5}
    return simple.get(kind)
