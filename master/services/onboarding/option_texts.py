"""Options of a node as people type and read them: ``KEY=VALUE``, with the keys of NODES."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_origin

from master.configuration.node_options import OptionsRefused
from master.configuration.reading import nearest
from master.configuration.settings import NodeSettings
from master.configuration.tree import SettingField, fields_of

PRIORITY = "PRIORITY"
"""Kept in a column of its own: the start order is read from it."""
FIELDS: Mapping[str, SettingField] = {field.key: field for field in fields_of(NodeSettings, "node start")}
"""What NODES can say of a node, by key."""

_SIZE = re.compile(r"(\d+)\s*([KMG])i?B?", re.IGNORECASE)
_FACTORS = {"K": 2**10, "M": 2**20, "G": 2**30}
_YES, _NO = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


def field_of(key: str) -> SettingField:
    """Return what a key of NODES stands for, in capitals or not.

    Raises
    ------
    OptionsRefused
    """
    field = FIELDS.get(key.upper())
    if field is None:
        raise OptionsRefused(f"{key[:60]} is not known", hint=nearest(key, FIELDS))
    return field


def read_option(field: SettingField, text: str) -> Any:
    """Return a value as in config.py; what is not valid is left as the text, for its own check to refuse."""
    text, kind = text.strip(), field.shape.kind
    if kind is int:
        return _read_number(field.key, text)
    if kind is bool:
        word = text.casefold()
        return word in _YES if word in _YES | _NO else text
    if get_origin(kind) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _read_number(key: str, text: str) -> int | str:
    size = _SIZE.fullmatch(text)
    if size is not None and key.endswith("_BYTES"):
        return int(size[1]) * _FACTORS[size[2].upper()]
    plain = text.replace("_", "").replace(",", "")
    return int(plain) if plain.isascii() and plain.isdecimal() and len(plain) <= 20 else text


def shown_value(key: str, value: Any) -> str:
    """Return a value as text; empty for none. Of variables only the names: their values may be secrets."""
    if value is None or value == () or value == {}:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(value)
    if isinstance(value, tuple | list):
        return ", ".join(str(part) for part in value)
    if key.endswith("_BYTES") and not value:
        return "no limit"
    if key.endswith("_BYTES") and isinstance(value, int) and value % 2**20 == 0:
        return f"{value >> 20}M"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
