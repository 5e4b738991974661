"""Metadata in the types of the settings: key, bounds, wording, and when a change takes effect.

Code that reads, compares or documents settings uses :func:`fields_of`; the types are the only list of settings.
"""

from __future__ import annotations

import functools
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Meta
from msgspec.structs import FieldInfo, fields

Effect = Literal["now", "node start", "restart"]
"""When a change takes effect: after ``fleet reload``, at a node's next start, or at the master's next start."""

NOW = Meta(extra={"effect": "now"})
AT_NODE_START = Meta(extra={"effect": "node start"})
AT_RESTART = Meta(extra={"effect": "restart"})
"""Only needed in a section with another mark: unmarked settings take effect at a restart."""
NOT_IN_CONFIG = Meta(extra={"key": ""})
"""Internal: it has no key in config.py, and `fleet reload` ignores it."""


def key(name: str) -> Meta:
    """Set the key in config.py, if it is not the field's name in upper case."""
    return Meta(extra={"key": name})


def left_out(value: Any) -> Meta:
    """Set the config value that a missing key stands for, if it is not the field's default itself."""
    return Meta(extra={"left_out": value})


def checked_as(form: str) -> Meta:
    """Name the parser of a value (one of ``Reader``'s ``forms``)."""
    return Meta(extra={"form": form})


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Type and constraints of one value."""

    kind: Any
    """The type, without ``Annotated`` and without ``None``."""
    optional: bool = False
    least: float | None = None
    most: float | None = None
    fewest: int = 0
    """Of entries, where there may be several."""
    pattern: str | None = None
    wording: str = ""
    """What to write instead of a wrong value; if empty, derived from kind and bounds."""
    form: str = ""


class SettingField(msgspec.Struct, frozen=True, kw_only=True):
    """One setting, or one section of them."""

    name: str
    key: str
    """Its key in config.py; empty if it has none."""
    shape: Shape
    effect: Effect
    info: FieldInfo
    left_out: Any = UNSET

    @property
    def default(self) -> Any:
        """The value of a missing key; UNSET if the key is required."""
        if self.left_out is not UNSET:
            return self.left_out
        if self.info.default_factory is not msgspec.NODEFAULT:
            return self.info.default_factory()
        return UNSET if self.info.required else self.info.default


@functools.cache
def fields_of(struct_type: type[msgspec.Struct], inherited: Effect = "restart") -> tuple[SettingField, ...]:
    """Return the settings of a section, in order.

    Parameters
    ----------
    inherited
        The section's effect, for settings without their own.
    """
    return tuple(_describe(info, inherited) for info in fields(struct_type))


def _describe(info: FieldInfo, inherited: Effect) -> SettingField:
    marks: dict[str, Any] = {}
    for meta in _unwrap(info.type)[2]:
        marks.update(meta.extra or {})
    return SettingField(
        name=info.name,
        key=marks.get("key", info.name.upper()),
        shape=shape_of(info.type),
        effect=marks.get("effect", inherited),
        info=info,
        left_out=marks.get("left_out", UNSET),
    )


def shape_of(annotation: Any) -> Shape:
    """Return the shape that a type, with ``Annotated`` and ``| None``, requires of a value."""
    kind, optional, metas = _unwrap(annotation)
    found: dict[str, Any] = {}
    for meta in metas:
        said = {"least": meta.ge, "most": meta.le, "pattern": meta.pattern, "wording": meta.description}
        found.update({name: value for name, value in said.items() if value is not None})
        found.update({"fewest": meta.min_length} if meta.min_length is not None else {})
        found.update({"form": meta.extra["form"]} if meta.extra and "form" in meta.extra else {})
    return Shape(kind=kind, optional=optional, **found)


def _unwrap(annotation: Any) -> tuple[Any, bool, list[Meta]]:
    """Remove ``Annotated`` and ``| None`` from a type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kind, optional, metas = _unwrap(arguments[0])
        return kind, optional, metas + [meta for meta in arguments[1:] if isinstance(meta, Meta)]
    if origin in (Union, UnionType) and NoneType in arguments:
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        kind, _, metas = _unwrap(inner)
        return kind, True, metas
    return annotation, False, []


def is_section(shape: Shape) -> bool:
    """Tell whether a value is a nested Struct of settings."""
    return isinstance(shape.kind, type) and issubclass(shape.kind, msgspec.Struct)


def section_by_name(shape: Shape) -> type[msgspec.Struct] | None:
    """Return the Struct of a mapping from names to Structs, such as NODES; None for other types."""
    arguments = get_args(shape.kind)
    is_mapping = len(arguments) == 2 and arguments[0] is str and isinstance(arguments[1], type)
    return arguments[1] if is_mapping and issubclass(arguments[1], msgspec.Struct) else None
