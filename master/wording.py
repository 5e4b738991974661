"""How figures and foreign texts are worded, in the terminal and on Discord alike."""

from __future__ import annotations

import re
from datetime import datetime

_DAY_S = 86_400.0


def duration(seconds: float | None) -> str:
    """Write a duration in its two largest units."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02}h"


def step_text(seconds: float) -> str:
    """Say by how much a clock was set."""
    days, rest = divmod(abs(seconds), 86_400)
    much = f"{days:.0f} days" if days >= 2 else f"{days * 86_400 + rest:.0f} s"
    return f"{'back' if seconds < 0 else 'forward'} by {much}"


def moment(at: float) -> str:
    """Write a moment (Unix seconds) in local time, with its date unless it is within the last day."""
    local = datetime.fromtimestamp(at).astimezone()
    recent = datetime.now().astimezone().timestamp() - at < _DAY_S
    return local.strftime("%H:%M:%S" if recent else "%Y-%m-%d %H:%M")


_UNSEEN = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters, with ESC and the one-character CSI
    "\xad\u061c\u180e\u200b\u200e\u200f\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, or turning the direction
    "\u2028-\u202e"  # line separators, and more that turn the direction
    "\ud800-\udfff"  # half of a character: it cannot be encoded
    "\U000e0000-\U000e0fff"  # tags
    "]"
)
"""What a terminal obeys, or what changes a text without being seen. Joiners stay: emoji are made of them."""

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x00": "\\0"}


def visible(text: str) -> str:
    r"""Return foreign text as one line in which nothing acts or hides: ESC becomes ``\x1b``.

    Every text that a node, a log, a person or Discord filled goes through here before it is shown.
    """
    return _UNSEEN.sub(lambda found: _SHORT.get(found[0]) or escape(found[0]), text)


def visible_lines(text: str) -> str:
    """Return text of several lines in which nothing acts or hides."""
    return "\n".join(map(visible, text.expandtabs().split("\n")))


def escape(character: str) -> str:
    r"""Return the escape of a character as Python writes it: ``\x1b``, ``\u202e``."""
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def encodable(text: str) -> str:
    """Return text that can be stored and sent; half characters (lone surrogates) become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def json_visible(document: str) -> str:
    r"""Return a JSON document with its unseen characters as ``\uXXXX``, which means the same to its reader."""
    return _UNSEEN.sub(lambda found: found[0] if found[0] == "\n" else _json_escape(found[0]), document)


def _json_escape(character: str) -> str:
    halves = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{halves[at] << 8 | halves[at + 1]:04x}" for at in range(0, len(halves), 2))


_MARKDOWN = re.compile(r"[\\*_~|`<>\[\]@]|^[#\-+]")
_CODE = re.compile(r"(`[^`\n]+`)")


def as_markdown(text: str) -> str:
    """Return foreign text for Discord: no emphasis, link, mention or heading."""
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", visible(text))


def hint_as_markdown(text: str) -> str:
    """Return a hint for Discord, line by line: commands in back quotes stay code, and the rest is no markup."""
    return "\n".join(_hint_line(line) for line in text.split("\n"))


def _hint_line(line: str) -> str:
    parts = _CODE.split(line)
    return "".join(visible(part) if at % 2 else as_markdown(part) for at, part in enumerate(parts))


def as_code(text: str) -> str:
    """Return foreign text for the inside of a code span or block, which it cannot leave."""
    return visible_lines(text).replace("`", "'")
