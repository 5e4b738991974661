"""Drafts: a solution proposed from an error that none knows. A person finishes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from master.ledger.database import Ledger
from master.ledger.rows import error_groups, solution_figures
from master.ledger.rows.records import ErrorGroup
from master.security.tokens import hide_tokens
from master.services.core.exit_meaning import without_stamp
from master.services.core.solution_views import DraftView
from master.services.healing.error_book import SEPARATOR
from master.services.healing.library import SolutionLibrary
from master.services.healing.matching import compile_pattern
from master.services.healing.sighting import SeenIn
from master.services.healing.solution_writing import toml_string
from master.services.healing.templates import readable
from master.services.repair.errors import NoSuchErrorGroup

_OTHER_GROUPS = 50
_SHOWN_OTHERS = 4
_LONGEST_LINE = 300
"""Of a longer one the pattern names only the beginning."""
_SHORTEST_FINGERPRINT = 4
_APPLIES_TO = {
    "exception": (SeenIn.REPORT, SeenIn.STDERR),
    "exit": (SeenIn.EXIT,),
    "line": (SeenIn.STDERR,),
    "state": (SeenIn.STATE,),
}
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?:: .+)?")
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
_VARYING = re.compile(
    r"(?P<single>'[^']{1,200}')|(?P<double>\"[^\"]{1,200}\")"
    r"|(?P<uuid>\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b)|(?P<hex>\b0x[0-9a-fA-F]+)"
    r"|(?P<path>(?<![\w.:/])/(?:[\w.@+-]+/)*[\w.@+-]+)|(?P<address>\b\d{1,3}(?:\.\d{1,3}){3}\b)"
    r"|(?P<code>\bcode:? \d+)|(?P<number>\b\d+\.\d+\b|\b\d{4,}\b)"
)
"""What differs from one time to the next. Short numbers stay: they are codes more often than not."""


class Proposal(NamedTuple):
    """A pattern, and the line that it was made from."""

    pattern: str
    line: str


class Drafting:
    """Propose solutions."""

    def __init__(self, library: SolutionLibrary, ledger: Ledger) -> None:
        self._library = library
        self._ledger = ledger

    async def draft(self, fingerprint: str) -> DraftView:
        """Propose a solution for a group of errors; nothing is saved.

        Parameters
        ----------
        fingerprint
            Of the group, or its beginning.

        Raises
        ------
        NoSuchErrorGroup
            There is none, or several begin like that.
        LedgerError
        """
        group = _required(await self._ledger.read(partial(_matching, fingerprint=fingerprint)), fingerprint)
        groups = await self._ledger.read(partial(solution_figures.latest_errors, limit=_OTHER_GROUPS))
        proposal = propose(group.kind, group.sample or group.title)
        others = _others(groups, group, proposal.pattern)
        solution_id = _free_id(proposal.line or group.title, self._library.entries)
        return DraftView(
            id=solution_id,
            fingerprint=group.fingerprint,
            content=_text(solution_id, group, proposal, others),
            notes=tuple(self._notes(group, proposal)),
        )

    def _notes(self, group: ErrorGroup, proposal: Proposal) -> Iterable[str]:
        line = proposal.line.encode("utf-8", "replace")
        known = {
            match.solution.id for seen in _APPLIES_TO[group.kind] for match in self._library.matcher.scan(seen, line)
        }
        if known:
            yield f"this line is known already: by {', '.join(sorted(known))}"


def propose(kind: str, sample: str) -> Proposal:
    """Return a pattern for the line of a sample that says what is wrong."""
    line = hide_tokens(key_line(kind, sample))
    return Proposal(pattern_of(line), line)


def key_line(kind: str, sample: str) -> str:
    """Return the line that says what is wrong: an exception's; or else the first of an end, and the last of others."""
    # The lines before the error are for people.
    shown = sample.rpartition(f"\n{SEPARATOR}\n")[2]
    lines = [stripped for line in shown.splitlines() if (stripped := without_stamp(line).rstrip())]
    if not lines:
        return ""
    traceback = next((at for at, line in enumerate(lines) if line.startswith("Traceback (most recent call")), None)
    if traceback is not None:
        for line in lines[traceback + 1 :]:
            if not line.startswith((" ", "\t")) and _EXCEPTION.fullmatch(line):
                return line
    return lines[0] if kind in ("exit", "state") else lines[-1]


def pattern_of(line: str) -> str:
    """Return an anchored pattern of RE2 for a line, in which what varies is left open."""
    shown = line[:_LONGEST_LINE]
    parts, end, names = ["^"], 0, dict[str, int]()
    for found in _VARYING.finditer(shown):
        parts += [_quoted(shown[end : found.start()]), _open(found, names)]
        end = found.end()
    parts.append(_quoted(shown[end:]))
    return "".join(parts) + ("$" if len(shown) == len(line) else "")


