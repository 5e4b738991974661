"""Files of solutions that are damaged, or made to hurt: each is a solution or is refused, and soon."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from master.services.healing.matching import Matcher
from master.services.healing.solution_reading import Entry, RefusedFile, check_text
from master.services.healing.solution_writing import dump_solution
from tests.hostile.effort import rounds
from tests.services.healing.test_solution_reading import GOOD

_PIECES = (
    *(
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ".",
        "'",
        '"',
        "'''",
        '"""',
        "\\",
        "#",
        ",",
        "\n",
        "\r\n",
        "\x00",
        "\x1b[2J",
    ),
    *("id = ", "patterns = [", "[action]", "[samples]", "[a.b]", "a.b.c = 1", "x = 1979-05-27T07:32:00Z", "inf", "nan"),
    *("9" * 400, "0x" + "f" * 400, "1e9999", "-0", "true", "\\u0000", "\\U0010ffff", "\\ud800", "\u202e", "\ufeff"),
    *(
        "(",
        ")",
        "(?i)",
        "(?P<x>",
        "(?P<module>",
        "{1,1000}",
        "{1000}",
        ".*",
        ".{0,1000}",
        "(?:a{0,30}){0,30}",
        "|",
        "^",
        "$",
    ),
    *("\\x{", "\\Q", "\\pN", "\\C", "[^", "[[:alpha:]]", "\\b", "\\z", "{module}", "{node}", "{}", "{x}"),
)


def mangled(rng: random.Random) -> str:
    """Return a good file with a few blows to it."""
    text = GOOD
    for _ in range(rng.randint(1, 6)):
        at, until = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        until = min(until, at + 40)
        blow = rng.randrange(5)
        if blow == 0:
            text = text[:at] + rng.choice(_PIECES) + text[at:]
        elif blow == 1:
            text = text[:at] + text[until:]
        elif blow == 2:
            text = text[:at] + text[at:until] * rng.randint(2, 30) + text[until:]
        elif blow == 3:
            text = text[:at] + chr(rng.randrange(0x110000)) + text[at:]
        else:
            lines = text.split("\n")
            rng.shuffle(lines)
            text = "\n".join(lines) if rng.random() < 0.2 else text[:at] + rng.choice(_PIECES) + text[until:]
    return text


def test_a_damaged_file_is_a_solution_or_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(13)  # noqa: S311 - not for secrets
    ends = Counter[str]()
    longest = 0.0
    for _ in range(count := rounds(400)):
        text = mangled(rng)
        began = time.thread_time()
        found = check_text(text, "x.toml")
        longest = max(longest, time.thread_time() - began)
        if isinstance(found, Entry):
            ends["solution"] += 1
            again = check_text(dump_solution(found.solution), "x.toml")
            assert isinstance(again, Entry), (text, again)
            assert again.solution == found.solution
            Matcher([found.solution]).scan(found.solution.applies_to[0], text.encode())
        else:
            ends["refused"] += 1
            assert found.reason
            assert 0 <= found.line <= text.count("\n") + 1
            assert "\n" not in str(found)
            assert "\x1b" not in str(found)
    with capsys.disabled():
        print(f"\n  files of solutions: {count}, {dict(ends)}, the longest took {longest * 1_000:.0f} ms")


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 30_000 + " = 1",
        "[" + "a." * 30_000 + "a]",
        "\n".join(f"a{'.a' * 60}.b{number} = 1" for number in range(400)),
        "x = " + "[" * 30_000 + "]" * 30_000,
        "x = " + "{a=" * 15_000 + "1" + "}" * 15_000,
        "x = '''" + "'" * 60_000,
        'x = "' + "\\u0041" * 10_000,
        "x = [" + "1," * 30_000 + "]",
        "\n".join(f"k{number} = 1" for number in range(6_000)),
        "\n".join(f"[t{number}]" for number in range(8_000)),
        "x = 0." + "1" * 60_000,
        "x = 1" + "_1" * 30_000,
        GOOD.replace("'named .test'", "'" + "(" * 500 + "abc" + ")" * 499 + "'"),
        GOOD.replace("'named .test'", "'abc" + "(?:.{0,30}){0,30}" * 20 + "'"),
        GOOD.replace("'named .test'", "'(((a{0,10}){0,10}){0,10}){0,10}bcd'"),
        GOOD.replace("named .test", "(?:" + "|".join(f"abc{number}" for number in range(120)) + ")"),
        GOOD.replace("named .test", "[\\pL\\pN\\pS\\pP]{1,40}abc[\\pL\\pN]{1,100}"),
    ],
)
def test_a_file_that_is_made_to_hurt_is_read_soon(text: str) -> None:
    assert isinstance(check_text(text, "x.toml"), RefusedFile | Entry)
