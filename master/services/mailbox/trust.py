"""Whether one's own mail server vouches for a sender: its Authentication-Results (RFC 8601), and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from master.services.mailbox.mail_content import Verdict

_MOST_CHARACTERS, _MOST_RESULTS = 8_000, 50
_RESULT = re.compile(r"\s*([a-z0-9-]+)(?:\s*/\s*\d+)?\s*=\s*([a-z]+)(?=[\s;]|\Z)", re.IGNORECASE)
# A value to its end: in "a@shop.example"@evil.example what is quoted is a name at evil.example.
_PROPERTY = re.compile(r"(?<![^\s;\"])([^\s=;\"]++)\s*+=\s*+((?:\"[^\"]*+(?:\"|\Z)|[^\s;\"])++)")
_ID = re.compile(r"\s*(\"[^\"]*\"|[^\s;\"]+)(?:\s+\d+)?\s*\Z")


class _Result(msgspec.Struct, frozen=True):
    method: str
    result: str
    properties: dict[str, str]


def judge(headers: Sequence[str], authserv_id: str, domain: str) -> Verdict:
    """Judge a sender.

    Parameters
    ----------
    headers
        The values of all Authentication-Results, the topmost first. That is the one which one's own server added:
        below it is whatever the sender wrote.
    authserv_id
        How one's own server calls itself in it.
    domain
        Of the one address in From; empty if there is no such.
    """
    if not authserv_id:
        return Verdict(False, "AUTHSERV_ID is not set: nobody is vouched for")
    if not domain:
        return Verdict(False, "From does not have exactly one address")
    if not headers:
        return Verdict(False, "there is no Authentication-Results header")
    if _has_quotes_in_comments(headers[0][:_MOST_CHARACTERS]):
        # Servers name the sender in comments; what is before the @, in quotes, may hold parentheses that end one.
        return Verdict(False, "a comment in Authentication-Results has quotes, which may be the sender's")
    name, results = _read(headers[0])
    if name.casefold() != authserv_id.casefold():
        return Verdict(False, f"Authentication-Results is of {name[:80] or 'nobody'}, not of {authserv_id}")
    for result in results:
        why = _vouches(result, domain)
        if why:
            return Verdict(True, why)
    told = ", ".join(f"{one.method}={one.result}" for one in results[:6])
    return Verdict(False, f"{told or 'no results'}: none of it is for {domain}")


def _vouches(result: _Result, domain: str) -> str:
    """Say how a result vouches for the domain; empty if it does not."""
    if result.result != "pass":
        return ""
    found = result.properties
    match result.method:
        case "dmarc":
            # Whoever made it knows which domains belong together.
            return f"dmarc for {domain}" if _host(found.get("header.from", "")) == domain else ""
        case "dkim":
            signer = _host(found.get("header.d", "") or found.get("header.i", ""))
            return f"dkim of {signer}" if _covers(signer, domain) else ""
        case "spf":
            # Not smtp.helo: that is the name of a machine.
            sender = _host(found.get("smtp.mailfrom", ""))
            return f"spf of {sender}" if _covers(sender, domain) else ""
    return ""


def _covers(signer: str, domain: str) -> bool:
    """Tell whether a domain speaks for another one: itself, or one below it. What is below may be anybody's."""
    return "." in signer and (domain == signer or domain.endswith(f".{signer}"))


def _host(address: str) -> str:
    return _unquoted(address).rpartition("@")[2].rstrip(".").lower()


def _unquoted(value: str) -> str:
    """Return what quotes stand around, if they stand around all of it."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' and value.count('"') == 2 else value


def _properties(text: str) -> dict[str, str]:
    """Return the properties of a result; one that is there with two values has none."""
    found: dict[str, str] = {}
    for key, value in _PROPERTY.findall(text):
        found[key.lower()] = value if found.get(key.lower(), value) == value else ""
    return found


def _read(header: str) -> tuple[str, list[_Result]]:
    """Return who made the results, and the results."""
    first, *rest = _split(without_comments(header[:_MOST_CHARACTERS]))
    name = _ID.match(first)
    results = []
    for piece in rest[:_MOST_RESULTS]:
        found = _RESULT.match(piece)
        if found is not None:
            results.append(_Result(found[1].lower(), found[2].lower(), _properties(piece[found.end() :])))
    return ("" if name is None else name[1].strip('"')), results


def _has_quotes_in_comments(header: str) -> bool:
    return header.count('"') != without_comments(header.replace("\\", "")).count('"')


def _split(text: str) -> list[str]:
    """Split at semicolons that are not within quotes."""
    return [piece.replace("\0", ";") for piece in _quoted(text).split(";")]


def _quoted(text: str) -> str:
    # A quote that is never closed reaches to the end.
    return re.sub(r'"[^"]*(?:"|\Z)', lambda found: found[0].replace(";", "\0"), text.replace("\0", ""))


def without_comments(text: str) -> str:
    """Return a header's text without what is in parentheses, which may be nested; quotes keep theirs."""
    out, depth, in_quotes, escaped = [], 0, False, False
    for character in text:
        if escaped:
            escaped = False
            continue
        if character == "\\":
            escaped = True
            continue
        if character == '"' and not depth:
            in_quotes = not in_quotes
        if not in_quotes and character == "(":
            depth += 1
        elif not in_quotes and character == ")" and depth:
            depth -= 1
            out.append(" ")
        elif not depth:
            out.append(character)
    return "".join(out)
