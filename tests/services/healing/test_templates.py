"""Templates of lines: what varies does not split an error, and errors that differ stay apart."""

from __future__ import annotations

import pytest

from master.services.healing.templates import ANY, Templates, looks_like_error, mask

VARIED = [
    ("ERROR fetch of user 81723681723 failed after 0.9 s", "ERROR fetch of user 1 failed after 12 s"),
    ("ERROR cannot open '/srv/a b/x.json'", "ERROR cannot open '/home/y.json'"),
    ("ERROR cannot open /srv/a/x.json:", "ERROR cannot open /home/y.json:"),
    ("ERROR 10.0.0.1:5432 refused", "ERROR 192.168.7.9:5433 refused"),
    ("ERROR job 2f1e8a34-8c1d-4f0e-9a6b-0123456789ab lost", "ERROR job 00000000-8c1d-4f0e-9a6b-0123456789ff lost"),
    ("ERROR commit 9fceb02d0ae598e9 is bad", "ERROR commit 0123456789abcdef is bad"),
    ("ERROR at <Task 0x7f3a1c>", "ERROR at <Task 0xdeadbeef>"),
    ("ERROR GET https://a.example/x?y=1 failed", "ERROR GET http://b.example/ failed"),
    ("ERROR mail to ada@example.org bounced", "ERROR mail to b.c@mail.example bounced"),
    ("[2026-11-22] ERROR x", "[2027-01-02] ERROR x"),
]


@pytest.mark.parametrize(("one", "other"), VARIED)
def test_what_varies_is_one_template(one: str, other: str) -> None:
    templates = Templates()
    assert templates.take(one) == templates.take(other)
    assert mask(one) == mask(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("403 Forbidden (error code: 50013): Missing", "403 Forbidden (error code: 50001): Missing"),
        ("ERROR [Errno 28] No space left", "ERROR [Errno 24] No space left"),
        ("ERROR could not connect to the database", "ERROR could not connect to the gateway"),
        ("ERROR Shard ID None WebSocket closed with 4004", "ERROR Shard ID None WebSocket closed with 4014"),
    ],
)
def test_errors_that_differ_stay_apart(one: str, other: str) -> None:
    templates = Templates()
    assert templates.take(one) != templates.take(other)


def test_a_word_that_varies_often_is_found_out() -> None:
    templates = Templates()
    names = ("ada", "bob", "cyd", "dan", "eve", "fay")
    found = [templates.take(f"ERROR command of user {name} failed") for name in names]
    assert len(set(found)) == 3
    assert templates.title_of(found[-1]) == f"ERROR command of user {ANY} failed"
    assert templates.take("ERROR command of user bob failed") == found[1], "who was there before stays what it was"


def test_an_earlier_masters_templates_are_known_again() -> None:
    before = Templates()
    lines = [f"ERROR [Errno 28] command of user {name} failed on {name}/x" for name in ("ada", "bob", "cyd", "dan")]
    found = [before.take(line) for line in lines]
    after = Templates()
    for fingerprint in dict.fromkeys(found):
        after.adopt(fingerprint, before.title_of(fingerprint))
    assert [after.take(line) for line in lines] == found
    assert after.take(lines[0].replace("ada", "zoe")) == found[0]


@pytest.mark.parametrize(
    "line",
    [
        "ERROR    discord.client: x",
        "2 CRITICAL boom",
        "ValueError: x",
        "my.module.BoomException",
        "Traceback (most recent call last):",
        "error: no such file",
        "asyncio.TimeoutError",
    ],
)
def test_lines_that_tell_of_an_error(line: str) -> None:
    assert looks_like_error(line)


@pytest.mark.parametrize(
    "line",
    ["INFO 0 errors", "ErrorHandler loaded", "WARNING slow", "the terror", "", "no error was found", "ERROR_COUNT=0"],
)
def test_lines_that_do_not(line: str) -> None:
    assert not looks_like_error(line)
