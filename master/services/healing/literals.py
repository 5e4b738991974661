"""What every match of a pattern must contain: the literals that a scan looks for before RE2 is asked.

The syntax is RE2's (https://github.com/google/re2/wiki/Syntax), of a pattern that RE2 has compiled. What is not
understood here may be anything: then fewer literals are found, and never wrong ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

LEAST_BYTES = 3
"""A shorter literal is in nearly every line."""
MOST_LITERALS = 32
"""Of one pattern, of which a line must contain one."""
_MOST_EXACT = 16
_MOST_SETS = 4
_MOST_CHARACTERS = 64
_MOST_DEPTH = 100
_KELVIN, _LONG_S = "\u212a", "\u017f"
"""What RE2 takes for k and s where case does not matter, beside K and S."""
_ESCAPED = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_PLAIN = re.compile(r"[^\\\[\](){}.*+?^$|\n\x80-\U0010ffff]{2,}")
_EMPTY_WIDTH = frozenset("AbBz")
_FLAGS = frozenset("imsU-")


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the texts that a part of a pattern matches.

    Parameters
    ----------
    exact
        All of them, lower-case; None if there are too many.
    required
        Each of them contains one of each of these sets, lower-case.
    """

    exact: frozenset[str] | None
    required: tuple[frozenset[str], ...] = ()

    @property
    def best(self) -> frozenset[str] | None:
        """The set that fewest lines contain one of; None if nothing is known."""
        return max((*self.required, *([self.exact] if self.exact else [])), key=_worth, default=None)


_ANYTHING = _Known(None)
_NOTHING = _Known(frozenset({""}))


@lru_cache(maxsize=4_096)
def required_literals(pattern: str) -> tuple[frozenset[bytes], ...]:
    """Return sets of literals: every match contains one of each set, as UTF-8 in ASCII's lower case.

    The set that fewest lines contain one of is the first; there are none if nothing is known. A line is to be lowered
    likewise (``bytes.lower``) before they are looked for.

    Parameters
    ----------
    pattern
        RE2 has compiled it.
    """
    reader = _Reader(pattern)
    try:
        known = reader.read()
    except (_NotUnderstood, RecursionError):
        return ()
    chosen = _most_worth((*known.required, *([known.exact] if known.exact else [])))
    return tuple(_encoded(one, ignores_case=reader.ignores_case) for one in chosen)


def _encoded(literals: frozenset[str], *, ignores_case: bool) -> frozenset[bytes]:
    found = {literal[:_MOST_CHARACTERS] for literal in literals}
    if ignores_case:
        found |= {other for plain, other in (("k", _KELVIN), ("s", _LONG_S)) if any(plain in one for one in found)}
    return frozenset(literal.encode() for literal in found)


class _NotUnderstood(Exception):
    """The pattern is of a form that is not known here."""


