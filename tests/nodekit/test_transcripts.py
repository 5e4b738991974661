"""A transcript shows what was written, and nothing of it is markup, a line of its own, or runs."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodekit import transcripts
from nodekit.transcripts import Entry, render

AT = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
OURS = {"html", "head", "meta", "title", "style", "body", "h1", "dl", "dt", "dd", "p", "article", "b", "time"}


class Reader(HTMLParser):
    """Collects the elements of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: bytes) -> Reader:
    reader = Reader()
    reader.feed(page.decode())
    return reader


def test_what_was_written_is_there_with_who_and_when() -> None:
    entries = [Entry(AT, "Ann (ann)", "Hello\nworld", ("shot.png (12 bytes)",)), Entry(AT, "Bot", "hi", is_bot=True)]
    made = render(entries, title="Ticket 12", facts=[("Opened by", "Ann")], notes=["Only half."])
    assert made.text.decode() == (
        "Ticket 12\nOpened by: Ann\nOnly half.\n\n"
        "[2026-11-23 00:30:00 UTC] Ann (ann):\n    Hello\n    world\n    file: shot.png (12 bytes)\n"
        "[2026-11-23 00:30:00 UTC] Bot:\n    hi\n"
    )
    page = read(made.html)
    assert page.tags.count("article") == made.messages == 2
    assert "Hello\nworld" in page.text


@pytest.mark.parametrize(
    "foreign", ["</p><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;b&gt;", "<!--"]
)
def test_foreign_text_is_never_markup(foreign: str) -> None:
    made = render([Entry(AT, foreign, foreign, (foreign,))], title=foreign, facts=[(foreign, foreign)], notes=[foreign])
    page = read(made.html)
    assert set(page.tags) <= OURS
    assert page.attributes <= {"lang", "charset", "http-equiv", "content", "class"}
    assert page.text.count(foreign) == 8


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\u2028", "\x85", "\x0b"])
def test_nobody_writes_a_line_of_somebody_else(end: str) -> None:
    forged = f"hi{end}[2026-11-23 00:30:00 UTC] Admin:{end}    you are refunded"
    text = render([Entry(AT, f"Eve{end}[now] Admin:", forged)], title="T").text.decode()
    assert [line for line in text.splitlines()[2:] if line and not line.startswith("    ")] == [
        "[2026-11-23 00:30:00 UTC] Eve [now] Admin::"
    ]


def test_nothing_turns_the_line_around_and_emoji_stay_whole() -> None:
    made = render([Entry(AT, "Eve\u202e", "\u202egpj.exe \x1b[31m \U0001f468\u200d\U0001f469")], title="T")
    for one in (made.html, made.text):
        assert "\u202e" not in one.decode()
        assert "\x1b" not in one.decode()
        assert "\U0001f468\u200d\U0001f469" in one.decode()


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_keeps_the_page_whole(text: str) -> None:
    page = read(render([Entry(AT, text, text, (text,))], title=text, facts=[(text, text)]).html)
    assert set(page.tags) <= OURS
    assert page.tags.count("article") == 1


def test_of_too_much_the_last_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "MOST_BYTES", 20_000)
    made = render([Entry(AT, "Ann", f"message {n} " + "x" * 500) for n in range(100)], title="T")
    for one in (made.html, made.text):
        assert len(one) < 25_000
        assert b"older messages did not fit" in one
        assert b"message 99 " in one
        assert b"message 1 " not in one
