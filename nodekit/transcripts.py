"""What was written in a channel, as a page and as plain text; in both it stays text, whatever it contains."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

import discord

MOST_MESSAGES = 5_000
MOST_BYTES = 7_000_000
"""Of each file: Discord takes ten megabytes in one message."""
_BETWEEN_LINES = re.compile(r"\r\n|[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")
"""What some program takes for the end of a line."""
_MENTION = re.compile(r"<@!?([0-9]{1,20})>")
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn")
"""Categories of characters that show nothing, or turn the line around; joiners of emoji are among them and stay."""
_MOST_KNOWN = 10_000
_JOINERS = "\u200c\u200d\t"
_STYLE = """
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
body { background: #313338; color: #dbdee1; font: 16px/1.45 sans-serif; }
h1 { font-size: 1.3rem; } dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt, time { color: #949ba4; } dd { margin: 0; } article { border-top: 1px solid #3f4147; padding: .6rem 0; }
article.bot b { color: #8ea1ff; } time { font-size: .8rem; margin-left: .5rem; }
p { margin: .2rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.note { color: #f0b232; } .file { color: #949ba4; }
""".strip()


@dataclass(frozen=True, slots=True)
class Entry:
    """One message."""

    at: datetime
    author: str
    text: str = ""
    files: tuple[str, ...] = ()
    is_bot: bool = False
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Transcript:
    """A conversation, to be sent as files."""

    html: bytes
    text: bytes
    messages: int

    def files(self, name: str) -> list[discord.File]:
        """Return both as files of a message; made anew for each message, which closes them."""
        from io import BytesIO

        return [discord.File(BytesIO(self.html), f"{name}.html"), discord.File(BytesIO(self.text), f"{name}.txt")]


async def transcribe(
    channel: discord.abc.Messageable, *, title: str, facts: Sequence[tuple[str, str]] = (), may_read: bool = True
) -> Transcript:
    """Read a channel, and return its transcript.

    Parameters
    ----------
    facts
        What stands above: names and values.
    may_read
        Whether the bot has the intent to read what people write; without it the transcript says so.

    Raises
    ------
    discord.HTTPException
    """
    messages = [message async for message in channel.history(limit=MOST_MESSAGES)]
    names = {user.id: user.display_name for message in messages for user in (message.author, *message.mentions)}
    found = [_entry_of(message, names) for message in messages]
    notes = []
    if len(found) >= MOST_MESSAGES:
        notes.append(f"Only the last {MOST_MESSAGES:,} messages are here.")
    if not may_read:
        notes.append("What people wrote is not here: the bot lacks the intent to read messages.")
    # In a thread: ten megabytes take seconds, and neither Discord nor the master waits so long for a sign of life.
    return await asyncio.to_thread(render, found[::-1], title=title, facts=facts, notes=notes)


def _entry_of(message: discord.Message, names: dict[int, str]) -> Entry:
    """Return a message as it is shown, with the names of those who are mentioned."""

    def name_of(found: re.Match[str]) -> str:
        return f"@{names.get(int(found[1]), found[1])}"

    parts = [message.content]
    for embed in message.embeds:
        parts += [embed.title or "", embed.description or ""]
        parts += [f"{field.name}: {field.value}" for field in embed.fields]
    name = message.author.display_name
    return Entry(
        at=message.created_at,
        author=name if name == message.author.name else f"{name} ({message.author.name})",
        text=_MENTION.sub(name_of, "\n".join(part for part in parts if part)),
        files=tuple(f"{file.filename} ({file.size:,} bytes)" for file in message.attachments),
        is_bot=message.author.bot,
        edited=message.edited_at is not None,
    )


def render(
    entries: Iterable[Entry], *, title: str, facts: Sequence[tuple[str, str]] = (), notes: Sequence[str] = ()
) -> Transcript:
    """Return the transcript of messages, the oldest first."""
    entries = list(entries)
    return Transcript(
        _page(entries, title, facts, notes).encode("utf-8", "replace"),
        _plain(entries, title, facts, notes).encode("utf-8", "replace"),
        len(entries),
    )


def _page(entries: list[Entry], title: str, facts: Sequence[tuple[str, str]], notes: Sequence[str]) -> str:
    head = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        # Nothing is loaded and nothing runs, whatever slipped through.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{_markup(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<h1>{_markup(title)}</h1>",
        "<dl>" + "".join(f"<dt>{_markup(name)}</dt><dd>{_markup(value)}</dd>" for name, value in facts) + "</dl>",
        *(f'<p class="note">{_markup(note)}</p>' for note in notes),
    ]
    return "\n".join(
        [*head, *_bounded([_article(entry) for entry in entries], '<p class="note">{}</p>'), "</body></html>\n"]
    )


def _article(entry: Entry) -> str:
    kind = ' class="bot"' if entry.is_bot else ""
    when = f"<time>{_time(entry.at)}{', edited' if entry.edited else ''}</time>"
    files = "".join(f'<p class="file">file: {_markup(name)}</p>' for name in entry.files)
    text = f"<p>{_markup(entry.text)}</p>" if entry.text else ""
    return f"<article{kind}><b>{_markup(_line(entry.author))}</b>{when}{text}{files}</article>"


def _plain(entries: list[Entry], title: str, facts: Sequence[tuple[str, str]], notes: Sequence[str]) -> str:
    head = [_line(title), *(f"{_line(name)}: {_line(value)}" for name, value in facts), *notes, ""]
    return "\n".join([*head, *_bounded([_paragraph(entry) for entry in entries], "{}"), ""])


def _paragraph(entry: Entry) -> str:
    """Return a message with its further lines indented, so that none of them is taken for another message."""
    lines = _BETWEEN_LINES.split(entry.text) if entry.text else []
    lines += [f"file: {name}" for name in entry.files]
    edited = " (edited)" if entry.edited else ""
    return "\n".join([f"[{_time(entry.at)}] {_line(entry.author)}{edited}:", *("    " + _line(line) for line in lines)])


def _bounded(parts: list[str], note: str) -> list[str]:
    """Return the last parts that a file has room for."""
    size, kept = 0, 0
    for part in reversed(parts):
        size += len(part.encode("utf-8", "replace")) + 1
        if size > MOST_BYTES:
            break
        kept += 1
    left_out = len(parts) - kept
    shown = parts[left_out:]
    return shown if not left_out else [note.format(f"{left_out:,} older messages did not fit."), *shown]


def _markup(text: str) -> str:
    """Return a text as a page shows it: nothing in it is markup, or turns the line around."""
    lines = _BETWEEN_LINES.split(text)
    return "\n".join(escape(_visible(line)) for line in lines)


def _line(text: str) -> str:
    return _visible(" ".join(_BETWEEN_LINES.split(text)))


class _Shown(dict[int, int]):
    """What is shown of each character, looked up once: asking for each of ten million takes twenty seconds."""

    def __missing__(self, code: int) -> int:
        one = chr(code)
        shown = code if one in _JOINERS or unicodedata.category(one) not in _HIDDEN else 0xFFFD
        if len(self) < _MOST_KNOWN:
            self[code] = shown
        return shown


_SHOWN = _Shown()


def _visible(text: str) -> str:
    return text.translate(_SHOWN)


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
