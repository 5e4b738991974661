"""Solutions are read strictly: a file is a solution that does what it says, or it is refused with line and reason."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from handshake.files import open_regular
from master.services.healing.sighting import SeenIn
from master.services.healing.solution import Risk, Samples, Solution
from master.wording import visible

MAX_BYTES = 65_536
_MAX_DOTS = 64
"""Of one key. tomllib's time grows with their square."""
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)")
_AT_PATH = re.compile(r" - at `\$((?:[^`]|`(?!\Z))*)`\Z")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_CHOICES: dict[str, Iterable[str]] = {
    "severity": ("information", "warning", "error"),
    "risk": tuple(Risk),
    "applies_to": tuple(SeenIn),
}
_SCALARS = (str, int, float, bool)

CheckAction = Callable[[Solution], str]
"""Returns why a solution's action is wrong, in one line; empty if it is not."""


class RefusedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is no solution, and why."""

    path: str
    line: int
    """0 if it is not known."""
    reason: str
    last_stays: bool = False
    """The file was a solution before it was changed, and that one stays in force."""

    def __str__(self) -> str:
        place = f"{visible(self.path)}:{self.line}" if self.line else visible(self.path)
        stays = "; the solution that it was before stays in force" if self.last_stays else ""
        return f"{place}: {self.reason}{stays}"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One solution, and where it is from."""

    solution: Solution
    content: str
    """The file's text."""
    is_shipped: bool
    path: str

    @property
    def content_hash(self) -> str:
        """Return 16 hex digits that change with the file's text."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:16]


class TextRefused(Exception):
    """A file or its text is no solution.

    Parameters
    ----------
    line
        0 if it is not known.
    """

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


def accept_action(solution: Solution) -> str:
    """Accept any action."""
    return ""


def check_text(
    text: str,
    source: str,
    *,
    is_shipped: bool = False,
    check_action: CheckAction = accept_action,
    lines: Sequence[str] = (),
) -> Entry | RefusedFile:
    """Return the solution that a text is, or why it is none. Blocks, for a few milliseconds.

    Parameters
    ----------
    source
        Where it is from: a file's path.
    lines
        That nodes wrote lately; a pattern that is slow on them is refused with its time.
    is_shipped
        It came with Fleetmaster, whose tests hold it to its samples, to what its action takes and to its time: only its
        form is looked at, and a master whose nodes have no errors never loads RE2 (3 MB).
    """
    try:
        solution = _read_solution(text)
        if not is_shipped:
            _check_meaning(solution, text, check_action, lines)
    except TextRefused as refused:
        return RefusedFile(path=source, line=refused.line, reason=refused.reason)
    return Entry(solution=solution, content=text, is_shipped=is_shipped, path=source)


def read_text(path: Path) -> str:
    """Return the text of a file. Blocks.

    Raises
    ------
    TextRefused
        It is no regular file, cannot be read, is too long, or is not UTF-8.
    """
    try:
        with open(open_regular(path, os.O_RDONLY), "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        known = {errno.ELOOP: "it is a link, which is not followed", errno.EINVAL: "it is no regular file"}
        raise TextRefused(known.get(error.errno or 0) or f"it cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise TextRefused(f"it is longer than {MAX_BYTES // 1024} KB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextRefused("it is not UTF-8", content.count(b"\n", 0, error.start) + 1) from error


def _read_solution(text: str) -> Solution:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise TextRefused("it is not UTF-8", text.count("\n", 0, error.start) + 1) from error
    if size > MAX_BYTES:
        raise TextRefused(f"it is longer than {MAX_BYTES // 1024} KB")
    raw = _parse(text)
    try:
        solution = msgspec.convert(raw, Solution)
    except msgspec.ValidationError as error:
        raise _not_valid(text, str(error)) from error
    _check_form_of_action(solution.action, _line_of(text, "action"))
    return solution


def _parse(text: str) -> dict[str, Any]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.partition("=")[0].count(".") > _MAX_DOTS:
            raise TextRefused(f"a key has more than {_MAX_DOTS} dots", number)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _AT_LINE.search(str(error))
        at_line = int(at[1]) if at else text.count("\n") + 1
        raise TextRefused(f"it is not TOML: {visible(_AT_LINE.sub('', str(error)))[:200]}", at_line) from error
    except (ValueError, RecursionError) as error:
        # Numbers that Python does not read, and arrays in arrays in arrays.
        raise TextRefused(f"it is not TOML that can be read: {visible(str(error))[:80]}") from error


def _not_valid(text: str, message: str) -> TextRefused:
    """Return a refusal in the file's own words for what msgspec says of it."""
    at = _AT_PATH.search(message)
    steps: list[str | int] = [name or int(item) for name, item in _STEP.findall(at[1])] if at else []
    message = _AT_PATH.sub("", message)
    table = str(steps[0]) if steps and steps[0] in ("action", "samples") else ""
    if unknown := _UNKNOWN.fullmatch(message):
        line = _line_of(text, unknown[1], table) or _line_of(text, unknown[1])
        return TextRefused(f"unknown key `{visible(unknown[1])[:60]}`{_near(unknown[1], table)}", line)
    if missing := _MISSING.fullmatch(message):
        where = f" in [{table}]" if table else ""
        return TextRefused(f"`{missing[1]}` is missing{where}", _line_of(text, table) if table else 0)
    names = [step for step in steps if isinstance(step, str)]
    key = names[-1] if names else ""
    items = [step for step in steps if isinstance(step, int)]
    what = f"`{'.'.join(names)}`" + (f", item {items[0] + 1}" if items else "")
    line = _line_of(text, key, table if len(names) > 1 else "")
    return TextRefused(f"{what}: {_in_words(key, message)}", line)


