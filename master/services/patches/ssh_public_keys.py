"""Public keys of authors, as OpenSSH writes them, and what such a key says of a signature."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from master.services.patches.ssh_wire import WireError, WireReader, mpint, string

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

ED25519, ECDSA, RSA = "ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"
SK_ED25519, SK_ECDSA = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
KINDS = (ED25519, SK_ED25519, ECDSA, SK_ECDSA, RSA)
RSA_SIGNATURE = "rsa-sha2-512"
"""With SHA-1, which ``ssh-rsa`` means as the name of a signature, nothing is accepted."""
LEAST_RSA_BITS, MOST_RSA_BITS = 3072, 8192
MAX_BLOB_BYTES = 2_048
_CURVE = b"nistp256"
_PRESENT = 0x01
"""Somebody touched the token (FIDO2 6.1: UP)."""

PrivateKey: TypeAlias = "Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey"


class KeyUnusable(ValueError):
    """A public key that cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key whose form was checked; made by :func:`read_public_key`."""

    kind: str
    """``ssh-ed25519``, ``sk-ssh-ed25519@openssh.com``, ..."""
    blob: bytes
    """As in SSH's protocol."""

    @property
    def id(self) -> str:
        """Its fingerprint, as ``ssh-keygen -l`` prints it: ``SHA256:...``."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def line(self) -> str:
        """As in authorized_keys, without a comment."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"

    @property
    def is_token(self) -> bool:
        """Whether it is on a FIDO token, which has to be touched for each signature."""
        return self.kind in (SK_ED25519, SK_ECDSA)


def read_public_key(blob: bytes) -> PublicKey:
    """Check a public key of one of :data:`KINDS`, byte by byte.

    Raises
    ------
    KeyUnusable
        Of another kind, too weak, or damaged.
    """
    if len(blob) > MAX_BLOB_BYTES:
        raise KeyUnusable(f"a key of {len(blob)} bytes is none that is known")
    reader = WireReader(blob)
    try:
        kind = reader.text()
        if kind not in KINDS:
            raise KeyUnusable(f"keys of the kind {kind!r} are not accepted: {', '.join(KINDS)} are")
        _check_rest(kind, reader)
        reader.end()
    except WireError as error:
        raise KeyUnusable(f"the key is damaged: {error}") from error
    return PublicKey(kind, blob)


def read_key_text(kind: str, encoded: str) -> PublicKey:
    """Read a key from the two words that a line has of it.

    Raises
    ------
    KeyUnusable
    """
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyUnusable("the key is damaged: it is not in base64") from error
    found = read_public_key(blob)
    if found.kind != kind or found.line != f"{kind} {encoded}":
        raise KeyUnusable(f"the line says {kind!r}, and its key is of the kind {found.kind!r}, or padded otherwise")
    return found


def _check_rest(kind: str, reader: WireReader) -> None:
    if kind == RSA:
        _check_rsa(exponent=reader.positive(), modulus=reader.positive())
        return
    if kind in (ED25519, SK_ED25519):
        if len(reader.string()) != 32:
            raise KeyUnusable("the key is damaged: an Ed25519 key has 32 bytes")
    else:
        if reader.string() != _CURVE:
            raise KeyUnusable("the key is damaged: it names another curve than its kind")
        _ecdsa_key(reader.string())
    # PROTOCOL.u2f: what a token signs with it for a web site must not be taken for a signature here.
    if kind in (SK_ED25519, SK_ECDSA) and not reader.text().startswith("ssh:"):
        raise KeyUnusable("the key of the token was not made for SSH")


def _check_rsa(*, exponent: int, modulus: int) -> None:
    bits = modulus.bit_length()
    if not LEAST_RSA_BITS <= bits <= MOST_RSA_BITS:
        raise KeyUnusable(f"an RSA key of {bits} bits is not accepted: {LEAST_RSA_BITS} to {MOST_RSA_BITS} are")
    if exponent < 3 or exponent.bit_length() > 32 or not exponent & 1 or not modulus & 1:
        raise KeyUnusable("the key is damaged: no RSA key has such numbers")


def _ecdsa_key(point: bytes) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    if len(point) != 65:
        raise KeyUnusable("the key is damaged: it is no uncompressed point of its curve")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise KeyUnusable("the key is damaged: its point is not on its curve") from error


def is_signed_by(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Tell whether a signature, in SSH's form, is the key's over the message.

    Raises
    ------
    WireError
        It is no such signature.
    """
    reader, parts = WireReader(signature), WireReader(key.blob)
    parts.string()
    if reader.text() != (RSA_SIGNATURE if key.kind == RSA else key.kind):
        raise WireError("it is made in another way than its key signs")
    raw = reader.string()
    if key.kind == RSA:
        exponent, modulus = parts.positive(), parts.positive()
        reader.end()
        return _is_rsa(exponent, modulus, raw, message)
    if key.kind in (ECDSA, SK_ECDSA):
        parts.string()
    point = parts.string()
    if key.is_token:
        # PROTOCOL.u2f: what the token signs is its own: whom for, what it saw, how often, and the message's digest.
        flags, counter = reader.take(1), reader.take(4)
        if not flags[0] & _PRESENT:
            raise WireError("nobody touched the token for it")
        message = hashlib.sha256(parts.string()).digest() + flags + counter + hashlib.sha256(message).digest()
    reader.end()
    return _is_ed25519(point, raw, message) if key.kind in (ED25519, SK_ED25519) else _is_ecdsa(point, raw, message)


def _is_ed25519(point: bytes, raw: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(point).verify(raw, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _is_ecdsa(point: bytes, raw: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.hashes import SHA256

    numbers = WireReader(raw)
    encoded = utils.encode_dss_signature(numbers.positive(), numbers.positive())
    numbers.end()
    try:
        _ecdsa_key(point).verify(encoded, message, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _is_rsa(exponent: int, modulus: int, raw: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
    from cryptography.hazmat.primitives.hashes import SHA512

    key: RSAPublicKey = RSAPublicNumbers(exponent, modulus).public_key()
    try:
        key.verify(raw, message, padding.PKCS1v15(), SHA512())
    except InvalidSignature:
        return False
    return True


def public_half(private: PrivateKey) -> PublicKey:
    """Return the public key of a private one.

    Raises
    ------
    KeyUnusable
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    kind, encoded = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode().split()
    return read_key_text(kind, encoded)


def sign_with(private: PrivateKey, message: bytes) -> bytes:
    """Return a signature in SSH's form."""
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
    from cryptography.hazmat.primitives.hashes import SHA256, SHA512

    if isinstance(private, rsa.RSAPrivateKey):
        raw = private.sign(message, padding.PKCS1v15(), SHA512())
        return string(RSA_SIGNATURE.encode()) + string(raw)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        r, s = utils.decode_dss_signature(private.sign(message, ec.ECDSA(SHA256())))
        return string(ECDSA.encode()) + string(string(mpint(r)) + string(mpint(s)))
    return string(ED25519.encode()) + string(private.sign(message))
