"""What a bundle is refused for, in which order, and what an operator is told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from handshake.patch_bundle import RawBundle, pack, unpack
from handshake.patch_document import MAGIC
from master.ledger.rows.records import PatchKey
from master.services.patches.acceptance import Accepted, accept
from master.services.patches.errors import PatchRefused, Refusal
from tests.services.patches.authors import DAY, NOW, UNIX, Author, zipped

ADA, EVE = Author("ada"), Author("eve")
KEYS = {author.key().id: author.key() for author in (ADA,)}
FLEET = "fleet-0123456789ab"


def accepted(content: bytes, keys: Mapping[str, PatchKey] = KEYS, **given: Any) -> Accepted:
    return accept(content, **{"keys": keys, "highest": lambda *_: 0, "fleet_id": FLEET, "now": NOW, **given})


def refused(content: bytes, reason: Refusal, told: str | None, **given: Any) -> PatchRefused:
    with pytest.raises(PatchRefused, match=told) as found:
        accepted(content, **given)
    assert found.value.reason is reason
    assert found.value.hint
    return found.value


def test_a_good_bundle_is_accepted_with_all_that_it_holds() -> None:
    files = {"cogs/ranks.py": b"RANKS = 2\n", "assets/deep/tree.txt": b"", "bot.py": b"x" * 100_000}
    content = ADA.bundle(files, version=7, fleets=(FLEET, "fleet-other"), channel="beta")
    found = accepted(content)
    assert found.files == files
    assert (found.document.version, found.document.channel) == (7, "beta")
    assert found.key == ADA.key()
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.document_text.encode() == unpack(content).document
    assert "RANKS" not in repr(found)


def test_what_is_no_bundle_or_not_whole_is_refused_by_its_lengths() -> None:
    content = ADA.bundle()
    refused(b"", Refusal.DAMAGED, "does not begin as one")
    refused(b"PK\3\4" + content, Refusal.DAMAGED, "does not begin as one")
    refused(content[:-1], Refusal.DAMAGED, "are announced: it is damaged")
    refused(content + b"\0", Refusal.DAMAGED, "are announced: it is damaged")
    refused(MAGIC + b"\xff" * 12, Refusal.DAMAGED, "the document is longer than")
    refused(content + b"\0" * 9_000_000, Refusal.DAMAGED, "are the most")


def test_a_forged_bundle_is_refused_before_it_is_parsed() -> None:
    raw = unpack(ADA.bundle())
    refused(pack(RawBundle(raw.document, b"", raw.archive)), Refusal.BAD_SIGNATURE, "it is not signed")
    # Nobody reads this document: it is no JSON.
    forged = pack(RawBundle(b"{" * 100_000, raw.signature, raw.archive))
    error = refused(forged, Refusal.BAD_SIGNATURE, "says that ada signed it, but .*one of both was changed")
    assert error.key_id == ADA.key().id
    for_git = ADA.sign(raw.document, raw.archive, namespace="git")
    refused(for_git, Refusal.BAD_SIGNATURE, "for 'git', not for 'fleetmaster-patch'")


def test_a_key_that_is_unknown_or_revoked_is_named() -> None:
    error = refused(EVE.bundle(), Refusal.UNKNOWN_KEY, "a key that this fleet does not know")
    assert EVE.key().id in error.message
    assert "fleet patch keys add" in error.hint
    revoked = EVE.key(revoked_at=NOW, revoked_by="cli:root", why="laptop stolen")
    keys = {**KEYS, revoked.id: revoked}
    error = refused(EVE.bundle(), Refusal.REVOKED_KEY, "eve's key .* cli:root revoked on 2026-11-22: laptop", keys=keys)
    assert error.key_id == revoked.id
    accepted(ADA.bundle(), keys)


def test_a_key_that_is_kept_under_the_id_of_another_is_not_believed() -> None:
    refused(EVE.bundle(), Refusal.UNKNOWN_KEY, "does not know", keys={EVE.key().id: ADA.key()})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (lambda _: b"{}", "missing required field"),
        (lambda _: b"not JSON", "the patch's document is invalid"),
        (lambda document: document.replace(b'"name"', b'"nome"'), "unknown field|missing required"),
        (lambda document: document.replace(b'"version":1', b'"version":true'), "Expected `int`"),
        (lambda document: document.replace(b"cogs/ranks.py", b"../etc/passwd"), "not a plain path"),
        (lambda document: document.replace(b"cogs/ranks.py", b"cogs/.env"), "secrets or the node's identity"),
        (lambda document: document.replace(b'["ranks"]', b'["../ranks"]'), "matching regex"),
        (
            lambda document: document.replace(b'"reload"', b'"requirements":["--index-url=x"],"reload"'),
            "matching regex",
        ),
        (lambda document: document.replace(b'"reload"', b'"requirements":["a==1 b==2"],"reload"'), "matching regex"),
        (lambda document: document.replace(b'"reload"', b'"requirements":["a @ file:x"],"reload"'), "matching regex"),
        (lambda document: b"[" * 200_000, "the patch's document is invalid"),
        (lambda document: document.replace(b'"ranks",', b"[" * 200_000), "the patch's document is invalid"),
        (lambda document: document.replace(b"cogs/ranks.py", b"\xff\xfe"), "the patch's document is invalid"),
    ],
)
def test_a_document_that_is_signed_and_invalid_is_refused_with_who_signed_it(changed: Any, told: str) -> None:
    error = refused(ADA.bundle(change=changed), Refusal.INVALID, told)
    assert error.message.startswith("ada signed it")


def test_an_expired_patch_is_frozen_for_good() -> None:
    content = ADA.bundle(expires=UNIX + DAY)
    accepted(content, now=NOW + timedelta(days=1, seconds=-1))
    refused(
        content, Refusal.EXPIRED, "'ranks', signed by ada, expired on 2026-11-23 20:00", now=NOW + timedelta(days=1)
    )


def test_a_patch_from_the_future_or_from_after_its_end_says_that_a_clock_is_wrong() -> None:
    refused(ADA.bundle(created=UNIX + 2 * DAY), Refusal.INVALID, "was made on 2026-11-24")
    refused(ADA.bundle(created=UNIX + 7200, expires=UNIX + 3600), Refusal.INVALID, "was made on 2026-11-22 22:00")
    refused(ADA.bundle(created=2**40 - 1, expires=2**40), Refusal.INVALID, "no calendar")
    accepted(ADA.bundle(created=UNIX + 3600))


def test_a_patch_for_another_fleet_names_both() -> None:
    error = refused(ADA.bundle(fleets=("fleet-a", "fleet-b")), Refusal.OTHER_FLEET, "another fleet: fleet-a, fleet-b")
    assert FLEET in error.message
    accepted(ADA.bundle(fleets=()))


def test_an_older_version_is_a_rollback_and_refused() -> None:
    def highest(key_id: str, channel: str) -> int:
        return {(ADA.key().id, "main"): 5}.get((key_id, channel), 0)

    for old in (1, 4, 5):
        error = refused(ADA.bundle(version=old), Refusal.OLD_VERSION, "version 5 of that key", highest=highest)
        assert "as version 6 or above" in error.hint
    accepted(ADA.bundle(version=6), highest=highest)
    accepted(ADA.bundle(version=1, channel="beta"), highest=highest)


def test_the_same_bundle_again_is_told_as_which_patch_it_is_known() -> None:
    content = ADA.bundle()
    known = {hashlib.sha256(content).hexdigest(): "01JPATCH"}
    error = refused(content, Refusal.KNOWN, "accepted already, as patch 01JPATCH", highest=lambda *_: 1,
                    known_as=known.get)  # fmt: skip
    assert "fleet patch status 01JPATCH" in error.hint
    refused(ADA.bundle(note="x"), Refusal.OLD_VERSION, "version 1", highest=lambda *_: 1, known_as=known.get)


def test_a_stolen_keys_99_does_not_lock_out_the_new_key() -> None:
    stolen, new = ADA.key(revoked_at=NOW, revoked_by="cli:root"), Author("ada")
    keys = {stolen.id: stolen, new.key().id: new.key()}

    def highest(key_id: str, _channel: str) -> int:
        return 99 if key_id == stolen.id else 0

    refused(ADA.bundle(version=100), Refusal.REVOKED_KEY, "revoked", keys=keys, highest=highest)
    accepted(new.bundle(version=3), keys, highest=highest)


def test_parts_of_two_good_bundles_make_no_third() -> None:
    one, two = unpack(ADA.bundle(version=1)), unpack(ADA.bundle({"bot.py": b"2"}, version=2))
    mixed = pack(RawBundle(one.document, two.signature, one.archive))
    refused(mixed, Refusal.BAD_SIGNATURE, "one of both was changed")
    mixed = pack(RawBundle(one.document, one.signature, two.archive))
    refused(mixed, Refusal.INVALID, "the archive is not the one that was signed")


def test_the_order_is_signature_then_time_then_fleet_then_version_then_content() -> None:
    wrong: dict[str, Any] = {
        "fleets": ("fleet-other",),
        "expires": UNIX - 1,
        "created": UNIX - 2,
        "archive_sha256": "0" * 64,
    }
    given: dict[str, Any] = {"highest": lambda *_: 9}
    refused(EVE.bundle(**wrong), Refusal.UNKNOWN_KEY, None, **given)
    refused(ADA.bundle(**wrong), Refusal.EXPIRED, None, **given)
    later: dict[str, Any] = {**wrong, "expires": UNIX + 1}
    refused(ADA.bundle(**later), Refusal.OTHER_FLEET, None, **given)
    refused(ADA.bundle(**{**later, "fleets": ()}), Refusal.OLD_VERSION, None, **given)
    refused(ADA.bundle(**{**later, "fleets": ()}), Refusal.INVALID, "archive is not the one")


def test_content_that_is_not_what_was_signed_for_is_refused() -> None:
    files = {"cogs/ranks.py": b"RANKS = 2\n"}
    other = zipped({"cogs/ranks.py": b"RANKS = 3\n"})
    error = refused(ADA.bundle(files, archive=other), Refusal.INVALID, "its content is not the one that was signed")
    assert error.message.startswith("'ranks', signed by ada,")
    more = zipped({**files, "cogs/extra.py": b""})
    refused(ADA.bundle(files, archive=more), Refusal.INVALID, "not hold exactly the files")
    refused(ADA.bundle(files, archive=b"no zip"), Refusal.INVALID, "the archive is no zip")