class _Reader:
    """Reads one pattern, by recursive descent."""

    def __init__(self, pattern: str) -> None:
        self._text, self._at, self._depth = pattern, 0, 0
        self._ignore_case = False
        self.ignores_case = False
        """Whether case does not matter anywhere in it."""

    def read(self) -> _Known:
        known = self._alternatives()
        if self._at != len(self._text):
            raise _NotUnderstood
        return known

    def _alternatives(self) -> _Known:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise _NotUnderstood
        before = self._ignore_case
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        # Flags hold until the end of the group.
        self._ignore_case = before
        self._depth -= 1
        return branches[0] if len(branches) == 1 else _either(branches)

    def _sequence(self) -> _Known:
        parts = list[_Known]()
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            if run := self._plain_run():
                parts.append(_Known(frozenset({run.lower()})))
            else:
                parts.append(self._repeated(self._atom()))
        return _one_after_another(parts)

    def _plain_run(self) -> str:
        """Take the characters of ASCII that stand for themselves, without one that is repeated."""
        run = _PLAIN.match(self._text, self._at)
        if run is None:
            return ""
        end = run.end() - self._text.startswith(("*", "+", "?", "{"), run.end())
        begin, self._at = self._at, end
        return self._text[begin:end]

    def _repeated(self, known: _Known) -> _Known:
        while True:
            least, most = self._count()
            if least is None:
                return known
            self._take("?")
            if least == 0:
                known = _either([known, _NOTHING]) if most == 1 else _ANYTHING
            elif most == least and least <= 4:
                known = _one_after_another([known] * least)
            else:
                known = _one_after_another([known, _ANYTHING])

    def _count(self) -> tuple[int | None, int | None]:
        """Return how often what stands before may come, or None, None if nothing says so."""
        for sign, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return counts
        end = self._text.find("}", self._at)
        if not self._text.startswith("{", self._at) or end < 0:
            return None, None
        least, comma, most = self._text[self._at + 1 : end].partition(",")
        if not _is_number(least) or (most and not _is_number(most)):
            return None, None
        self._at = end + 1
        return int(least), int(most) if most else None if comma else int(least)

    def _atom(self) -> _Known:
        character = self._next()
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == "\\":
            return self._escape()
        if character == ".":
            return _ANYTHING
        return _NOTHING if character in "^$" else self._literal(character)

    def _group(self) -> _Known:
        before = self._ignore_case
        if self._take("?"):
            if self._take("P<") or self._take("<"):
                self._skip_to(">")
            elif self._flags():
                return _NOTHING
        known = self._alternatives()
        self._ignore_case = before
        if not self._take(")"):
            raise _NotUnderstood
        return known

    def _flags(self) -> bool:
        """Take the flags of a group; returns whether there is nothing else in it: they hold for what follows."""
        sets = True
        while (character := self._next()) in _FLAGS:
            if character == "-":
                sets = False
            elif character == "i":
                self._ignore_case = sets
                self.ignores_case |= sets
        if character not in ":)":
            raise _NotUnderstood
        return character == ")"

    def _class(self) -> _Known:
        is_negated = self._take("^")
        members = [self._members(is_first=True)]
        while not self._take("]"):
            members.append(self._members())
        return _ANYTHING if is_negated else _either(members)

    def _members(self, *, is_first: bool = False) -> _Known:
        """Take one character of a class, or a range, or a class within it."""
        if self._take("[:"):
            self._skip_to("]")
            return _ANYTHING
        character = self._next()
        # The first may be a bracket that closes nothing.
        if character == "]" and not is_first:
            raise _NotUnderstood
        known = self._escape() if character == "\\" else self._literal(character)
        if not self._text.startswith("-", self._at) or self._text.startswith("-]", self._at):
            return known
        self._at += 1
        if self._next() == "\\":
            self._escape()
        return _ANYTHING

    def _escape(self) -> _Known:
        character = self._next()
        if character in _EMPTY_WIDTH:
            return _NOTHING
        if character in "dDsSwWC":
            return _ANYTHING
        if character in "pP":
            if self._next() == "{":
                self._skip_to("}")
            return _ANYTHING
        if character in _ESCAPED:
            return self._literal(_ESCAPED[character])
        if character == "x":
            return self._literal(self._hexadecimal())
        if character.isalnum():
            raise _NotUnderstood
        return self._literal(character)

    def _hexadecimal(self) -> str:
        if self._take("{"):
            begin = self._at
            self._skip_to("}")
            return chr(int(self._text[begin : self._at - 1], 16))
        self._at += 2
        return chr(int(self._text[self._at - 2 : self._at], 16))

    def _literal(self, character: str) -> _Known:
        # A line contains no end of line and no half of a character, and what cannot be decoded is read as U+FFFD.
        is_apart = character in "\n\ufffd" or "\ud800" <= character <= "\udfff"
        if is_apart or (self._ignore_case and not character.isascii()):
            return _ANYTHING
        return _Known(frozenset({character.lower() if character.isascii() else character}))

    def _take(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise _NotUnderstood
        self._at += 1
        return self._text[self._at - 1]

    def _skip_to(self, character: str) -> None:
        end = self._text.find(character, self._at)
        if end < 0:
            raise _NotUnderstood
        self._at = end + 1


def _one_after_another(parts: Iterable[_Known]) -> _Known:
    exact, is_exact = frozenset({""}), True
    required = list[frozenset[str]]()
    for part in parts:
        required += part.required
        if part.exact is not None and len(exact) * len(part.exact) <= _MOST_EXACT:
            exact = frozenset(before + after for before in exact for after in part.exact)
            continue
        is_exact = False
        required.append(exact)
        exact = part.exact or frozenset({""})
    return _Known(exact) if is_exact else _Known(None, _most_worth((*required, exact)))


def _either(branches: Iterable[_Known]) -> _Known:
    exact, required = frozenset[str](), frozenset[str]()
    is_exact = True
    for branch in branches:
        best = branch.best
        if best is None or len(required | best) > MOST_LITERALS:
            return _ANYTHING
        required |= best
        is_exact = is_exact and branch.exact is not None
        exact |= branch.exact or frozenset()
    return _Known(exact) if is_exact and len(exact) <= _MOST_EXACT else _Known(None, _most_worth((required,)))


def _most_worth(sets: Iterable[frozenset[str]]) -> tuple[frozenset[str], ...]:
    usable = {one for one in sets if _shortest(one) >= LEAST_BYTES}
    return tuple(sorted(usable, key=lambda one: (_worth(one), sorted(one)), reverse=True)[:_MOST_SETS])


def _worth(literals: frozenset[str]) -> tuple[int, int]:
    """Return what grows as fewer lines contain one of some literals: the shortest's length, then how few there are."""
    return _shortest(literals), -len(literals)


def _shortest(literals: frozenset[str]) -> int:
    return min(len(literal.encode()) for literal in literals)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
