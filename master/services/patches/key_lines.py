"""A line that names an author's public key: of a ``.pub`` file, of authorized_keys or of allowed_signers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from handshake.patch_document import NAMESPACE
from master.errors import ExitCode
from master.services.patches.errors import PatchError
from master.services.patches.ssh_public_keys import KeyUnusable, PublicKey, read_key_text

MAX_CHARACTERS = 16_384
_COPY = "copy the whole line, which is one line however long it is"
_HOW = "`ssh-keygen -t ed25519 -C NAME -f FILE` makes a key; give its FILE.pub"
_MOST_WORDS = 8
"""Before the key: whom allowed_signers says that it is, and options."""
_WORD = re.compile(r'(?:[^\s"]|"(?:\\.|[^"\\])*")+(?=\s|\Z)')
_KINDS = re.compile(r"(?:ssh|ecdsa|sk-ssh|sk-ecdsa|webauthn-sk-ecdsa)-[a-z0-9-]+(?:@openssh\.com)?")
"""What looks like a kind of key, whether it is accepted or not."""
_FLAGS = re.compile(
    r"no-[a-z0-9-]+|restrict|cert-authority|agent-forwarding|port-forwarding|pty|user-rc|[\w-]+-required"
)


class PatchKeyRefused(PatchError):
    """A public key that cannot be added."""

    code: ClassVar[str] = "patch_key_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


@dataclass(frozen=True, slots=True)
class KeyLine:
    """What a line says."""

    key: PublicKey
    name: str
    """Its comment, or whom allowed_signers says that it is; empty if there is neither."""


def read_key_line(text: str) -> KeyLine:
    """Read the one key that a text names.

    Raises
    ------
    PatchKeyRefused
        There is none, or more than one; it is a private key, cannot be used, or has options that nobody would hold.
    """
    if "PRIVATE KEY-----" in text:
        raise PatchKeyRefused(
            "this is a private key, which nobody but its author must see",
            hint="give the file that ends in .pub; if this one was sent to you, its author needs a new key",
        )
    if len(text) > MAX_CHARACTERS:
        raise PatchKeyRefused(f"it has more than {MAX_CHARACTERS} characters, which no key has", hint=_HOW)
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if len(found) != 1:
        what = "there is no key in it" if not found else f"it has {len(found)} lines, and each may be a key"
        raise PatchKeyRefused(what, hint=_HOW if not found else "give one line; `-` reads it from standard input")
    return _read_line(found[0])


def _read_line(line: str) -> KeyLine:
    before, rest = _split(line)
    kind, encoded, comment = (*rest.split(maxsplit=2), "", "")[:3]
    try:
        key = read_key_text(kind, encoded)
    except KeyUnusable as error:
        hint = _COPY if "damaged" in str(error) else _HOW
        raise PatchKeyRefused(str(error), hint=hint) from error
    principal = before.pop(0) if before and not _is_option(before[0]) else ""
    _check_options(before)
    return KeyLine(key, comment or principal)


def _split(line: str) -> tuple[list[str], str]:
    """Return the words before the key, and the line from the key on."""
    words = list[str]()
    while len(words) <= _MOST_WORDS:
        word = _WORD.match(line)
        if word is None:
            break
        if _KINDS.fullmatch(word[0]):
            return words, line
        words.append(word[0])
        line = line[word.end() :].lstrip()
    raise PatchKeyRefused("this is no line with a public key", hint=_HOW)


def _is_option(word: str) -> bool:
    return "=" in word or any(_FLAGS.fullmatch(part.lower()) for part in word.split(","))


def _check_options(words: list[str]) -> None:
    """Refuse what the line demands of its key and nobody would look at."""
    for word in words:
        name, _, value = word.partition("=")
        if name.lower() == "namespaces" and NAMESPACE in value.strip('"').split(","):
            continue
        raise PatchKeyRefused(
            f"the line has an option that would not be held: {name[:60]}",
            hint="give the line without it; a key is taken back by `fleet patch keys revoke`",
        )
