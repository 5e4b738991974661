"""A solution as the text of its TOML file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from master.services.healing.solution import Solution

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_WIDTH = 100


def dump_solution(solution: Solution) -> str:
    """Return a solution as TOML, which reads back as an equal one; what has its default is left out.

    Raises
    ------
    TypeError
        A parameter of its action is of a type that no action takes, such as a date.
    """
    lines = list[str]()
    for field in msgspec.structs.fields(Solution):
        value = getattr(solution, field.name)
        if field.name in ("action", "samples") or value == field.default:
            continue
        whole = isinstance(value, float) and value.is_integer()
        lines.append(f"{field.name} = {_value(int(value) if whole else value)}")
    lines += ["", "[action]", *_table({"name": solution.action_name, **solution.action})]
    samples = {"match": solution.samples.match, "no_match": solution.samples.no_match}
    lines += ["", "[samples]", *_table({key: value for key, value in samples.items() if value})]
    return "\n".join(lines) + "\n"


def toml_string(text: str) -> str:
    """Return a text as a TOML string: as it is where that can be, and escaped where something would act or hide.

    Raises
    ------
    TypeError
        It contains half of a character, which no file can hold.
    """
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise TypeError("the text contains half of a character")
    if "\\" not in text and '"' not in text and text.isprintable():
        return f'"{text}"'
    if text.isprintable() and "'" not in text:
        return f"'{text}'"
    if text.isprintable() and "'''" not in text and not text.endswith("'") and not text.startswith("'"):
        return f"'''{text}'''"
    return '"' + "".join(_SHORT.get(one) or (one if one.isprintable() else _escape(one)) for one in text) + '"'


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _table(values: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in values.items()]


def _key(key: str) -> str:
    # A literal string of several lines cannot be a key.
    if _BARE_KEY.fullmatch(key):
        return key
    return '"' + "".join(_SHORT.get(one) or (one if one.isprintable() else _escape(one)) for one in key) + '"'


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return toml_string(str(value))
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(_table(value)) + "}"
    if isinstance(value, tuple | list):
        return _array(_value(one) for one in value)
    raise TypeError(f"a parameter cannot be a {type(value).__name__}")


def _float(value: float) -> str:
    return str(value) if math.isfinite(value) else {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")


def _array(items: Iterable[str]) -> str:
    written = list(items)
    one_line = f"[{', '.join(written)}]"
    if len(written) < 2 or len(one_line) <= _WIDTH:
        return one_line
    return "[\n" + "".join(f"    {item},\n" for item in written) + "]"
