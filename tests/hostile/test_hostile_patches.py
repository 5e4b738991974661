"""Fuzzers of bundles: cut, flipped, spliced of several good ones, signed rubbish, and lines that may be a key.

``FLEET_FUZZ=100000`` makes that many of each. Nothing but an original is ever accepted, and nothing but a refusal is
raised.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from handshake.errors import BundleError
from handshake.patch_archive import read_archive
from handshake.patch_bundle import RawBundle, check_path, pack, unpack
from handshake.patch_document import MAGIC, NAMESPACE
from master.services.patches import sshsig
from master.services.patches.acceptance import Accepted, accept
from master.services.patches.errors import PatchRefused, Refusal
from master.services.patches.key_lines import PatchKeyRefused, read_key_line
from tests.handshake.test_patch_archive import FILES, signed_for, zipped
from tests.hostile.effort import rounds
from tests.services.patches.authors import NOW, Author

SEED = 20_261_122
BUNDLES, DOCUMENTS, ARCHIVES, SIGNATURES, LINES = 1_500, 600, 1_500, 500, 1_000

pytestmark = pytest.mark.timeout(3_600)

ADA, LOST, MALLORY = (
    Author(name, ed25519.Ed25519PrivateKey.from_private_bytes(name[:1].encode() * 32))
    for name in ("ada", "lost", "mallory")
)
BO = Author("bo", ec.derive_private_key(7, ec.SECP256R1()))
KEYS = {
    **{author.key().id: author.key() for author in (ADA, BO)},
    LOST.key().id: LOST.key(revoked_at=NOW, revoked_by="cli:root"),
}
TRUSTED = (
    ADA.bundle(),
    ADA.bundle({"cogs/ranks.py": b"RANKS = 3\n", "bot.py": b"x = 1\n" * 500}, version=2),
    BO.bundle({"assets/tree.txt": b""}, name="tree"),
)
OTHERS = (LOST.bundle(), MALLORY.bundle(), ADA.sign(b"{}", b"", namespace="git"))


def accepted(content: bytes) -> Accepted:
    return accept(content, keys=KEYS, highest=lambda *_: 0, fleet_id="fleet-x", now=NOW)


def tried(content: bytes) -> Accepted | PatchRefused:
    """Return what comes of a bundle; any exception but a refusal ends the test."""
    try:
        return accepted(content)
    except PatchRefused as error:
        return error


class Fuzzer:
    """Changes bytes in the ways of a bad line, a bad disk and a bad person."""

    def __init__(self) -> None:
        self.rng = random.Random(SEED)  # noqa: S311 - a sequence that can be repeated
        self.counts: Counter[str] = Counter()

    def changed(self, content: bytes) -> bytes:
        """Return the bytes with one to three changes, which may cancel each other out."""
        for _ in range(self.rng.choice((1, 1, 1, 2, 3))):
            kind = self.rng.choice((self._flip, self._set, self._cut, self._insert, self._double, self._length))
            self.counts[kind.__name__.strip("_")] += 1
            content = kind(content)
        return content

    def spliced(self, bundles: Sequence[bytes]) -> bytes:
        """Return a bundle whose parts come from several, in whatever order."""
        parts = [part for bundle in bundles for part in self._parts(bundle)]
        if self.rng.random() < 0.5:
            self.counts["mixed"] += 1
            one, two, three = (unpack(self.rng.choice(bundles)) for _ in range(3))
            return pack(RawBundle(one.document, two.signature, three.archive))
        self.counts["reordered"] += 1
        return pack(RawBundle(*(self.rng.choice(parts) for _ in range(3))))

    @staticmethod
    def _parts(bundle: bytes) -> tuple[bytes, bytes, bytes]:
        raw = unpack(bundle)
        return raw.document, raw.signature, raw.archive

    def _at(self, content: bytes) -> int:
        return self.rng.randrange(len(content)) if content else 0

    def _flip(self, content: bytes) -> bytes:
        at = self._at(content)
        return (
            content[:at]
            + bytes(byte ^ (1 << self.rng.randrange(8)) for byte in content[at : at + 1])
            + content[at + 1 :]
        )

    def _set(self, content: bytes) -> bytes:
        at = self._at(content)
        value = self.rng.choice(
            (b"\0", b"\xff", b"\n", b" ", b"=", b"PK\1\2", b"PK\5\6", bytes([self.rng.randrange(256)]))
        )
        return content[:at] + value + content[at + len(value) :]

    def _cut(self, content: bytes) -> bytes:
        at = self._at(content)
        return self.rng.choice((content[:at], content[at:], content[:at] + content[at + self.rng.randrange(1, 40) :]))

    def _insert(self, content: bytes) -> bytes:
        at = self.rng.choice((0, len(content), self._at(content)))
        return content[:at] + self.rng.randbytes(self.rng.randrange(1, 40)) + content[at:]

    def _double(self, content: bytes) -> bytes:
        start, end = sorted((self._at(content), self._at(content)))
        return content[:end] + content[start:end] + content[end:]

    def _length(self, content: bytes) -> bytes:
        """Return the bytes with another number where a length may be."""
        at = self.rng.choice((len(MAGIC), len(MAGIC) + 4, len(MAGIC) + 8, self._at(content)))
        value = struct.pack(">I", self.rng.choice((0, 1, 2**31, 2**32 - 1, len(content), self.rng.randrange(2**20))))
        return content[:at] + value + content[at + 4 :]


def test_nothing_but_the_originals_is_ever_accepted() -> None:
    fuzzer, reasons = Fuzzer(), Counter[str]()
    for original in TRUSTED:
        accepted(original)
    for _ in range(rounds(BUNDLES)):
        every = (*TRUSTED, *OTHERS)
        is_spliced = fuzzer.rng.random() < 0.3
        content = fuzzer.spliced(every) if is_spliced else fuzzer.changed(fuzzer.rng.choice(every))
        found = tried(content)
        if isinstance(found, Accepted):
            assert content in TRUSTED, content
            fuzzer.counts["unchanged"] += 1
            continue
        assert content not in TRUSTED
        assert found.hint, found
        reasons[str(found.reason)] += 1
    assert {Refusal.DAMAGED, Refusal.BAD_SIGNATURE, Refusal.UNKNOWN_KEY, Refusal.INVALID} <= set(reasons)
    print(f"{rounds(BUNDLES)} bundles {dict(fuzzer.counts)}: {dict(reasons)}; none accepted but originals")


WRONG: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 1e308, "", "\x00\x1b[2J", "../x", ".env", "/etc/passwd", "a" * 5_000, "\u202e", [], {},
    [None], {"path": "x"}, [[[[]]]], "0" * 64, ["ranks", "ranks"], [".."], 2**40, ["--index-url=x"],
)  # fmt: skip


def rewritten(document: Any, rng: random.Random) -> Any:
    """Return the document with one value replaced or taken away, or one added, at any depth."""
    if isinstance(document, dict) and document and rng.random() < 0.9:
        key = rng.choice([*document, "more"])
        if rng.random() < 0.1:
            return {name: value for name, value in document.items() if name != key}
        return {**document, key: rewritten(document.get(key), rng)}
    if isinstance(document, list) and document and rng.random() < 0.9:
        at = rng.randrange(len(document))
        more = [document[at]] if rng.random() < 0.2 else []
        return [*document[:at], *more, rewritten(document[at], rng), *document[at + 1 :]]
    return rng.choice(WRONG)


def test_what_somebody_trusted_signs_is_refused_too_unless_it_holds() -> None:
    fuzzer, counts = Fuzzer(), Counter[str]()
    for _ in range(rounds(DOCUMENTS)):
        raw = unpack(fuzzer.rng.choice(TRUSTED))
        if fuzzer.rng.random() < 0.7:
            document = json.dumps(rewritten(json.loads(raw.document), fuzzer.rng)).encode()
        else:
            document = fuzzer.changed(raw.document)
        found = tried(ADA.sign(document, raw.archive))
        if isinstance(found, PatchRefused):
            assert found.reason not in (Refusal.DAMAGED, Refusal.BAD_SIGNATURE), found
            counts[str(found.reason)] += 1
            continue
        counts["accepted"] += 1
        holds(found, raw.archive)
    assert counts["accepted"]
    assert counts[Refusal.INVALID]
    print(f"{rounds(DOCUMENTS)} signed documents: {dict(counts)}")


def holds(found: Accepted, archive: bytes) -> None:
    """Check of what was accepted that it says and holds the same, in the eyes of zipfile too."""
    named = {file.path: (file.length, file.sha256) for file in found.document.files}
    assert {path: (len(text), hashlib.sha256(text).hexdigest()) for path, text in found.files.items()} == named
    for path in found.files:
        check_path(path)
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == found.files


def test_an_archive_is_read_as_zipfile_reads_it_or_refused() -> None:
    fuzzer, counts, wanted = Fuzzer(), Counter[str](), signed_for(FILES)
    for _ in range(rounds(ARCHIVES)):
        original = zipped(FILES, method=fuzzer.rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
        archive = fuzzer.changed(original)
        try:
            found = read_archive(archive, wanted)
        except BundleError:
            assert archive != original
            counts["refused"] += 1
            continue
        counts["unchanged" if archive == original else "read"] += 1
        assert found == FILES
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            assert {name: opened.read(name) for name in opened.namelist()} == FILES
    print(f"{rounds(ARCHIVES)} archives {dict(fuzzer.counts)}: {dict(counts)}")


@pytest.mark.parametrize(
    "make",
    [ed25519.Ed25519PrivateKey.generate, lambda: rsa.generate_private_key(65537, 3072), lambda: BO.private],
    ids=["ed25519", "rsa", "ecdsa"],
)
def test_a_signature_is_taken_in_one_form_only(make: Callable[[], Any]) -> None:
    fuzzer, counts, message = Fuzzer(), Counter[str](), b'{"format":1}'
    original = sshsig.sign(make(), message, NAMESPACE)
    content = base64.b64decode(b"".join(original.split(b"\n")[1:-2]))
    for _ in range(rounds(SIGNATURES)):
        whole = fuzzer.rng.random() < 0.3
        signature = fuzzer.changed(original) if whole else sshsig.armour(fuzzer.changed(content))
        try:
            sshsig.verify(signature, message, NAMESPACE)
        except PatchRefused:
            assert signature != original
            counts["refused"] += 1
        else:
            assert signature == original, signature
            counts["unchanged"] += 1
    print(f"{rounds(SIGNATURES)} signatures: {dict(counts)}")


def test_a_line_is_a_key_or_refused() -> None:
    fuzzer, counts = Fuzzer(), Counter[str]()
    lines = [author.key().public.encode() for author in (ADA, BO)]
    for _ in range(rounds(LINES)):
        line = fuzzer.rng.choice(lines)
        before = fuzzer.rng.choice((b"", b"ada ", b"cert-authority ", b'from="10.0.0.1" ', b"restrict,pty "))
        text = fuzzer.changed(before + line + b" ada@desk\n").decode("utf-8", "surrogateescape")
        try:
            found = read_key_line(text)
        except PatchKeyRefused:
            counts["refused"] += 1
        else:
            assert found.key.line in text
            counts["read"] += 1
    assert counts["read"]
    print(f"{rounds(LINES)} lines: {dict(counts)}")
