"""Signatures in OpenSSH's format, both ways with the real ssh-keygen, and those of tokens by PROTOCOL.u2f."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from handshake.patch_document import MAX_SIGNATURE_BYTES, NAMESPACE
from master.services.patches import sshsig
from master.services.patches.errors import PatchRefused
from master.services.patches.ssh_public_keys import KeyUnusable, PrivateKey, public_half, read_key_text, read_public_key
from master.services.patches.ssh_wire import mpint, number, string

MESSAGE = b'{"format":1}'
KINDS = {"ed25519": 256, "ecdsa": 256, "rsa": 3072}
needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen here")


def ssh_keygen(*arguments: str | Path, stdin: bytes = b"") -> str:
    command = ["ssh-keygen", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)  # noqa: S603 - no untrusted input
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@pytest.fixture(scope="module", params=KINDS)
def key_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "key"
    ssh_keygen("-q", "-t", request.param, "-b", str(KINDS[request.param]), "-N", "", "-C", "ada@desk", "-f", path)
    return path


@needs_ssh_keygen
@pytest.mark.parametrize("hash_name", ["sha512", "sha256"])
def test_what_ssh_keygen_signs_is_verified(key_path: Path, tmp_path: Path, hash_name: str) -> None:
    message = tmp_path / "message"
    message.write_bytes(MESSAGE)
    ssh_keygen("-q", "-Y", "sign", "-n", NAMESPACE, "-O", f"hashalg={hash_name}", "-f", key_path, message)
    signed = (tmp_path / "message.sig").read_bytes()
    key = sshsig.verify(signed, MESSAGE, NAMESPACE)
    assert key.id in ssh_keygen("-l", "-f", key_path)
    assert key.line == Path(f"{key_path}.pub").read_text().rpartition(" ")[0]
    assert sshsig.canonical(signed) == signed


@needs_ssh_keygen
def test_what_is_signed_here_ssh_keygen_verifies(key_path: Path, tmp_path: Path) -> None:
    private = load_ssh_private_key(key_path.read_bytes(), None)
    signed = tmp_path / "signed"
    signed.write_bytes(sshsig.sign(private, MESSAGE, NAMESPACE))  # type: ignore[arg-type]
    (tmp_path / "allowed").write_text(f"ada {public_half(private).line}\n")  # type: ignore[arg-type]
    said = ssh_keygen(
        "-Y", "verify", "-n", NAMESPACE, "-f", tmp_path / "allowed", "-I", "ada", "-s", signed, stdin=MESSAGE
    )
    assert said.startswith('Good "fleetmaster-patch" signature for ada')


def signed_by(private: PrivateKey, message: bytes = MESSAGE, namespace: str = NAMESPACE) -> bytes:
    return sshsig.sign(private, message, namespace)


@pytest.mark.parametrize(
    "make",
    [
        ed25519.Ed25519PrivateKey.generate,
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: rsa.generate_private_key(65537, 3072),
    ],
)
def test_another_message_another_namespace_another_key_are_refused(make: Callable[[], PrivateKey]) -> None:
    private = make()
    signed = signed_by(private)
    assert sshsig.verify(signed, MESSAGE, NAMESPACE) == public_half(private)
    with pytest.raises(PatchRefused, match="one of both was changed"):
        sshsig.verify(signed, MESSAGE + b" ", NAMESPACE)
    with pytest.raises(PatchRefused, match="for 'git', not for 'fleetmaster-patch'"):
        sshsig.verify(signed_by(private, namespace="git"), MESSAGE, NAMESPACE)
    other = base64.b64decode(b"".join(signed_by(make()).split(b"\n")[1:-2]))
    own = base64.b64decode(b"".join(signed.split(b"\n")[1:-2]))
    key, other_key = string(public_half(private).blob), other[10 : 14 + int.from_bytes(other[10:14], "big")]
    with pytest.raises(PatchRefused, match=r"one of both was changed|made in another way"):
        sshsig.verify(sshsig.armour(own.replace(key, other_key)), MESSAGE, NAMESPACE)


def token_signature(
    *, kind: str = "ed25519", flags: int = 1, counter: int = 7, application: bytes = b"ssh:", tail: bytes = b""
) -> bytes:
    """Return what a token signs, built by hand from PROTOCOL.u2f and PROTOCOL.sshsig."""
    digest = hashlib.sha512(MESSAGE).digest()
    parts = (NAMESPACE.encode(), b"", b"sha512", digest)
    to_sign = b"SSHSIG" + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    by_token = (
        hashlib.sha256(application).digest()
        + bytes([flags])
        + counter.to_bytes(4, "big")
        + hashlib.sha256(to_sign).digest()
    )
    if kind == "ed25519":
        name = b"sk-ssh-ed25519@openssh.com"
        private = ed25519.Ed25519PrivateKey.generate()
        public = string(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
        raw = private.sign(by_token)
    else:
        name = b"sk-ecdsa-sha2-nistp256@openssh.com"
        ecdsa = ec.generate_private_key(ec.SECP256R1())
        point = ecdsa.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        public = string(b"nistp256") + string(point)
        r, s = utils.decode_dss_signature(ecdsa.sign(by_token, ec.ECDSA(SHA256())))
        raw = string(mpint(r)) + string(mpint(s))
    blob = string(name) + public + string(application)
    signature = string(name) + string(raw) + bytes([flags]) + number(counter) + tail
    return sshsig.armour(
        b"SSHSIG" + number(1) + b"".join(map(string, (blob, NAMESPACE.encode(), b"", b"sha512", signature)))
    )


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_tokens_signature_is_verified_with_its_flags_and_its_counter(kind: str) -> None:
    key = sshsig.verify(token_signature(kind=kind), MESSAGE, NAMESPACE)
    assert key.kind.startswith("sk-")
    assert key.is_token
    sshsig.verify(token_signature(kind=kind, flags=5, counter=2**32 - 1), MESSAGE, NAMESPACE)
    with pytest.raises(PatchRefused, match="nobody touched the token"):
        sshsig.verify(token_signature(kind=kind, flags=4), MESSAGE, NAMESPACE)
    with pytest.raises(PatchRefused, match="was not made for SSH"):
        sshsig.verify(token_signature(kind=kind, application=b"https://example.org"), MESSAGE, NAMESPACE)
    with pytest.raises(PatchRefused, match="something follows its end"):
        sshsig.verify(token_signature(kind=kind, tail=b"\0"), MESSAGE, NAMESPACE)


@needs_ssh_keygen
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_tokens_signature_as_it_is_built_here_is_one_for_ssh_keygen(kind: str, tmp_path: Path) -> None:
    signed = token_signature(kind=kind)
    (tmp_path / "signed").write_bytes(signed)
    (tmp_path / "allowed").write_text(f"ada {sshsig.read_signature(signed).key.line}\n")
    said = ssh_keygen(
        "-Y", "verify", "-n", NAMESPACE, "-f", tmp_path / "allowed", "-I", "ada", "-s", tmp_path / "signed",
        stdin=MESSAGE,
    )  # fmt: skip
    assert said.startswith('Good "fleetmaster-patch" signature for ada')


@pytest.mark.parametrize("at", [10, -1])
def test_flags_and_counter_of_a_token_are_part_of_what_is_signed(at: int) -> None:
    content = bytearray(base64.b64decode(b"".join(token_signature().split(b"\n")[1:-2])))
    content[-1 if at == -1 else -5] ^= 0x02
    with pytest.raises(PatchRefused, match="one of both was changed"):
        sshsig.verify(sshsig.armour(bytes(content)), MESSAGE, NAMESPACE)


def test_each_signature_is_taken_in_one_form_only() -> None:
    signed = signed_by(ed25519.Ed25519PrivateKey.generate())
    for other in (b"\n" + signed, signed + b"\n", signed.replace(b"\n", b"\r\n"), signed[:-1]):
        assert sshsig.canonical(other) == signed
        with pytest.raises(PatchRefused, match="not written as ssh-keygen"):
            sshsig.verify(other, MESSAGE, NAMESPACE)


def test_what_is_not_signed_of_a_signature_has_to_be_empty_and_a_digest_known() -> None:
    content = base64.b64decode(b"".join(signed_by(ed25519.Ed25519PrivateKey.generate()).split(b"\n")[1:-2]))
    before, sha512 = string(NAMESPACE.encode()), string(b"sha512")
    for odd in (before + string(b"x") + sha512, before + string(b"") + string(b"sha1")):
        with pytest.raises(PatchRefused, match="in a way that is not known"):
            sshsig.verify(sshsig.armour(content.replace(before + string(b"") + sha512, odd)), MESSAGE, NAMESPACE)


@pytest.mark.parametrize(
    ("signed", "told"),
    [
        (b"", "it is not signed"),
        (b"nonsense", "does not begin and end as one"),
        (b"-----BEGIN SSH SIGNATURE-----\n???\n-----END SSH SIGNATURE-----\n", "not in base64"),
        (b"-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n", "does not begin|cut off"),
        (b" " * (MAX_SIGNATURE_BYTES + 1), "longer than"),
        (sshsig.armour(b"SSHSIG" + number(2)), "does not begin as one"),
        (sshsig.armour(b"SSHSIG" + number(1) + number(2**32 - 1)), "cut off"),
    ],
)
def test_a_damaged_signature_is_refused_with_what_is_wrong(signed: bytes, told: str) -> None:
    with pytest.raises(PatchRefused, match=told):
        sshsig.verify(signed, MESSAGE, NAMESPACE)


def test_a_signature_of_rsa_with_sha1_or_sha256_is_refused() -> None:
    private = rsa.generate_private_key(65537, 3072)
    content = base64.b64decode(b"".join(signed_by(private).split(b"\n")[1:-2]))
    for weaker in (b"ssh-rsa", b"rsa-sha2-256"):
        changed = content.replace(string(string(b"rsa-sha2-512") + content[-388:]), b"")
        signature = string(string(weaker) + content[-388:])
        with pytest.raises(PatchRefused, match="another way than its key signs"):
            sshsig.verify(sshsig.armour(changed + signature), MESSAGE, NAMESPACE)


# The same in each process of pytest-xdist: it is in the names of tests.
POINT = ec.derive_private_key(7, ec.SECP256R1()).public_key().public_bytes(
    Encoding.X962, PublicFormat.UncompressedPoint
)  # fmt: skip


@pytest.mark.parametrize(
    ("blob", "told"),
    [
        (string(b"ssh-dss") + string(b"x"), "'ssh-dss' are not accepted"),
        (string(b"ssh-ed25519") + string(b"x" * 31), "has 32 bytes"),
        (string(b"ssh-ed25519") + string(b"x" * 32) + b"\0", "something follows"),
        (string(b"ssh-ed25519\n") + string(b"x" * 32), "no plain text"),
        (string(b"ssh-rsa") + string(mpint(65537)) + string(mpint((1 << 2047) + 1)), "RSA key of 2048 bits"),
        (string(b"ssh-rsa") + string(mpint(65537)) + string(mpint((1 << 16383) + 1)), "bytes is none|16384 bits"),
        (string(b"ssh-rsa") + string(mpint(1)) + string(mpint((1 << 3071) + 1)), "no RSA key has such numbers"),
        (string(b"ssh-rsa") + string(b"\0\1\0\1") + string(mpint((1 << 3071) + 1)), "shortest form"),
        (string(b"ecdsa-sha2-nistp256") + string(b"nistp384") + string(POINT), "another curve"),
        (string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(POINT[:-1] + b"\0"), "not on its curve"),
        (string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(POINT[:33]), "no uncompressed point"),
        (b"", "cut off"),
    ],
)
def test_a_key_that_is_weak_damaged_or_of_another_kind_is_refused(blob: bytes, told: str) -> None:
    with pytest.raises(KeyUnusable, match=told):
        read_public_key(blob)


def test_a_line_that_says_another_kind_than_its_key_is_refused() -> None:
    kind, encoded = public_half(ed25519.Ed25519PrivateKey.generate()).line.split()
    assert read_key_text(kind, encoded).kind == kind
    with pytest.raises(KeyUnusable, match="the line says 'ssh-rsa'"):
        read_key_text("ssh-rsa", encoded)
    with pytest.raises(KeyUnusable, match="not in base64"):
        read_key_text(kind, encoded + "?")
