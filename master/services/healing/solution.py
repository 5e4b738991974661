"""A solution: what an error looks like, and what is done about it. One TOML file each (docs/solutions.md)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from master.services.healing.sighting import SeenIn

Severity = Literal["information", "warning", "error"]
SolutionId = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{1,63}\Z")]
Pattern = Annotated[str, Meta(min_length=3, max_length=1_000)]
SampleLine = Annotated[str, Meta(max_length=2_000)]


class Risk(StrEnum):
    """Who decides that the action is carried out."""

    AUTO = "auto"
    """The master, by itself."""
    ASK = "ask"
    """An operator, by a button or a command."""
    MANUAL = "manual"
    """Nobody: a person has to do it, and is told what."""


class SolutionMode(StrEnum):
    """Whether a solution acts."""

    DETECTING = "detecting"
    """It only says what it would have done."""
    ON = "on"
    OFF = "off"
    SUSPENDED = "suspended"
    """Switched off by the master: it did not cure."""


class Samples(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Lines that the loader holds the patterns to."""

    match: Annotated[tuple[SampleLine, ...], Meta(min_length=1, max_length=50)]
    no_match: Annotated[tuple[SampleLine, ...], Meta(max_length=50)] = ()


class Solution(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One solution.

    A pattern is RE2's, and is searched for in one line at a time, without the time at the line's beginning. What a
    named group captures may stand in a parameter of the action, as ``{name}``; the action checks it.
    """

    id: SolutionId
    title: Annotated[str, Meta(min_length=3, max_length=120)]
    """What is wrong, in one line: the heading of its alert."""
    advice: Annotated[str, Meta(max_length=1_000)] = ""
    """What a person can do about it; may name ``{node}`` and the named groups."""
    severity: Severity = "error"
    risk: Risk = Risk.ASK
    applies_to: Annotated[tuple[SeenIn, ...], Meta(min_length=1)]
    patterns: Annotated[tuple[Pattern, ...], Meta(min_length=1, max_length=20)]
    ignore: Annotated[tuple[Pattern, ...], Meta(max_length=20)] = ()
    """A line that one of these matches is not this error."""
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    """Of several that know an error, the one with the highest is taken; then the one with the higher cure rate."""
    cooldown_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    """On one node, from one run to the next."""
    most_an_hour: Annotated[int, Meta(ge=1, le=100)] = 6
    """Runs in an hour, in the whole fleet."""
    most_attempts: Annotated[int, Meta(ge=1, le=20)] = 3
    """Runs on one node in a row that did not help; then it is left to people."""
    stays_away_s: Annotated[float, Meta(ge=5, le=86_400)] = 300.0
    """It helped if the error is not seen again on the node for this long."""
    action: dict[str, Any]
    """``name``, and the action's parameters."""
    samples: Samples

    @property
    def action_name(self) -> str:
        """Return the name of its action."""
        return str(self.action.get("name", ""))

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters of its action, with ``{group}`` where a captured group goes."""
        return {key: value for key, value in self.action.items() if key != "name"}
