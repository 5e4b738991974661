"""What a patch changes, line by line. It blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from handshake.patch_document import PatchDocument
from master.services.patches.trees import Tree

_SNIFFED = 8_000
"""As git does: what has a zero byte in its first 8,000 is binary."""
MAX_LINES = 50_000
_CONTEXT = 3

LineKind = Literal["context", "added", "removed", "place"]


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a difference, without its end; foreign text, to be made visible by whoever shows it."""

    kind: LineKind
    text: str


@dataclass(frozen=True)
class FileDifference:
    """What becomes of one file.

    Parameters
    ----------
    sign
        ``A`` added, ``M`` changed, ``D`` removed.
    added, removed
        Lines; None for a binary file, or one of more lines than are compared.
    before, after
        Bytes; None where it is not there.
    lines
        The difference; empty for a binary file.
    base_differs
        The original has another content than the patch was made for.
    """

    path: str
    sign: Literal["A", "M", "D"]
    added: int | None
    removed: int | None
    before: int | None
    after: int | None
    lines: Sequence[DiffLine] = ()
    base_differs: bool = False
    mode_changed: bool = False


def differences(document: PatchDocument, contents: Mapping[str, bytes], base: Tree) -> Iterator[FileDifference]:
    """Compare a patch with the files that it is for, a file at a time."""
    for file in document.files:
        known = base.files.get(file.path)
        old = None if known is None else known.content
        found = compare(file.path, old, contents[file.path], base_differs=_digest(old) != file.base)
        mode_changed = known is not None and known.executable != file.executable
        yield found if not mode_changed else replace(found, mode_changed=True)
    for removed in document.removed:
        known = base.files.get(removed.path)
        old = None if known is None else known.content
        yield compare(removed.path, old, None, base_differs=_digest(old) != removed.base)


def _digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def compare(path: str, old: bytes | None, new: bytes | None, *, base_differs: bool = False) -> FileDifference:
    """Compare two contents of a file; None where there is none."""
    sign: Literal["A", "M", "D"] = "A" if old is None and new is not None else "D" if new is None else "M"
    before, after = (None if content is None else len(content) for content in (old, new))
    left, right = _text_lines(old), _text_lines(new)
    if left is None or right is None:
        return FileDifference(path, sign, None, None, before, after, base_differs=base_differs)
    lines = list(_lines(left, right))
    added = sum(line.kind == "added" for line in lines)
    removed = sum(line.kind == "removed" for line in lines)
    return FileDifference(path, sign, added, removed, before, after, lines, base_differs=base_differs)


def _lines(left: list[str], right: list[str]) -> Iterator[DiffLine]:
    import difflib

    unified = difflib.unified_diff(left, right, n=_CONTEXT)
    for number, line in enumerate(unified):
        if number < 2:
            continue  # the two names, which are shown with the file
        mark, text = line[:1], line[1:]
        if mark == "@":
            yield DiffLine("place", line.rstrip("\n"))
            continue
        yield DiffLine("added" if mark == "+" else "removed" if mark == "-" else "context", text.removesuffix("\n"))
        if not text.endswith("\n"):
            yield DiffLine("place", "\\ No newline at end of file")


def _text_lines(content: bytes | None) -> list[str] | None:
    """Return the lines of a text with their ends; None for what is none, or has too many."""
    if content is None:
        return []
    if b"\0" in content[:_SNIFFED]:
        return None
    # Whatever else Python takes for the end of a line is none in a program.
    *lines, last = content.decode("utf-8", "replace").split("\n")
    found = [f"{line}\n" for line in lines] + ([last] if last else [])
    return found if len(found) <= MAX_LINES else None
