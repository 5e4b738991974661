"""Files of allowed signers, as ``ssh-keygen -Y verify`` and git read them (ssh-keygen(1), ALLOWED SIGNERS)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from handshake.files import read_regular
from handshake.patch_document import NAMESPACE
from master.services.patches.errors import PatchNotFound
from master.services.patches.ssh_public_keys import KINDS, KeyUnusable, PublicKey, read_key_text

_MAX_BYTES = 1 << 20
_OPTION = re.compile(r'([\w-]+)(?:="((?:[^"\\]|\\.)*)")?')
_WORD = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+')
_KNOWN = frozenset({"namespaces", "valid-after", "valid-before"})
_MOMENTS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclass(frozen=True, slots=True)
class AllowedSigner:
    """Somebody whose signatures on patches are believed."""

    principals: str
    key: PublicKey


def allowed_signers(path: Path, *, at: float) -> list[AllowedSigner]:
    """Return whose keys a file allows to sign patches, at a moment.

    A line that cannot be read, that is for something else, or that has an option that is not known here allows nobody.

    Raises
    ------
    PatchNotFound
    OSError
    """
    try:
        text = read_regular(path.expanduser().resolve(), _MAX_BYTES).decode("utf-8", "replace")
    except FileNotFoundError as error:
        raise PatchNotFound(f"there is no file {path}", hint="--allowed-signers takes what git's does") from error
    return [signer for line in text.splitlines() for signer in _signers_of(line, at)]


def _signers_of(line: str, at: float) -> Iterator[AllowedSigner]:
    words = _WORD.findall(line)
    if len(words) < 3 or line.lstrip().startswith("#"):
        return
    principals, *rest = words
    options = "" if rest[0] in KINDS else rest.pop(0)
    if len(rest) < 2 or not _holds(options, at):
        return
    try:
        yield AllowedSigner(principals.strip('"'), read_key_text(rest[0], rest[1]))
    except KeyUnusable:
        return  # of a kind that no patch is signed with


def _holds(options: str, at: float) -> bool:
    found = {name.lower(): value for name, value in _OPTION.findall(options)}
    if not found.keys() <= _KNOWN:
        return False  # a certificate authority, or what is newer than this
    namespaces = found.get("namespaces")
    if namespaces is not None and not any(fnmatchcase(NAMESPACE, pattern) for pattern in namespaces.split(",")):
        return False
    after, before = found.get("valid-after"), found.get("valid-before")
    try:
        return (after is None or _moment(after) <= at) and (before is None or at < _moment(before))
    except (KeyError, ValueError):
        return False


def _moment(text: str) -> float:
    digits = text.rstrip("Zz")
    found = datetime.strptime(digits, _MOMENTS[len(digits)])  # noqa: DTZ007 - its zone follows
    return (found.replace(tzinfo=UTC) if digits != text else found.astimezone()).timestamp()
