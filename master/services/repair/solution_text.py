"""The text of a solution: read and checked before it is saved or tested."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator

import msgspec
import re2

from master.services.healing.solution import Solution
from master.services.repair.actions.registry import check_action
from master.services.repair.errors import SolutionRefused

MAX_TEXT_BYTES = 64 * 1024
_HINT = "docs/solutions.md explains the format"
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def read_solution(text: str) -> Solution:
    """Return the solution that a text is.

    Raises
    ------
    SolutionRefused
        It is none; the message has the line, if it is known, and the reason.
    """
    if len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        raise SolutionRefused(f"the text is longer than {MAX_TEXT_BYTES // 1024} KiB", hint=_HINT)
    try:
        solution = msgspec.convert(tomllib.loads(text), Solution)
        _check_samples(solution)
    except ValueError as error:
        raise SolutionRefused(f"this is no solution: {error}", hint=_HINT) from error
    if wrong := check_action(solution):
        raise SolutionRefused(f"this is no solution: {wrong}", hint=_HINT)
    return solution


def _check_samples(solution: Solution) -> None:
    patterns = list(_compiled("pattern", solution.patterns))
    ignore = list(_compiled("ignore pattern", solution.ignore))
    for line in (*solution.samples.match, *solution.samples.no_match):
        known = any(one.search(line) for one in patterns) and not any(one.search(line) for one in ignore)
        if known != (line in solution.samples.match):
            raise ValueError(f"a sample that must {'not ' * known}match does{' not' * (not known)}: {line[:200]!r}")


def _compiled(kind: str, patterns: Iterable[str]) -> Iterator[re2._Regexp[str]]:
    options = re2.Options()
    options.log_errors = False
    for number, pattern in enumerate(patterns, start=1):
        try:
            yield re2.compile(pattern, options)
        except re2.error as error:
            why = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
            raise ValueError(f"{kind} {number}: {why}") from error


def toml_string(text: str) -> str:
    """Return a text as a TOML string: as it is where that can be, and escaped where something would act or hide."""
    if text.isprintable():
        if "\\" not in text and '"' not in text:
            return f'"{text}"'
        if "'" not in text:
            return f"'{text}'"
        if "'''" not in text and not text.startswith("'") and not text.endswith("'"):
            return f"'''{text}'''"
    return '"' + "".join(_SHORT.get(one) or (one if one.isprintable() else _escape(one)) for one in text) + '"'


def _escape(character: str) -> str:
    number = ord(character)
    if 0xD800 <= number <= 0xDFFF:
        return "\\uFFFD"  # half of a character, which no file can hold
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
