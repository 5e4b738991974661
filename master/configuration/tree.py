"""What the types of the settings say beside their kind: a key, bounds, a wording, and when a change takes effect.

Whoever reads, compares or documents settings walks :func:`fields_of`; nothing but the types says which settings exist.
"""

from __future__ import annotations

import functools
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Meta
from msgspec.structs import FieldInfo, fields

Effect = Literal["now", "node start", "restart"]
"""When a changed setting acts: after ``fleet reload``, at a node's next start, at the master's next start."""

NOW = Meta(extra={"effect": "now"})
AT_NODE_START = Meta(extra={"effect": "node start"})
AT_RESTART = Meta(extra={"effect": "restart"})
"""Needed only below a section that is marked otherwise: what nobody marked takes effect at a restart."""
NOT_IN_CONFIG = Meta(extra={"key": ""})
"""The program's own: it has no key in config.py, and `fleet reload` does not look at it."""


def key(name: str) -> Meta:
    """Name the key in config.py where it is not the field's name in upper case."""
    return Meta(extra={"key": name})


def left_out(value: Any) -> Meta:
    """Say what stands for a key that is left out, where that is not the value that the field has then."""
    return Meta(extra={"left_out": value})


def checked_as(form: str) -> Meta:
    """Name the reader's function that a value has to pass (``Reader``'s ``forms``)."""
    return Meta(extra={"form": form})


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What one value has to be."""

    kind: Any
    """The type, without ``Annotated`` and without ``None``."""
    optional: bool = False
    least: float | None = None
    most: float | None = None
    pattern: str | None = None
    wording: str = ""
    """What to write instead of a wrong value; empty: kind and bounds say it."""
    form: str = ""


class SettingField(msgspec.Struct, frozen=True, kw_only=True):
    """One setting, or one section of them."""

    name: str
    key: str
    """Its name in config.py; empty when it has none."""
    shape: Shape
    effect: Effect
    info: FieldInfo
    left_out: Any = UNSET

    @property
    def default(self) -> Any:
        """The value of a key that is left out; UNSET when it must not be."""
        if self.left_out is not UNSET:
            return self.left_out
        if self.info.default_factory is not msgspec.NODEFAULT:
            return self.info.default_factory()
        return UNSET if self.info.required else self.info.default


@functools.cache
def fields_of(struct_type: type[msgspec.Struct], inherited: Effect = "restart") -> tuple[SettingField, ...]:
    """Return the settings of a section, in their order.

    Parameters
    ----------
    inherited
        When a setting takes effect that does not say so itself: the section's word.
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
    """Return what a type, with its ``Annotated`` and ``| None``, asks of a value."""
    kind, optional, metas = _unwrap(annotation)
    found: dict[str, Any] = {}
    for meta in metas:
        said = {"least": meta.ge, "most": meta.le, "pattern": meta.pattern, "wording": meta.description}
        found.update({name: value for name, value in said.items() if value is not None})
        found.update({"form": meta.extra["form"]} if meta.extra and "form" in meta.extra else {})
    return Shape(kind=kind, optional=optional, **found)


def _unwrap(annotation: Any) -> tuple[Any, bool, list[Meta]]:
    """Take ``Annotated`` and ``| None`` off a type."""
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
    """Tell whether a value is a Struct of settings itself."""
    return isinstance(shape.kind, type) and issubclass(shape.kind, msgspec.Struct)


def section_by_name(shape: Shape) -> type[msgspec.Struct] | None:
    """Return the Struct of a mapping from names to Structs, as NODES is one; None for anything else."""
    arguments = get_args(shape.kind)
    is_mapping = len(arguments) == 2 and arguments[0] is str and isinstance(arguments[1], type)
    return arguments[1] if is_mapping and issubclass(arguments[1], msgspec.Struct) else None
