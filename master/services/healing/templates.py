"""Lines of logs as templates, as Drain makes them: what varies is masked, and similar lines share one template.

Bounded: lines in length, templates in number (the one that was not seen for longest goes), and each step in depth.
The paper: He et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017.
"""

from __future__ import annotations

import re
from collections import OrderedDict

from nodekit.fingerprints import code_in, digest

CAPACITY = 1_000
"""Templates that are known at the same time."""
ANY = "<*>"
"""Stands for a word that varies."""
_LINE_CHARACTERS, _WORDS, _TITLE_CHARACTERS = 400, 30, 380
_MOST_HEADS, _MOST_IN_LEAF = 40, 32
_ALIKE = 0.6
"""The part of its words in which a line is as a template that may become more general for it."""
_VARIES_FROM = 3
"""So many templates that are alike show that a word varies: `no such user: ada` and `no such role: ada` are two errors,
the fourth name makes one of them `no such user: <*>`."""

_QUOTED = re.compile(r"""(?<!\w)(?:"[^"]{0,100}"|'[^']{0,100}'|`[^`]{0,100}`)(?!\w)""")
_MAY_VARY = re.compile(r"[\d/\\@]")
_VARYING = re.compile(
    r"""[a-z]{2,10}://[^\s<>]{1,200}
    | [\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]{1,64}
    | (?<![\w<.])(?:[A-Za-z]:\\|\.{0,2}/)[^\s:,;'"()\[\]]{1,200}
    | \b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b
    | \b0x[0-9a-fA-F]{1,32}\b
    | \b(?=[a-fA-F]{0,16}\d)[0-9a-fA-F]{8,64}\b
    | \d+(?:[.,:]\d+){0,8}
    """,
    re.VERBOSE,
)
"""Addresses, paths, identifiers, numbers."""
_ERROR = re.compile(
    r"\b(?:ERROR|CRITICAL|FATAL|SEVERE|PANIC)\b|(?:Error|Exception|Failure|Timeout)\b|\bTraceback\b|^(?:fatal|error|panic)\b"
)


def looks_like_error(line: str) -> bool:
    """Tell whether a line, without the time at its beginning, tells of an error."""
    return _ERROR.search(line[:_LINE_CHARACTERS]) is not None


def readable(title: str) -> str:
    """Return a title as people read it: what varies is left out."""
    return title.replace("<N>", "…").replace(ANY, "…")


def mask(text: str) -> str:
    """Return a text with a sign in the place of each part that varies; an error's code stays."""
    text = text[:_LINE_CHARACTERS]
    before, code, after = text.partition(code_in(text) or "\n")
    return f"{_mask(before)}{code}{_mask(after)}"


def _mask(text: str) -> str:
    text = _QUOTED.sub(ANY, text)
    if not _MAY_VARY.search(text):
        return text
    return " ".join(_VARYING.sub(_sign, word) if _MAY_VARY.search(word) else word for word in text.split(" "))


def _sign(found: re.Match[str]) -> str:
    return "<N>" if found[0][0].isdigit() else ANY


class _Template:
    """What lines have in common."""

    __slots__ = ("fingerprint", "home", "words")

    def __init__(self, fingerprint: str, words: list[str], home: tuple[int, str, str]) -> None:
        self.fingerprint = fingerprint
        self.words = words
        self.home = home
        """The leaf that it is in."""

    def knows(self, words: list[str]) -> int:
        """Return how many of its words a line of the same length has; -1 if another is in the place of one of them."""
        constant = 0
        for mine, other in zip(self.words, words, strict=True):
            if mine == other:
                constant += 1
            elif mine != ANY:
                return -1
        return constant

    def is_alike(self, words: list[str]) -> bool:
        """Tell whether a line has most of its words."""
        return sum(mine == other for mine, other in zip(self.words, words, strict=True)) >= _ALIKE * len(words)

    def widen(self, words: list[str]) -> None:
        """Let the words vary in which a line differs."""
        self.words = [mine if mine == other else ANY for mine, other in zip(self.words, words, strict=True)]


class Templates:
    """Find the template of each line; a new one is made where none is alike.

    A template keeps the fingerprint that its first line gave it while it becomes more general.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._known: OrderedDict[str, _Template] = OrderedDict()
        """By fingerprint, the one that was seen last at the end."""
        self._leaves: dict[tuple[int, str, str], list[_Template]] = {}
        self._heads: dict[tuple[int, str], dict[str, int]] = {}
        """First words of lines of one length and code, and how many templates begin with each."""

    def __len__(self) -> int:
        return len(self._known)

    def take(self, line: str) -> str:
        """Return the fingerprint of a line's template, which is made, or becomes more general, if need be."""
        words, code = _split(line)
        leaf = self._leaves.get(self._home_of(words, code), [])
        found = max(leaf, key=lambda template: template.knows(words), default=None)
        if found is None or found.knows(words) < 0:
            alike = [template for template in leaf if template.is_alike(words)]
            if len(alike) < _VARIES_FROM:
                return self._add(digest("line", code, *words), words, code)
            found = alike[0]
            found.widen(words)
        self._known.move_to_end(found.fingerprint)
        return found.fingerprint

    def adopt(self, fingerprint: str, title: str) -> None:
        """Take a template that an earlier master made, from its title."""
        if fingerprint not in self._known:
            words, code = _split(title)
            self._add(fingerprint, words, code)

    def title_of(self, fingerprint: str) -> str:
        """Return a template as text; empty if it is not known."""
        found = self._known.get(fingerprint)
        return "" if found is None else " ".join(found.words)

    def _home_of(self, words: list[str], code: str) -> tuple[int, str, str]:
        heads = self._heads.get((len(words), code), {})
        known = words[0] in heads or len(heads) < _MOST_HEADS
        return len(words), code, words[0] if known else ANY

    def _add(self, fingerprint: str, words: list[str], code: str) -> str:
        home = self._home_of(words, code)
        leaf = self._leaves.setdefault(home, [])
        if len(leaf) >= _MOST_IN_LEAF:
            self._remove(leaf[0])
            leaf = self._leaves.setdefault(home, [])
        if (older := self._known.get(fingerprint)) is not None:
            self._remove(older)
            leaf = self._leaves.setdefault(home, [])
        template = self._known[fingerprint] = _Template(fingerprint, words, home)
        leaf.append(template)
        heads = self._heads.setdefault(home[:2], {})
        heads[home[2]] = heads.get(home[2], 0) + 1
        if len(self._known) > self._capacity:
            self._remove(next(iter(self._known.values())))
        return fingerprint

    def _remove(self, template: _Template) -> None:
        del self._known[template.fingerprint]
        leaf, group = self._leaves[template.home], template.home[:2]
        leaf.remove(template)
        if not leaf:
            del self._leaves[template.home]
        heads = self._heads[group]
        heads[template.home[2]] -= 1
        if not heads[template.home[2]]:
            del heads[template.home[2]]
        if not heads:
            del self._heads[group]


def _split(line: str) -> tuple[list[str], str]:
    """Return the words of a line's mask, as many as a title holds, and its code."""
    masked = mask(line)
    words = masked[:_TITLE_CHARACTERS].split()[:_WORDS] or [ANY]
    return words, code_in(masked)
