"""Whether a bundle is accepted: by its signature first, before anything of it is parsed, and then by what it says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from handshake.patch_bundle import MAX_BUNDLE_BYTES, BundleError, RawBundle, read_document, read_files, unpack
from handshake.patch_document import NAMESPACE, PatchDocument
from master.ledger.rows.records import PatchKey
from master.services.patches import sshsig
from master.services.patches.errors import PatchRefused, Refusal

CLOCKS_DIFFER = timedelta(hours=24)
"""A patch may have been made this far in the future: an author's clock is not the box's."""
_ALL_KEYS = "`fleet patch keys list` has those that are trusted"
_LAST_MOMENT = 253_402_300_799
"""The last second that a date can be written of."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A bundle that was accepted."""

    document: PatchDocument
    document_text: str
    """As it was signed."""
    key: PatchKey
    files: Mapping[str, bytes] = field(repr=False)
    """Content by path."""
    sha256: str
    """Of the whole bundle."""


def accept(
    content: bytes,
    *,
    keys: Mapping[str, PatchKey],
    highest: Callable[[str, str], int],
    fleet_id: str,
    now: datetime,
    known_as: Callable[[str], str | None] = lambda _sha256: None,
) -> Accepted:
    """Check a bundle, and return what it holds.

    Blocking: it takes some milliseconds for each megabyte.

    Parameters
    ----------
    content
        The file.
    keys
        All keys that were ever added, by id, with those revoked.
    highest
        Returns the highest version that was accepted, by the key's id and the channel; 0: none.
    known_as
        Returns the id of the patch that a bundle was accepted as, by the bundle's SHA-256.

    Raises
    ------
    PatchRefused
    """
    if len(content) > MAX_BUNDLE_BYTES:
        raise PatchRefused(
            f"it has {len(content)} bytes, and {MAX_BUNDLE_BYTES} are the most",
            hint="a patch brings the files that change; what is large belongs into a package",
            reason=Refusal.DAMAGED,
        )
    raw = _parts_of(content)
    key = _signer_of(raw, keys)
    document = _read(raw, key)
    sha256 = hashlib.sha256(content).hexdigest()
    _check_time(document, key, now)
    _check_fleet(document, key, fleet_id)
    _check_version(document, key, highest(key.id, document.channel), known_as(sha256))
    try:
        files = read_files(document, raw.archive)
    except BundleError as error:
        raise _invalid(document, key, error) from error
    return Accepted(document, raw.document.decode(), key, files, sha256)


def _parts_of(content: bytes) -> RawBundle:
    try:
        return unpack(content)
    except BundleError as error:
        raise PatchRefused(
            str(error),
            hint="fetch the file again; `fleet patch show FILE` reads it without trusting it",
            reason=Refusal.DAMAGED,
        ) from error


def _signer_of(raw: RawBundle, keys: Mapping[str, PatchKey]) -> PatchKey:
    """Return the key that signed, which is known and not revoked; nothing is computed with a key that is neither."""
    signature = sshsig.read_signature(raw.signature)
    key_id = signature.key.id
    key = keys.get(key_id)
    if key is None or key.public != signature.key.line:
        raise PatchRefused(
            f"it is signed with a key that this fleet does not know: {key_id} ({signature.key.kind})",
            hint=f"if you trust its author, who tells you this id by another way: `fleet patch keys add`; {_ALL_KEYS}",
            reason=Refusal.UNKNOWN_KEY,
            key_id=key_id,
        )
    if key.revoked_at is not None:
        why = f": {key.why}" if key.why else ""
        raise PatchRefused(
            f"it is signed with {key.name}'s key {key_id}, which {key.revoked_by} revoked on "
            f"{key.revoked_at:%Y-%m-%d}{why}",
            hint=f"have it signed with another key; {_ALL_KEYS}",
            reason=Refusal.REVOKED_KEY,
            key_id=key_id,
        )
    try:
        sshsig.verify_read(signature, raw.document, NAMESPACE)
    except PatchRefused as error:
        raise PatchRefused(
            f"it says that {key.name} signed it, but {error.message}", hint=error.hint, key_id=key_id
        ) from error
    return key


def _read(raw: RawBundle, key: PatchKey) -> PatchDocument:
    try:
        return read_document(raw.document)
    except BundleError as error:
        raise PatchRefused(
            f"{key.name} signed it, and {error}",
            hint="have its author build it again with a `fleet` of this version",
            reason=Refusal.INVALID,
            key_id=key.id,
        ) from error


def _check_time(document: PatchDocument, key: PatchKey, now: datetime) -> None:
    if document.expires <= now.timestamp():
        raise PatchRefused(
            f"{_told(document, key)} expired on {_moment(document.expires)}, and it is {now:%Y-%m-%d %H:%M} UTC",
            hint="have its author build and sign it again; an old patch is never brought back by somebody else",
            reason=Refusal.EXPIRED,
            key_id=key.id,
        )
    if document.created > (now + CLOCKS_DIFFER).timestamp() or document.created >= document.expires:
        raise PatchRefused(
            f"{_told(document, key)} was made on {_moment(document.created)}, and it is {now:%Y-%m-%d %H:%M} UTC",
            hint="one of both clocks is wrong: check this box with `timedatectl`, then the author's",
            reason=Refusal.INVALID,
            key_id=key.id,
        )


def _check_fleet(document: PatchDocument, key: PatchKey, fleet_id: str) -> None:
    if document.fleets and fleet_id not in document.fleets:
        fleets = ", ".join(document.fleets[:3]) + (", ..." if len(document.fleets) > 3 else "")
        raise PatchRefused(
            f"{_told(document, key)} is for another fleet: {fleets}; this one is {fleet_id}",
            hint=f"have its author build it with `--fleet {fleet_id}`, or for each fleet that trusts the key",
            reason=Refusal.OTHER_FLEET,
            key_id=key.id,
        )


def _check_version(document: PatchDocument, key: PatchKey, highest: int, known_as: str | None) -> None:
    if known_as is not None:
        raise PatchRefused(
            f"{_told(document, key)} was accepted already, as patch {known_as}",
            hint=f"`fleet patch status {known_as}` shows how far it is, `fleet patch retry {known_as}` tries it again",
            reason=Refusal.KNOWN,
            key_id=key.id,
        )
    if document.version <= highest:
        raise PatchRefused(
            f"{_told(document, key)} is version {document.version} of the channel {document.channel!r}, and "
            f"version {highest} of that key was accepted before",
            hint=f"have its author build it again as version {highest + 1} or above; "
            "to go back to what was, there is `fleet patch rollback`",
            reason=Refusal.OLD_VERSION,
            key_id=key.id,
        )


def _invalid(document: PatchDocument, key: PatchKey, error: BundleError) -> PatchRefused:
    return PatchRefused(
        f"{_told(document, key)} is not whole: {error}",
        hint="fetch the file again; if it stays so, its author has to build it again",
        reason=Refusal.INVALID,
        key_id=key.id,
    )


def _told(document: PatchDocument, key: PatchKey) -> str:
    return f"{document.name!r}, signed by {key.name},"


def _moment(unix: int) -> str:
    if unix > _LAST_MOMENT:
        return "a day that no calendar has"
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M} UTC"
