"""Solutions for tests: one that is valid, and hypothesis' of all kinds."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from master.services.healing.sighting import SeenIn
from master.services.healing.solution import Risk, Samples, Solution


def solution(*patterns: str, **changes: Any) -> Solution:
    """Return a solution with some patterns; it need not pass the loader's checks."""
    fields: dict[str, Any] = {
        "id": "missing_module",
        "title": "A module is not installed",
        "applies_to": (SeenIn.STDERR,),
        "patterns": patterns or ("No module named",),
        "action": {"name": "restart"},
        "samples": Samples(match=("No module named 'x'",)),
    }
    return Solution(**fields | changes)


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | _texts
_parameters = st.dictionaries(_texts, _scalars | st.lists(_scalars, max_size=3) | st.dictionaries(_texts, _scalars))


@st.composite
def solutions(draw: st.DrawFn) -> Solution:
    """Return any solution that the types allow, without the loader's checks."""
    patterns = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=3, max_size=40), max_size=3)
    return Solution(
        id=draw(st.from_regex(r"[a-z][a-z0-9_]{1,63}", fullmatch=True)),
        title="abc" + draw(_texts),
        advice=draw(_texts),
        severity=draw(st.sampled_from(["information", "warning", "error"])),
        risk=draw(st.sampled_from(Risk)),
        applies_to=tuple(draw(st.lists(st.sampled_from(SeenIn), min_size=1, max_size=6))),
        patterns=("abc", *draw(patterns)),
        ignore=tuple(draw(patterns)),
        priority=draw(st.integers(-100, 100)),
        cooldown_s=draw(st.floats(0, 86_400)),
        most_an_hour=draw(st.integers(1, 100)),
        most_attempts=draw(st.integers(1, 20)),
        stays_away_s=draw(st.floats(5, 86_400)),
        action={"name": "restart", **draw(_parameters)},
        samples=Samples(match=("x", *draw(st.lists(_texts, max_size=3))), no_match=tuple(draw(st.lists(_texts)))),
    )