def _in_words(key: str, message: str) -> str:
    if key == "id" and "regex" in message:
        return "2 to 64 of a-z, 0-9 and _, a letter first"
    if key in _CHOICES and message.startswith("Invalid enum value"):
        return f"{visible(message.removeprefix('Invalid enum value '))[:60]} is none of {', '.join(_CHOICES[key])}"
    words = (("Expected", "expected"), ("`str`", "a text"), ("`array`", "a list"), ("`object`", "a table"))
    for before, after in (*words, ("`int`", "a whole number"), ("`float`", "a number"), ("`bool`", "true or false")):
        message = message.replace(before, after)
    return visible(message)[:200]


def _near(key: str, table: str) -> str:
    struct = Samples if table == "samples" else Solution
    import difflib

    near = difflib.get_close_matches(key[:100], struct.__struct_fields__, n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _check_form_of_action(action: dict[str, Any], line: int) -> None:
    """Refuse an action without a name, and values that no parameter is: dates, lists in lists."""
    if not isinstance(action.get("name"), str):
        raise TextRefused("[action] has no `name`", line)
    for key, value in action.items():
        inner = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else [value]
        if not all(isinstance(one, _SCALARS) for one in inner):
            raise TextRefused(f"a parameter of the action is too deep, or a date: `{visible(key)[:60]}`", line)


def _check_meaning(solution: Solution, text: str, check_action: CheckAction, lines: Sequence[str]) -> None:
    # Imported where it is used: there may be no solutions.
    from master.services.healing.pattern_checks import PatternRefused, check_patterns

    try:
        check_patterns(solution, lines)
    except PatternRefused as refused:
        line = _line_of(text, refused.key, "samples" if refused.key in ("match", "no_match") else "")
        raise TextRefused(refused.reason, _line_with(text, refused.text, line)) from refused
    if reason := check_action(solution):
        raise TextRefused(reason, _line_of(text, "action"))


def _line_of(text: str, key: str, table: str = "") -> int:
    """Return the number of the line in which a key or a table stands; 0 if it is not found."""
    inside = ""
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if header := re.match(r"\[\[?\s*\"?([\w-]+)", stripped):
            inside = header[1]
            if inside == key and not table:
                return number
        elif inside == table and re.match(rf"[\"']?{re.escape(key)}[\"']?\s*[.=]", stripped):
            return number
    return 0


def _line_with(text: str, value: str, begin: int) -> int:
    """Return the number of the line, from ``begin`` on, in which a value stands; ``begin`` if it is not found."""
    if not value or not begin:
        return begin
    escaped = value.replace("\\", "\\\\")
    for number, line in enumerate(text.split("\n")[begin - 1 :], start=begin):
        if value in line or escaped in line:
            return number
    return begin
