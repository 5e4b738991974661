"""A solution as text: what is written reads back as the same, and a person can read it."""

from __future__ import annotations

import tomllib

import msgspec
import pytest
from hypothesis import given, settings

from master.services.healing.sighting import SeenIn
from master.services.healing.solution import Risk, Samples, Solution
from master.services.healing.solution_writing import dump_solution
from tests.services.healing.solutions import solution, solutions


def read(text: str) -> Solution:
    return msgspec.convert(tomllib.loads(text), Solution)


@given(solutions())
@settings(max_examples=40, deadline=None)
def test_any_solution_reads_back_as_the_same(one: Solution) -> None:
    text = dump_solution(one)
    assert read(text) == one
    assert dump_solution(read(text)) == text


def test_it_is_written_as_a_person_would() -> None:
    one = solution(
        r"^ModuleNotFoundError: No module named '(?P<module>[\w.]{1,80})'$",
        r"\bENOENT\b",
        advice="Install {module}.",
        risk=Risk.AUTO,
        applies_to=(SeenIn.EXIT, SeenIn.STDERR),
        cooldown_s=120.0,
        action={"name": "install_package", "module": "{module}", "restart": True},
        samples=Samples(match=("ModuleNotFoundError: No module named 'aiosqlite'",), no_match=('say "x"',)),
    )
    assert dump_solution(one) == "\n".join(
        (
            'id = "missing_module"',
            'title = "A module is not installed"',
            'advice = "Install {module}."',
            'risk = "auto"',
            'applies_to = ["exit", "stderr"]',
            r"patterns = ['''^ModuleNotFoundError: No module named '(?P<module>[\w.]{1,80})'$''', '\bENOENT\b']",
            "cooldown_s = 120",
            "",
            "[action]",
            'name = "install_package"',
            'module = "{module}"',
            "restart = true",
            "",
            "[samples]",
            """match = ["ModuleNotFoundError: No module named 'aiosqlite'"]""",
            "no_match = ['say \"x\"']",
            "",
        )
    )


def test_what_turns_a_line_around_or_hides_is_written_as_its_number() -> None:
    text = dump_solution(solution("abc", title="now \u202eexe.bot\x1b[2J"))
    assert r"now \u202eexe.bot\u001b[2J" in text


@pytest.mark.parametrize("value", [{"at": object()}, {"at": None}, {"at": "\ud800"}])
def test_what_no_file_can_hold_is_not_written(value: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        dump_solution(solution("abc", action={"name": "restart", **value}))
