"""Tokens in foreign text are hidden, and nothing else is."""

from __future__ import annotations

import pytest

from master.security.tokens import hide_tokens

TOKEN = "MTU3NDA3NDU1MjkzNjMwMDU2Mw.ut7b1q.Tl42glCPzaLjsrXcgxhZfBCt-lZKg-xi3Og8kd"


@pytest.mark.parametrize("text", ["Bot {}", "token={}", "('{}',)", '{{"token": "{}"}}', "{}", "{}\n{}", "a.b.{}"])
def test_a_token_is_replaced_by_whose_it_is(text: str) -> None:
    told = "[token of 1574074552936300563]"
    assert hide_tokens(text.format(TOKEN, TOKEN)) == text.format(told, told)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.2.3",
        "a_package_of_a_long_name.utils.a_function_whose_name_is_long_too",
        "eyJhbGciOiJIUzI1NiIsImtpZCI6.eyJpc3M.c2lnbmF0dXJlIG9mIHNvbWV0aGluZw",
        "MTU3NDA3NDU1MjkzNjMwMDU2Mw.ut7b1q",
    ],
)
def test_other_text_is_left(text: str) -> None:
    assert hide_tokens(text) == text
