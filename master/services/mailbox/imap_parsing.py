"""Answers of an IMAP server as nested lists (RFC 3501, section 7), and what a mail consists of (BODYSTRUCTURE)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from email.header import decode_header, make_header
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from master.services.mailbox.errors import MailServerOdd

_TOKEN = re.compile(rb'\(|\)|"((?:[^"\\]|\\.)*)"|\{(\d+)\}\Z|([^\s()"]+)')
_MOST_TOKENS, _DEEPEST, _MOST_PARTS = 20_000, 40, 200
_NAME_CHARACTERS = 120

Node = bytes | list[Any]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One leaf of a mail's structure."""

    section: str
    kind: str
    """Such as ``text/plain``, in lower case."""
    charset: str = ""
    encoding: str = ""
    size: int = 0
    name: str = ""
    is_attachment: bool = False


def parse(lines: Iterable[bytes | bytearray]) -> list[Any]:
    """Return the lines of an answer as nested lists; literals are ``bytearray`` lines.

    Raises
    ------
    MailServerOdd
        They are nested too deep, or too many.
    """
    root: list[Any] = []
    stack, count = [root], 0
    for line in lines:
        if isinstance(line, bytearray):
            stack[-1].append(bytes(line))
            continue
        for token in _TOKEN.finditer(line):
            count += 1
            if count > _MOST_TOKENS:
                raise MailServerOdd("the structure of a mail has no end")
            match token[0]:
                case b"(":
                    if len(stack) > _DEEPEST:
                        raise MailServerOdd("the structure of a mail is nested too deep")
                    deeper: list[Any] = []
                    stack[-1].append(deeper)
                    stack.append(deeper)
                case b")":
                    if len(stack) > 1:
                        stack.pop()
                case _:
                    if token[2] is None:
                        stack[-1].append(re.sub(rb"\\(.)", rb"\1", token[1]) if token[1] is not None else token[3])
    return root


def items_of(fetched: Sequence[Any]) -> dict[str, Any]:
    """Return the items of one FETCH answer by their names, in upper case, without a partial's offset."""
    found: dict[str, Any] = {}
    for name, value in zip(fetched[::2], fetched[1::2], strict=False):
        if isinstance(name, bytes):
            found[re.sub(r"<\d+>\Z", "", name.decode("ascii", "replace").upper())] = value
    return found


def parts_of(structure: Any) -> list[Part]:
    """Return the leaves of a BODYSTRUCTURE, in their order; a mail within a mail is one."""
    return [part for _, part in zip(range(_MOST_PARTS), _leaves(structure, ""), strict=False)]


def _leaves(node: Any, section: str) -> Iterator[Part]:
    if not isinstance(node, list) or not node:
        return
    if isinstance(node[0], list):
        prefix = f"{section}." if section else ""
        children = [child for child in node if isinstance(child, list) and child]
        for number, child in enumerate(_before_subtype(node, children), start=1):
            yield from _leaves(child, f"{prefix}{number}")
        return
    yield _leaf(node, section or "1")


def _before_subtype(node: list[Any], children: list[Any]) -> list[Any]:
    """Return the parts of a multipart: what stands before its subtype, which is the first text."""
    first_text = next((at for at, child in enumerate(node) if not isinstance(child, list)), len(node))
    return children[:first_text]


def _leaf(node: list[Any], section: str) -> Part:
    kind = f"{_text(node, 0)}/{_text(node, 1)}".lower()
    parameters = _pairs(node[2] if len(node) > 2 else None)
    disposition, about = "", dict[str, str]()
    for element in node[7:]:
        if isinstance(element, list) and element and _text(element, 0).lower() in ("attachment", "inline"):
            disposition, about = _text(element, 0).lower(), _pairs(element[1] if len(element) > 1 else None)
    name = _parameter(about, "filename") or _parameter(parameters, "name")
    size = _text(node, 6)
    return Part(
        section=section,
        kind=kind[:_NAME_CHARACTERS],
        charset=parameters.get("charset", "")[:40],
        encoding=_text(node, 5).lower(),
        size=int(size) if size.isascii() and size.isdigit() and len(size) < 16 else 0,
        name=name[:_NAME_CHARACTERS],
        is_attachment=disposition == "attachment" or bool(name) or not kind.startswith("text/"),
    )


def _text(node: list[Any], at: int) -> str:
    value = node[at] if at < len(node) else b""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) and value.upper() != b"NIL" else ""


def _pairs(node: Any) -> dict[str, str]:
    if not isinstance(node, list):
        return {}
    values = [_text(node, at) for at in range(len(node))]
    return {name.lower(): value for name, value in zip(values[::2], values[1::2], strict=False)}


def _parameter(pairs: dict[str, str], name: str) -> str:
    """Return a parameter as people read it: RFC 2231 (``name*``, ``name*0*``), or encoded words, as many senders do."""
    pieces = [pairs[key] for key in (f"{name}*{n}{star}" for n in range(10) for star in ("", "*")) if key in pairs]
    extended = pairs.get(f"{name}*") or ("".join(pieces) if f"{name}*0*" in pairs else "")
    if extended:
        charset, _, rest = extended.partition("'")
        return decoded(unquote_to_bytes(rest.partition("'")[2]), charset)
    return decoded_words(pairs.get(name) or "".join(pieces))


def decoded(data: bytes, charset: str) -> str:
    """Return bytes as text, in whichever charset they claim to be; what cannot be read is replaced."""
    for name in (charset, "utf-8"):
        try:
            # Codecs such as "zip" make something else than text of it, and much more.
            if name and name.lower().replace("_", "-") not in _NO_CHARSETS:
                return data.decode(name, "replace" if name == charset else "strict")
        except (LookupError, ValueError):
            continue
    return data.decode("latin-1")


_NO_CHARSETS = frozenset(
    {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "utf-7", "mbcs", "oem"}
)


def decoded_words(text: str) -> str:
    """Return a header's text with its encoded words (RFC 2047) decoded, as far as they can be."""
    if "=?" not in text:
        return text
    try:
        return str(make_header(decode_header(text)))
    except (LookupError, ValueError, AssertionError, AttributeError):
        # Their charset or base64 is broken, and email says so in many ways.
        return text