def _open(found: re.Match[str], names: dict[str, int]) -> str:
    """Return what stands for something that varies; what an action may want has a name."""
    match found.lastgroup:
        case "single":
            return "'" + _named("quoted", "[^']{1,200}", names) + "'"
        case "double":
            return '"' + _named("quoted", '[^"]{1,200}', names) + '"'
        case "path":
            return _named("path", "/[^ ]{1,300}", names)
        case "uuid":
            return "[0-9a-fA-F-]{36}"
        case "hex":
            return "0x[0-9a-fA-F]+"
        case "address":
            return "[0-9.]{7,15}"
        case "number":
            return r"[0-9.]+" if "." in found[0] else "[0-9]+"
    return _quoted(found[0])


def _named(name: str, pattern: str, names: dict[str, int]) -> str:
    names[name] = names.get(name, 0) + 1
    number = names[name]
    return f"(?P<{name}{'' if number == 1 else f'_{number}'}>{pattern})"


def _quoted(text: str) -> str:
    """Return a pattern for exactly this text; Python's own escapes more than RE2 takes."""
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", text)


def _matching(connection: Connection, fingerprint: str) -> list[ErrorGroup]:
    if len(fingerprint) < _SHORTEST_FINGERPRINT:
        return []
    return error_groups.beginning_with(connection, fingerprint.casefold(), limit=2)


def _required(groups: Sequence[ErrorGroup], fingerprint: str) -> ErrorGroup:
    if len(groups) > 1:
        raise NoSuchErrorGroup(f"several errors begin with {fingerprint[:40]!r}", hint="give more of it")
    if not groups:
        hint = "`fleet errors list` shows them; give four characters or more"
        raise NoSuchErrorGroup(f"no error has a fingerprint that begins with {fingerprint[:40]}", hint=hint)
    return groups[0]


def _others(groups: Sequence[ErrorGroup], group: ErrorGroup, pattern: str) -> list[str]:
    """Return what other errors look like, which the pattern does not match."""
    compiled, found = compile_pattern(pattern), list[str]()
    for other in groups:
        line = hide_tokens(key_line(other.kind, other.sample or other.title))[:_LONGEST_LINE]
        if other.fingerprint != group.fingerprint and line and line not in found and not compiled.search(line):
            found.append(line)
    return found[:_SHOWN_OTHERS]


def _free_id(line: str, taken: Iterable[str]) -> str:
    """Return an id that no solution has: of the exception's type and its code, or of the first words."""
    exception = re.match(r"(?:[a-z_][\w]*\.)*([A-Z]\w+)(?::|\Z)", line)
    if exception is not None:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", exception[1])
        code = re.search(r"code:? (\d+)", line)
        words += f"_{code[1]}" if code else ""
    else:
        words = "_".join(re.findall(r"[A-Za-z]{2,}", line)[:4])
    base = re.sub(r"[^a-z0-9_]", "", words.casefold()).lstrip("_0123456789")[:60] or "unknown_error"
    base = base if len(base) > 1 else f"{base}_error"
    used, number = set(taken), 1
    while (proposed := base if number == 1 else f"{base}_{number}") in used:
        number += 1
    return proposed


def _text(solution_id: str, group: ErrorGroup, proposal: Proposal, others: Sequence[str]) -> str:
    """Return the draft as TOML, with what is to be decided in comments."""
    title = re.sub(r"\s+", " ", hide_tokens(readable(group.title))).strip()[:120]
    applies_to = ", ".join(f'"{seen}"' for seen in _APPLIES_TO[group.kind])
    lines = [
        f"# A draft from the group of errors {group.fingerprint}: it was seen {_times(group.count)}.",
        "# Finish it: title and advice are what people read; the pattern should match this error, and nothing else.",
        f"id = {toml_string(solution_id)}",
        f"title = {toml_string(title if len(title) >= 3 else solution_id)}",
        'advice = ""                # what a person can do; may name {node} and the groups of the pattern',
        'risk = "ask"               # auto: by itself; ask: an operator decides; manual: it is only told',
        f"applies_to = [{applies_to}]    # exit stderr stdout report gateway_close state",
        f"patterns = [{toml_string(proposal.pattern)}]",
        "",
        "[action]",
        "# docs/solutions.md lists them: restart, install_package, notify ...",
        'name = "notify"',
        "",
        "[samples]",
        f"match = [{toml_string(proposal.line[:2000])}]",
        "no_match = [",
        *(f"    {toml_string(line)}," for line in others),
        "]",
    ]
    return "\n".join(lines) + "\n"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
