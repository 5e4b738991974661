"""Reads the values of config.py into a tree of Structs, by type. Mistakes are collected and reported together."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_origin

import msgspec
from msgspec import UNSET

from handshake.redaction import Secret
from master.configuration.tree import SettingField, Shape, fields_of, is_section, section_by_name, shape_of
from master.errors import ExitCode, FleetError
from master.wording import visible


class ConfigProblem(msgspec.Struct, frozen=True):
    """One mistake in the config."""

    key: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.key}: {self.problem} -> {self.fix}"


class PathRefused(FleetError):
    """A path that no file can have, or that leads nowhere."""

    code: ClassVar[str] = "path_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.CONFIG


def expanded(path: str | Path) -> Path:
    """Return a path with its ``~`` replaced.

    Raises
    ------
    PathRefused
        There is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise PathRefused(f"{path} names nobody's folder", hint="write it out") from error


def resolved(path: Path) -> Path:
    """Return a path without links; nothing need be there.

    Raises
    ------
    PathRefused
        Its links go in a circle, its name is too long, or it has a NUL.
    """
    try:
        path.stat()
        return path.resolve()
    except (ValueError, RuntimeError) as error:
        # A NUL; before Python 3.13 a circle too.
        raise PathRefused(f"{visible(str(path))} is no usable path", hint="give another one") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            raise PathRefused(f"{path} cannot be used: {error.strerror}", hint="give another path") from error
        return path.resolve()


Form = Callable[[str], Any]
"""Parses a text; raises ``FleetError`` if it is not valid."""


