"""A file is read strictly: each mistake is refused, with its line and what to do about it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from master.services.healing.pattern_checks import SLOW_TIMES, time_patterns
from master.services.healing.solution import Solution
from master.services.healing.solution_reading import Entry, RefusedFile, TextRefused, check_text, read_text
from tests.services.healing.solutions import solution

GOOD = """\
id = "missing_module"
title = "A module is not installed"
advice = "Install {module} for the Python that runs {node}."
risk = "ask"
applies_to = ["exit", "stderr"]
patterns = [
    '''^ModuleNotFoundError: No module named '(?P<module>[A-Za-z0-9_.]{1,80})'$''',
    'cannot import (?P<module>[a-z]+) here',
]
ignore = ['named .test']
cooldown_s = 60

[action]
name = "install_package"
module = "{module}"

[samples]
match = [
    "ModuleNotFoundError: No module named 'aiosqlite'",
    "2026-11-22 10:00:00.123 cannot import abc here",
]
no_match = ["ModuleNotFoundError: No module named 'test'"]
"""


def refused(text: str) -> RefusedFile:
    found = check_text(text, "solutions/x.toml")
    assert isinstance(found, RefusedFile), found
    assert found.path == "solutions/x.toml"
    return found


def changed(before: str, after: str) -> str:
    assert before in GOOD
    return GOOD.replace(before, after)


def test_a_good_one_is_read() -> None:
    found = check_text(GOOD, "x.toml")
    assert isinstance(found, Entry), found
    assert (found.solution.id, found.solution.action_name) == ("missing_module", "install_package")
    assert (found.content, len(found.content_hash)) == (GOOD, 16)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 0, "`id` is missing"),
        ("id = ", 1, "it is not TOML: Invalid value (at end of document)"),
        (GOOD + "\nid = 'x'\n[samples]\n", 25, "it is not TOML: Cannot declare ('samples',) twice"),
        (changed("ignore", "ignores"), 10, "unknown key `ignores`; did you mean `ignore`?"),
        (changed("no_match", "nomatch"), 22, "unknown key `nomatch`; did you mean `no_match`?"),
        (changed('id = "missing_module"', 'id = "Missing"'), 1, "`id`: 2 to 64 of a-z, 0-9 and _, a letter first"),
        (changed('title = "A module is not installed"\n', ""), 0, "`title` is missing"),
        (changed('"stderr"', '"stdrr"'), 5, "`applies_to`, item 2: 'stdrr' is none of exit, stderr, stdout, report,"),
        (changed('"ask"', '"maybe"'), 4, "`risk`: 'maybe' is none of auto, ask, manual"),
        (changed("= 60", "= -1"), 11, "`cooldown_s`: expected a number >= 0.0"),
        (changed("= 60", "= '60'"), 11, "`cooldown_s`: expected a number, got a text"),
        (changed("['named .test']", "'named .test'"), 10, "`ignore`: expected a list, got a text"),
        (changed('name = "install_package"\n', ""), 13, "[action] has no `name`"),
        (changed('"{module}"', "[[1]]"), 13, "a parameter of the action is too deep, or a date: `module`"),
        (changed('"{module}"', "2026-11-22"), 13, "a parameter of the action is too deep, or a date: `module`"),
        (changed("[a-z]+) here", "[a-z]+ here"), 8, "pattern 2 is no RE2: missing ): cannot import"),
        (changed("[a-z]+", "[z-a]+"), 8, "pattern 2 is no RE2: invalid character class range at character 27: z-a"),
        (
            changed("'named .test'", r"'(?<=x)abc'"),
            10,
            "ignore pattern 1 is no RE2: invalid perl operator at character",
        ),
        (changed("'cannot import (?P<module>[a-z]+) here'", "'(?P<module>x)*'"), 8, "pattern 2 matches an empty line"),
        (
            changed("cannot import (?P<module>[a-z]+) here", r"(?P<module>\d+) \w+"),
            8,
            "pattern 2 has no fixed text of 3",
        ),
        (changed("import (?P<module>[a-z]+)", "import"), 3, "`advice` names {module}, and pattern 2 has no group"),
        (changed('"{module}"', '"{modul}"'), 15, "`action` names {modul}, and pattern 1 has no group"),
        (changed("Install {module}", "Install {modul}"), 3, "`advice` names {modul}, and pattern 1 has no group"),
        (changed("cannot import", "cannot(?P<node>) import"), 8, "pattern 2: a group cannot be called `node`"),
        (changed("cannot import", "(?P<module>cannot) import"), 8, "pattern 2 has the group `module` twice"),
        (changed("named 'aiosqlite'", "called aiosqlite"), 19, "no pattern matches sample 1"),
        (
            changed('["ModuleNotFoundError', '["2026-11-22 10:00:00 cannot import x here", "'),
            22,
            "sample 1 of no_match is",
        ),
        (changed("(?P<module>[a-z]+)", "(?P<module>[x-z]+)?"), 20, "no pattern matches sample 2"),
        ("x = " + "[" * 3_000, 0, "it is not TOML that can be read: maximum recursion depth"),
        ("x = " + "9" * 5_000, 0, "it is not TOML that can be read: Exceeds the limit"),
        (".".join("a" * 10_000) + " = 1", 1, "a key has more than 64 dots"),
        ("# " + "x" * 70_000, 0, "it is longer than 64 KB"),
        ("a\nx = '\ud800'", 2, "it is not UTF-8"),
        ("x = '\x1b[2J\x00'", 1, "it is not TOML: Found invalid character '\\x1b'"),
    ],
)
def test_each_mistake_is_refused_with_its_line(text: str, line: int, reason: str) -> None:
    found = refused(text)
    assert found.reason.startswith(reason)
    assert found.line == line
    assert "\x1b" not in str(found)


@pytest.mark.parametrize(
    "pattern", ["discord", "(?i)error", "Traceback", "exit code", "Exception", r'File "(?P<m>[^"]+)"']
)
def test_one_that_knows_ordinary_lines_is_too_wide(pattern: str) -> None:
    found = refused(
        "id = 'wide'\ntitle = 'wide'\napplies_to = ['stderr']\n"
        f"patterns = ['''{pattern}''']\n[action]\nname = 'restart'\n"
        """[samples]\nmatch = ["discord error, Traceback, exit code, Exception, File \\"x\\""]"""
    )
    assert found.reason.startswith("too wide: it knows ")
    assert found.line == 4


def test_a_group_that_may_be_absent_is_not_used() -> None:
    found = refused(
        changed("cannot import (?P<module>[a-z]+) here", "cannot import (?P<module>[x-z]+)?").replace("abc here", "abc")
    )
    assert found.reason == "{module} is used, and nothing is captured for it in sample 2"
    assert found.line == 20


def test_the_actions_own_check_is_asked() -> None:
    found = check_text(GOOD, "x.toml", check_action=lambda one: f"there is no action {one.action_name!r}")
    assert isinstance(found, RefusedFile)
    assert (found.reason, found.line) == ("there is no action 'install_package'", 13)


_SLOW = "x(?:a|b|.){0,200}(?:.{0,200}y){3}"


def test_a_pattern_that_is_slow_on_the_nodes_lines_is_refused_with_its_time() -> None:
    lines = ["cannot import abcx" + "ab" * 300] * 200
    text = changed("[a-z]+) here", f"[a-z]+)(?:{_SLOW}| here)")
    found = check_text(text, "x.toml", lines=lines)
    assert isinstance(found, RefusedFile)
    assert found.reason.startswith("pattern 2 is slow: ")
    assert found.reason.endswith(
        f" times a plain text's time, at most {SLOW_TIMES:g}; counted repetitions, such as .{{0,40}}, cost most"
    )
    assert found.line == 8


def test_patterns_as_people_write_them_are_not_slow_also_on_short_lines() -> None:
    one = solution(
        r"^ModuleNotFoundError: No module named '(?P<m>[\w.]{1,80})'$", "error code: (?P<c>[0-9]+)", ignore=("abc",)
    )
    for lines in (["x"] * 1_000, ["ModuleNotFoundError: No module named 'abc'"] * 1_000, [""], []):
        timed = time_patterns(one, lines)
        assert [pattern for pattern, _ in timed] == [*one.patterns, *one.ignore]
        assert max(times for _, times in timed) < SLOW_TIMES


def test_what_is_no_text_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "link.toml").symlink_to("/etc/passwd")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "endless.toml").write_bytes(b"x" * 70_000)
    (tmp_path / "latin.toml").write_bytes(b"id = 'x'\n# \xe4")
    reasons = dict[str, str]()
    for path in tmp_path.iterdir():
        with pytest.raises(TextRefused) as refusal:
            read_text(path)
        reasons[path.stem] = f"{refusal.value.line}: {refusal.value.reason}"
    assert reasons == {
        "pipe": "0: it is no regular file",
        "link": "0: it is a link, which is not followed",
        "folder": "0: it is no regular file",
        "endless": "0: it is longer than 64 KB",
        "latin": "2: it is not UTF-8",
    }


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert read_text(path) == GOOD


def test_a_solution_cannot_be_without_patterns() -> None:
    assert refused(
        "id='ab'\ntitle='abc'\napplies_to=['exit']\npatterns = []\n[action]\nname='x'\n[samples]\nmatch=['x']"
    ).reason == ("`patterns`: expected a list of length >= 1")
    assert Solution.__struct_config__.forbid_unknown_fields
