"""HTML of mails as plain text, in one pass over it.

Python's own ``html.parser`` takes quadratic time for some of what is no HTML (CVE-2025-6069): 128 KB are enough.
"""

from __future__ import annotations

import html
import re
from urllib.parse import urlsplit

_NAME = re.compile(r"/?([A-Za-z][A-Za-z0-9]*)")
_LINK = re.compile(r"""\bhref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+))""", re.IGNORECASE)
_ALT = re.compile(r"""\balt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_UNSHOWN = frozenset({"script", "style", "head", "title", "template", "svg", "math", "object", "iframe"})
_LINES = frozenset(
    {"address", "article", "blockquote", "br", "div", "dl", "dt", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6"}
    | {"header", "hr", "li", "ol", "p", "pre", "section", "table", "tr", "ul"}
)
_TAG_CHARACTERS, _LINK_CHARACTERS = 4_000, 500


class _Reader:
    """Reads one document; a search that finds nothing ends it, so that each character is looked at once."""

    def __init__(self, document: str, most_characters: int) -> None:
        self._text, self._most = document, most_characters
        self._out: list[str] = []
        self._length = 0
        self._link = ""

    def read(self) -> str:
        """Return the text."""
        at = 0
        while at < len(self._text) and self._length < self._most:
            tag = self._text.find("<", at)
            self._say(html.unescape(self._text[at : tag if tag >= 0 else len(self._text)]))
            if tag < 0:
                break
            at = self._after_tag(tag)
        return "".join(self._out)

    def _say(self, text: str) -> None:
        room = self._most - self._length
        self._out.append(text[:room])
        self._length += len(self._out[-1])

    def _after_tag(self, at: int) -> int:
        """Return where the text goes on after what begins at ``at``."""
        if self._text.startswith("<!--", at):
            return self._after("-->", at)
        name = _NAME.match(self._text, at + 1)
        if name is None:
            if self._text.startswith(("<!", "<?", "</"), at):
                return self._after(">", at)
            self._say("<")
            return at + 1
        end = self._after(">", at)
        # A tag longer than any is one that was never closed: its attributes are not looked at.
        tag = self._text[at : min(end, at + _TAG_CHARACTERS)]
        self._show(name[1].lower(), tag, closes=self._text[at + 1] == "/")
        if name[1].lower() in _UNSHOWN and self._text[at + 1] != "/":
            closing = re.compile(f"</{name[1]}", re.IGNORECASE).search(self._text, end)
            return len(self._text) if closing is None else self._after(">", closing.end())
        return end

    def _after(self, mark: str, at: int) -> int:
        found = self._text.find(mark, at)
        return len(self._text) if found < 0 else found + len(mark)

    def _show(self, name: str, tag: str, *, closes: bool) -> None:
        if name in _LINES:
            self._say("\n- " if name == "li" and not closes else "\n")
        elif name in ("td", "th"):
            self._say(" ")
        elif name == "img" and (alt := _ALT.search(tag)):
            self._say(f"[{html.unescape(alt[1] or alt[2] or '')[:100]}]")
        elif name == "a":
            if self._link:
                self._say(f" <{self._link}>")
            found = None if closes else _LINK.search(tag)
            self._link = _shown_link(next(filter(None, found.groups()), "")) if found else ""


def _shown_link(raw: str) -> str:
    """Return a link's address to be read; what a click would do otherwise is left out."""
    link = html.unescape(raw).strip()
    try:
        scheme = urlsplit(link).scheme.lower()
    except ValueError:
        return ""
    return link[:_LINK_CHARACTERS] if scheme in ("http", "https", "mailto") else ""


def text_of_html(document: str, most_characters: int) -> str:
    """Return the text of a document, with the addresses of its links written out."""
    # White space between tags is none that is seen; lines come of tags.
    return _Reader(re.sub(r"\s+", " ", document), most_characters).read()
