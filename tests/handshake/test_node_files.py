"""Boot documents and manifests."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from handshake.boot import BOOT_FD_VARIABLE, BootDocument, encode_boot, read_boot
from handshake.errors import BootError, ManifestError
from handshake.manifest import MANIFEST_NAME, NodeManifest, read_manifest, write_manifest

BOOT = BootDocument(node_id="01A", name="atlas", token="very.secret.token", key=b"k" * 32, key_epoch=1)
MANIFEST = NodeManifest(node_id="01A", name="atlas", licence="FM1-SECRET")


def descriptor_with(payload: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, payload)
    os.close(writing)
    return reading


def test_a_boot_document_passes_through_a_descriptor_and_leaves_no_trace() -> None:
    descriptor = descriptor_with(encode_boot(BOOT))
    environment = {BOOT_FD_VARIABLE: str(descriptor), "PATH": "/bin"}
    assert read_boot(environment) == BOOT
    assert environment == {"PATH": "/bin"}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_without_a_descriptor_there_is_no_boot_document() -> None:
    assert read_boot({}) is None


@pytest.mark.parametrize("payload", [b"", b"{}", b"secret garbage", b'{"version":2}'])
def test_a_bad_boot_document_is_not_quoted(payload: bytes) -> None:
    with pytest.raises(BootError) as error:
        read_boot({BOOT_FD_VARIABLE: str(descriptor_with(payload))})
    assert "garbage" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize("number", ["x", "-1", "999"])
def test_a_bad_descriptor_is_reported(number: str) -> None:
    with pytest.raises(BootError):
        read_boot({BOOT_FD_VARIABLE: number})


def test_secrets_are_in_no_repr() -> None:
    assert "secret" not in repr(BOOT)
    assert "SECRET" not in repr(MANIFEST)


def test_a_manifest_is_written_atomically_and_private(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST
    assert stat.S_IMODE((tmp_path / MANIFEST_NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST_NAME]


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b"x" * 20_000])
def test_a_bad_manifest_is_reported_with_its_path(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(ManifestError, match=str(tmp_path)):
        read_manifest(tmp_path)
