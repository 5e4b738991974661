"""Reading single values of config.py: what is wrong is collected, not raised, so that all mistakes are told at once."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One mistake."""

    key: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.key}: {self.problem} -> {self.fix}"


class Reader:
    """Collects mistakes while values are read."""

    def __init__(self) -> None:
        self.problems: list[ConfigProblem] = []

    def report(self, key: str, problem: str, fix: str) -> None:
        """Note a mistake."""
        self.problems.append(ConfigProblem(key, problem, fix))

    def section(self, values: dict[str, Any], name: str, known: tuple[str, ...]) -> dict[str, Any]:
        """Take a section out of ``values``; its keys have to be known ones."""
        section = values.pop(name, {})
        if not isinstance(section, dict):
            self.report(name, f"is a {type(section).__name__}", "make it a dict, as in config.example.py")
            return {}
        for key in section:
            if key not in known:
                self.report(f"{name}[{key!r}]", "is not known", nearest(str(key), known))
        return {key: value for key, value in section.items() if key in known}

    def number(self, key: str, value: Any, kind: type, least: float, most: float, default: T) -> T | Any:
        """Read a number within bounds; ``default`` stands in for a mistake."""
        accepted = (int, float) if kind is float else (int,)
        if isinstance(value, bool) or not isinstance(value, accepted):
            self.report(key, f"is {shown(value)}", f"a number from {least:g} to {most:g}")
            return default
        if not least <= value <= most:
            self.report(key, f"is {value}", f"a number from {least:g} to {most:g}")
            return default
        return kind(value)

    def flag(self, key: str, value: Any, default: bool) -> bool:
        """Read True or False; ``default`` stands in for a mistake."""
        if isinstance(value, bool):
            return value
        self.report(key, f"is {shown(value)}", "True or False")
        return default

    def snowflake(self, key: str, value: Any) -> int:
        """Read a Discord id; None and 0 mean none."""
        if value in (None, "", 0):
            return 0
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 10**14 < value < 2**63:
            self.report(key, f"is {shown(value)}", "a Discord id: 17 to 20 digits (Developer Mode, Copy ID)")
            return 0
        return value

    def text(self, key: str, value: Any, fix: str) -> str:
        """Read a text that is not empty."""
        if not isinstance(value, str) or not value:
            self.report(key, f"is {shown(value)}", fix)
            return ""
        return value


def shown(value: Any) -> str:
    """Show a value in an error: short, and never a secret (those are not shown at all)."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(key: str, known: tuple[str, ...]) -> str:
    """Say which known key was probably meant."""
    near = difflib.get_close_matches(key.upper(), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}"