class Reader:
    """Read values by their types, and collect mistakes.

    An invalid value is replaced by its default, or by UNSET without one, so that the rest can be read. The result is
    valid only if ``problems`` is empty.

    Parameters
    ----------
    home
        Base of relative paths.
    forms
        Parsers by name, as the types refer to them (``tree.checked_as``).
    """

    def __init__(self, home: Path, forms: Mapping[str, Form]) -> None:
        self.problems: list[ConfigProblem] = []
        self._home = home
        self._forms = forms

    def report(self, key: str, problem: str, fix: str) -> None:
        """Record a mistake."""
        self.problems.append(ConfigProblem(key, problem, fix))

    def section(
        self, struct_type: type[msgspec.Struct], values: Mapping[Any, Any], at: str = "", **given: Any
    ) -> dict[str, Any]:
        """Read the fields of a Struct.

        Parameters
        ----------
        at
            The section's key; empty for the whole config.
        given
            Fields that do not come from the config.
        """
        described = {field.key: field for field in fields_of(struct_type) if field.key}
        for key in values:
            if key not in described:
                self.report(f"{at}[{key!r}]" if at else str(key), "is not known", nearest(str(key), described))
        return {**{field.name: self._field(field, values, at) for field in described.values()}, **given}

    def _field(self, field: SettingField, values: Mapping[Any, Any], at: str) -> Any:
        key = f"{at}[{field.key!r}]" if at else field.key
        value = values.get(field.key, UNSET)
        if value is None and field.left_out is not UNSET:
            value = UNSET
        if value is not UNSET:
            return self.value(field.shape, value, key, self._default(field))
        if is_section(field.shape):
            return self.value(field.shape, {}, key, UNSET)
        if field.default is UNSET:
            # Its parser has the best message for a missing value.
            return self.value(field.shape, "", key, UNSET)
        return self._default(field)

    def _default(self, field: SettingField) -> Any:
        """Return the value of a missing key; only a ``left_out`` value is in config.py's form, and is converted."""
        if field.left_out is UNSET:
            return field.default
        kind = field.shape.kind
        return self._path(field.left_out, field.key) if kind is Path else Secret(field.left_out)

    def value(self, shape: Shape, value: Any, key: str, default: Any) -> Any:
        """Read one value; returns ``default`` for an invalid one."""
        if shape.optional and (value is None or (value == "" and shape.kind in (str, Secret[str]))):
            return None
        if is_section(shape):
            return self._read_section(shape, value, key)
        read = _READERS[get_origin(shape.kind) or shape.kind]
        found = read(self, shape, value, key)
        return default if found is UNSET else found

    def _wrong(self, shape: Shape, value: Any, key: str, fix: str) -> Any:
        self.report(key, f"is {shown(value)}", shape.wording or fix)
        return UNSET

    def _read_section(self, shape: Shape, value: Any, key: str) -> Any:
        known = [field.key for field in fields_of(shape.kind) if field.key]
        if not isinstance(value, dict):
            self.report(key, f"is {_kind_of(value)}", f"a dict with any of {', '.join(known)}")
            return shape.kind(**Reader(self._home, self._forms).section(shape.kind, {}, key))
        return shape.kind(**self.section(shape.kind, value, key))

    def _read_texts(self, shape: Shape, value: Any, key: str) -> Any:
        """Read a dict of texts; numbers, as people write ports, are taken as their text."""
        right = isinstance(value, dict) and all(isinstance(name, str) and name for name in value)
        if not right or any(isinstance(one, bool) or not isinstance(one, str | int | float) for one in value.values()):
            return self._wrong(Shape(kind=dict), {} if right else value, key, "a dict of texts by name")
        texts = {name: str(one) for name, one in value.items()}
        name_shape, text_shape = map(shape_of, get_args(shape.kind))
        for name, text in texts.items():
            if name_shape.pattern is not None and re.search(name_shape.pattern, name) is None:
                self._wrong(name_shape, name, key, "")
            if text_shape.pattern is not None and re.search(text_shape.pattern, text) is None:
                self._wrong(text_shape, text, f"{key}[{name!r}]", "")
        return texts

    def _read_sections(self, shape: Shape, value: Any, key: str) -> Any:
        struct_type = section_by_name(shape)
        if struct_type is None:
            return self._read_texts(shape, value, key)
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            return self._wrong(shape, value, key, "a dict of names, as in config.example.py")
        found: dict[str, Any] = {}
        for name, entry in value.items():
            if name.casefold() in found:
                self.report(f"{key}[{name!r}]", "is there twice", "names are case-insensitive: remove one")
            found[name.casefold()] = self.value(Shape(kind=struct_type), entry, f"{key}[{name!r}]", None)
        return found

    def _read_bool(self, shape: Shape, value: Any, key: str) -> Any:
        return value if isinstance(value, bool) else self._wrong(shape, value, key, "True or False")

    def _read_number(self, shape: Shape, value: Any, key: str) -> Any:
        if shape.form == "id":
            if value in (None, "", 0) and value is not False:
                return 0
            if isinstance(value, str) and value.isdecimal() and len(value) <= 20:
                value = int(value)
        accepted = (int, float) if shape.kind is float else (int,)
        right = isinstance(value, accepted) and not isinstance(value, bool)
        # Written so that NaN, for which every comparison is false, is refused too.
        if right and (shape.least is None or value >= shape.least) and (shape.most is None or value <= shape.most):
            return shape.kind(value)
        return self._wrong(shape, value, key, _bounds_of(shape))

    def _read_text(self, shape: Shape, value: Any, key: str) -> Any:
        if not isinstance(value, str) or not value:
            return self._wrong(shape, value, key, "a text")
        if shape.pattern is not None and re.search(shape.pattern, value) is None:
            return self._wrong(shape, value, key, f"a text like {shape.pattern}")
        return self._parse(shape, value, key)

    def _parse(self, shape: Shape, text: str, key: str) -> Any:
        if not shape.form:
            return text
        try:
            return self._forms[shape.form](text)
        except FleetError as error:
            self.report(key, error.message, error.hint)
            return UNSET

    def _read_secret(self, shape: Shape, value: Any, key: str) -> Any:
        if not isinstance(value, str) or not (value or shape.form):
            problem = "is empty" if value == "" else f"is {_kind_of(value)}"
            self.report(key, problem, shape.wording or "a text, from .env")
            return UNSET
        found = self._parse(shape, value, key)
        return found if found is UNSET else Secret(found)

    def _read_path(self, shape: Shape, value: Any, key: str) -> Any:
        if isinstance(value, str | Path) and str(value):
            return self._path(value, key)
        return self._wrong(shape, value, key, "the path of a folder, as text")

    def _path(self, value: str | Path, key: str) -> Path:
        try:
            return resolved(self._home / expanded(value))
        except PathRefused as error:
            self.report(key, error.message, error.hint)
            return self._home

    def _read_choice(self, shape: Shape, value: Any, key: str) -> Any:
        *others, last = choices = get_args(shape.kind)
        if value in choices:
            return value
        return self._wrong(shape, value, key, f"{', '.join(map(repr, others))} or {last!r}")

    def _read_set(self, shape: Shape, value: Any, key: str) -> Any:
        item = shape_of(get_args(shape.kind)[0])
        if not isinstance(value, list | tuple | set | frozenset):
            return self._wrong(shape, value, key, f"a list, each of them {item.wording}")
        return frozenset(filter(None, (self.value(item, each, key, None) for each in value)))

    def _read_tuple(self, shape: Shape, value: Any, key: str) -> Any:
        item = shape_of(get_args(shape.kind)[0])
        if is_section(item):
            return self._read_named(shape, item.kind, value, key)
        if not isinstance(value, list | tuple):
            return self._wrong(shape, value, key, f"a list, each of them {item.wording}")
        return tuple(filter(None, (self.value(item, each, key, None) for each in value)))

    def _read_named(self, shape: Shape, struct_type: type[msgspec.Struct], value: Any, key: str) -> Any:
        """Read a dict from names to the Struct's other fields, or to the value of the first of them alone."""
        name_field, other, *more = fields_of(struct_type)
        if not isinstance(value, dict) or len(value) < shape.fewest:
            return self._wrong(shape, value, key, "a dict by name")
        found = []
        for name, entry in value.items():
            named = self.value(name_field.shape, name, key, "")
            at = f"{key}[{name!r}]"
            if more and isinstance(entry, dict):
                read = self.section(struct_type, {**entry, name_field.key: named}, at)
            else:
                read = {name_field.name: named, other.name: self.value(other.shape, entry, at, other.default)}
            found.append(struct_type(**read))
        return tuple(found)


_READERS: dict[Any, Callable[[Reader, Shape, Any, str], Any]] = {
    Mapping: Reader._read_sections,
    bool: Reader._read_bool,
    int: Reader._read_number,
    float: Reader._read_number,
    str: Reader._read_text,
    Path: Reader._read_path,
    Secret: Reader._read_secret,
    Literal: Reader._read_choice,
    frozenset: Reader._read_set,
    tuple: Reader._read_tuple,
}


def _bounds_of(shape: Shape) -> str:
    what = "a number" if shape.kind is float else "a whole number"
    return what if shape.least is None or shape.most is None else f"{what} from {shape.least:,} to {shape.most:,}"


def _kind_of(value: Any) -> str:
    """Describe a value without its content, which may be secret."""
    return "None" if value is None else f"of type {type(value).__name__}"


def shown(value: Any) -> str:
    """Format a value for an error message, shortened; never called for secrets."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(key: str, known: Collection[str]) -> str:
    """Suggest the known key that was probably meant."""
    by_capitals = {name.upper(): name for name in known}
    import difflib

    near = difflib.get_close_matches(key.upper(), by_capitals, n=1)
    return f"did you mean {by_capitals[near[0]]!r}?" if near else f"known are: {', '.join(known)}"
