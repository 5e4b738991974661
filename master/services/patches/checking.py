"""What holds of a patch file, point by point, for somebody who has it before any fleet does. It blocks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from handshake.patch_document import NAMESPACE, PatchDocument
from master.services.patches import sshsig
from master.services.patches.errors import PatchRefused
from master.services.patches.files import PatchFile
from master.services.patches.ssh_public_keys import PublicKey
from master.wording import duration


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One point."""

    name: str
    holds: bool
    detail: str


_WHOSE = "if you know whose it is, even your own, --key FILE.pub names it"


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """All points, and who signed."""

    file: str
    holds: bool
    key_id: str = ""
    signer: str = ""
    """Whose key it is, as far as that is known here; empty: nobody vouches for it."""
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key that is believed, and whose it is."""

    key: PublicKey
    whose: str


def verify_file(found: PatchFile, trusted: Sequence[TrustedKey], *, now: float | None = None) -> Verified:
    """Check a patch: its signature, whether the key is one of those, its content, its time."""
    checks = list[Check]()
    signer, key = "", None
    try:
        key = sshsig.verify(found.raw.signature, found.raw.document, NAMESPACE)
        checks.append(Check(name="signature", holds=True, detail=f"made with {key.id} ({key.kind})"))
    except PatchRefused as error:
        checks.append(Check(name="signature", holds=False, detail=error.message))
    if key is not None:
        signer = next((one.whose for one in trusted if one.key == key), "")
        checks.append(Check(name="key", holds=bool(signer), detail=signer or _strangers_key(trusted)))
    checks.extend(_content_checks(found, time.time() if now is None else now))
    return Verified(
        file=found.path.name,
        holds=all(check.holds for check in checks),
        key_id="" if key is None else key.id,
        signer=signer,
        checks=tuple(checks),
    )


def _strangers_key(trusted: Sequence[TrustedKey]) -> str:
    if trusted:
        others = " or ".join(one.whose for one in trusted[:3])
        return f"nobody vouches for it here: it is not {others}; {_WHOSE}"
    return f"nobody vouches for it here; {_WHOSE}"


def _content_checks(found: PatchFile, now: float) -> Iterator[Check]:
    document = found.document
    try:
        number = len(found.contents())
        yield Check(
            name="content",
            holds=True,
            detail=f"{number} {'file' if number == 1 else 'files'}, as the document names them",
        )
    except PatchRefused as error:
        yield Check(name="content", holds=False, detail=error.message)
    yield _time_check(document, now)


def _time_check(document: PatchDocument, now: float) -> Check:
    if document.expires <= now:
        return Check(name="time", holds=False, detail=f"it expired {duration(now - document.expires)} ago")
    if document.created > now + 86_400:
        detail = f"it was made {duration(document.created - now)} in the future: one of two clocks is wrong"
        return Check(name="time", holds=False, detail=detail)
    return Check(name="time", holds=True, detail=f"it expires in {duration(document.expires - now)}")
