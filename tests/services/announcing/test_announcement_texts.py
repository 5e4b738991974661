"""What a place gets of a text: as much as fits there, and nobody is mentioned."""

from __future__ import annotations

import pytest

from master.services.announcing.texts import Limits, fit, unmentioned

MASTODON = Limits(text=500)
NTFY = Limits(text=4096, title=200)


def test_a_title_is_the_first_line_where_there_are_no_titles() -> None:
    fitted = fit("New", "Version 2 is out", MASTODON)
    assert (fitted.title, fitted.text, fitted.cut) == ("", "New\n\nVersion 2 is out", 0)
    assert fit("New", "Version 2 is out", NTFY).title == "New"


def test_what_does_not_fit_is_cut_at_a_word_and_counted() -> None:
    text = "words and " * 100
    fitted = fit("", text, MASTODON)
    assert len(fitted.text) <= 500
    assert fitted.text.endswith(("words…", "and…"))
    assert len(fitted.text) - 1 + fitted.cut == len(text), "each character is there, or counted"
    assert len(fit("", "x" * 10_000, MASTODON).text) == 500
    assert fit("t" * 300, "x", NTFY).title == "t" * 199 + "…"
    assert fit("", "x" * 10_000, Limits(text=0)).cut == 0


@pytest.mark.parametrize("text", ["@everyone", "hi @here", "<@123>", "<@&5>", "(@bob@example.social)", "@bob, @eve"])
def test_nobody_is_mentioned(text: str) -> None:
    kept = unmentioned(text)
    assert kept.replace("\u200b", "") == text
    for at, character in enumerate(kept):
        if character == "@" and not kept[at - 1 : at].isalnum():
            assert kept[at + 1] == "\u200b", kept


def test_addresses_stay_as_they_are() -> None:
    for text in ("write to info@example.org", "at 5 @ 10", "a@b", "git+ssh@host"):
        assert unmentioned(text) == text
