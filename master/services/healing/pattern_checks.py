"""What the patterns of a solution are held to before they may act: valid, narrow, quick, and true to their samples."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

import re2

from master.services.healing.literals import LEAST_BYTES, required_literals
from master.services.healing.matching import Matcher, compile_pattern
from master.services.healing.ordinary_lines import ORDINARY_LINES
from master.services.healing.solution import Solution
from master.wording import visible

MOST_ORDINARY = 4
"""Ordinary lines that a solution may know. A catch-all knows many more."""
SLOW_TIMES = 6.0
"""Above it a pattern is refused. A plain text takes 0.026 s of CPU for each MB where this was measured: with six times
that, a node that writes 50 MB in a minute takes an eighth of a core for one pattern. A slower or a busy box times both,
and refuses the same patterns."""
_PLAIN = "No module named"
_TIMED_S = 0.3
"""For one pattern, however many lines there are."""
_TIMED_AT_ONCE = 100
_LEAST_LINE = 150
"""A shorter one counts as so many characters: the cost of a call, and of a match, is not the pattern's."""
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}", re.ASCII)
_GROUP = re.compile(r"\(\?P?<(\w+)>")
_NODE = "node"


class PatternRefused(ValueError):
    """A pattern, or a sample, is not what it has to be.

    Parameters
    ----------
    key
        Under which it stands in the file.
    text
        The pattern or the sample.
    """

    def __init__(self, reason: str, *, key: str, text: str = "") -> None:
        super().__init__(reason)
        self.reason, self.key, self.text = reason, key, text


def check_patterns(solution: Solution, lines: Sequence[str] = ()) -> None:
    """Check the patterns of a solution, and what its advice and its action take from them.

    Parameters
    ----------
    lines
        That nodes wrote lately.

    Raises
    ------
    PatternRefused
    """
    groups = [_check_pattern("patterns", *numbered) for numbered in enumerate(solution.patterns, start=1)]
    for numbered in enumerate(solution.ignore, start=1):
        _check_pattern("ignore", *numbered)
    _check_placeholders(solution, groups)
    matcher = Matcher([solution])
    _check_samples(solution, matcher)
    _check_width(solution, matcher)
    _check_time(solution, lines)


def time_patterns(solution: Solution, lines: Sequence[str]) -> list[tuple[str, float]]:
    """Return what each pattern of a solution costs on lines, in times of a plain text's; takes a bounded time."""
    patterns = (*solution.patterns, *solution.ignore)
    return [(pattern, _times_of_plain(compile_pattern(pattern), lines)) for pattern in patterns]


def _check_pattern(key: str, number: int, pattern: str) -> frozenset[str]:
    """Check one pattern; returns the names of its groups."""
    what = f"{'pattern' if key == 'patterns' else 'ignore pattern'} {number}"
    try:
        compiled = compile_pattern(pattern)
    except re2.error as error:
        raise PatternRefused(f"{what} is no RE2: {_explain(error, pattern)}", key=key, text=pattern) from error
    if compiled.search(""):
        raise PatternRefused(f"{what} matches an empty line, and so every line", key=key, text=pattern)
    names, groups = _GROUP.findall(pattern), frozenset(compiled.groupindex)
    if twice := sorted({name for name in names if names.count(name) > 1} & groups):
        raise PatternRefused(f"{what} has the group `{twice[0]}` twice", key=key, text=pattern)
    if _NODE in groups:
        raise PatternRefused(f"{what}: a group cannot be called `node`, the node's name", key=key, text=pattern)
    if key == "patterns" and not required_literals(pattern):
        reason = f"{what} has no fixed text of {LEAST_BYTES} characters or more that each match contains"
        raise PatternRefused(f"{reason}; patterns are looked for by it", key=key, text=pattern)
    return groups


def _explain(error: re2.error, pattern: str) -> str:
    """Return what RE2 says of a pattern, and where in it."""
    said = error.args[0]
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    reason, _, fragment = text.partition(": ")
    at = pattern.find(fragment) if fragment else -1
    if at < 0 or fragment == pattern:
        return visible(text)[:200]
    return f"{visible(reason)} at character {at + 1}: {visible(fragment)[:60]}"


