"""Differences between two versions of the settings, and which of them a running master can apply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from handshake.redaction import Secret
from master.configuration.settings import Settings
from master.configuration.tree import Effect, SettingField, fields_of, is_section, section_by_name

Struct = TypeVar("Struct", bound=msgspec.Struct)


class Change(NamedTuple):
    """A changed setting; without its values, since some are secrets."""

    key: str
    """As in config.py: ``SUPERVISION['GRACE_S']``."""
    effect: Effect


def changes(old: Settings, new: Settings) -> list[Change]:
    """Return the changed settings, in the order of their definition."""
    return list(_changes(old, new, "restart", ""))


def _changes(old: msgspec.Struct, new: msgspec.Struct, inherited: Effect, at: str) -> Iterator[Change]:
    for field in fields_of(type(old), inherited):
        if not field.key:
            continue
        key = f"{at}[{field.key!r}]" if at else field.key
        before, after = getattr(old, field.name), getattr(new, field.name)
        if is_section(field.shape):
            yield from _changes(before, after, field.effect, key)
        elif (entry := section_by_name(field.shape)) is not None:
            for name in sorted({*before, *after}):
                # A missing section equals one with defaults.
                pair = before.get(name) or entry(), after.get(name) or entry()
                yield from _changes(*pair, field.effect, f"{key}[{name!r}]")
        elif _plain(before) != _plain(after):
            yield Change(key, field.effect)


def _plain(value: Any) -> Any:
    """Return a comparable value: a secret is not comparable itself."""
    return value.reveal() if isinstance(value, Secret) else value


def take_over(old: Settings, new: Settings) -> Settings:
    """Return ``new``, but with the values of ``old`` for settings that need a restart."""
    return _taken_over(old, new, "restart")


def _taken_over(old: Struct, new: Struct, inherited: Effect) -> Struct:
    fields = fields_of(type(old), inherited)
    return replace(old, **{field.name: _merged(field, old, new) for field in fields if field.key})


def _merged(field: SettingField, old: Any, new: Any) -> Any:
    before, after = getattr(old, field.name), getattr(new, field.name)
    if is_section(field.shape):
        return _taken_over(before, after, field.effect)
    if (entry := section_by_name(field.shape)) is not None:
        return _merged_by_name(field, entry, before, after)
    return before if field.effect == "restart" else after


def _merged_by_name(
    field: SettingField, entry: type[msgspec.Struct], before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    found = {
        name: _taken_over(before.get(name) or entry(), after.get(name) or entry(), field.effect)
        for name in {**before, **after}
    }
    return {name: own for name, own in found.items() if name in after or own != entry()}