def _check_placeholders(solution: Solution, groups: Sequence[frozenset[str]]) -> None:
    for key, text in (("advice", solution.advice), *(("action", text) for text in _texts_of(solution.parameters))):
        for name in _PLACEHOLDER.findall(text):
            without = [number for number, known in enumerate(groups, start=1) if name not in known]
            if without and not (key == "advice" and name == _NODE):
                reason = f"`{key}` names {{{name}}}, and pattern {without[0]} has no group (?P<{name}>...)"
                raise PatternRefused(reason, key=key, text=f"{{{name}}}")


def _texts_of(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts_of(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts_of(inner)


def _check_samples(solution: Solution, matcher: Matcher) -> None:
    seen_in = solution.applies_to[0]
    wanted = {
        name for text in (solution.advice, *_texts_of(solution.parameters)) for name in _PLACEHOLDER.findall(text)
    }
    for number, sample in enumerate(solution.samples.match, start=1):
        matches = matcher.scan(seen_in, sample.encode())
        if not matches:
            raise PatternRefused(f"no pattern matches sample {number}", key="match", text=sample)
        if missing := sorted(wanted - {_NODE} - matches[0].captures.keys()):
            reason = f"{{{missing[0]}}} is used, and nothing is captured for it in sample {number}"
            raise PatternRefused(reason, key="match", text=sample)
    for number, sample in enumerate(solution.samples.no_match, start=1):
        if matcher.scan(seen_in, sample.encode()):
            raise PatternRefused(f"sample {number} of no_match is matched", key="no_match", text=sample)


def _check_width(solution: Solution, matcher: Matcher) -> None:
    known = matcher.scan(solution.applies_to[0], "\n".join(ORDINARY_LINES).encode())
    if len(known) > MOST_ORDINARY:
        example = visible(known[0].line)[:80]
        reason = f"too wide: it knows {len(known)} of {len(ORDINARY_LINES)} ordinary lines, such as `{example}`"
        raise PatternRefused(reason, key="patterns")


def _check_time(solution: Solution, lines: Sequence[str]) -> None:
    for pattern, times in time_patterns(solution, lines or (*ORDINARY_LINES[:50], "a" * 2_000)):
        if times > SLOW_TIMES:
            key, patterns = (
                ("patterns", solution.patterns) if pattern in solution.patterns else ("ignore", solution.ignore)
            )
            reason = f"pattern {patterns.index(pattern) + 1} is slow: {times:.0f} times a plain text's time, at most"
            hint = "counted repetitions, such as .{0,40}, cost most"
            raise PatternRefused(f"{reason} {SLOW_TIMES:g}; {hint}", key=key, text=pattern)


def _times_of_plain(compiled: Any, lines: Sequence[str]) -> float:
    """Return the CPU time of a pattern over lines, for a character, in times of a plain text's in the same moment."""
    spent, done, began = 0.0, 0, time.monotonic()
    plain_spent, plain_done, plain = 0.0, 0, compile_pattern(_PLAIN)
    if 0 < len(lines) < _TIMED_AT_ONCE:
        lines = [*lines] * (_TIMED_AT_ONCE // len(lines) + 1)
    for begin in range(0, len(lines), _TIMED_AT_ONCE):
        part = lines[begin : begin + _TIMED_AT_ONCE]
        # The best of three looks at each, in turn: others use the box too.
        looks = [(_time_of(compiled, part), _time_of(plain, ORDINARY_LINES)) for _ in range(3)]
        spent, plain_spent = spent + min(one for one, _ in looks), plain_spent + min(other for _, other in looks)
        done, plain_done = done + _size_of(part), plain_done + _size_of(ORDINARY_LINES)
        if time.monotonic() - began > _TIMED_S:
            break
    return (spent / done) / (plain_spent / plain_done) if done and plain_spent else 0.0


def _size_of(lines: Sequence[str]) -> int:
    return sum(max(len(line), _LEAST_LINE) for line in lines)


def _time_of(compiled: Any, lines: Sequence[str]) -> float:
    began = time.thread_time()
    for line in lines:
        compiled.search(line)
    return time.thread_time() - began
