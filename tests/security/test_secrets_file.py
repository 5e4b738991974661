"""Changing .env: other lines are kept, writes are atomic, and the file stays private."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from handshake.redaction import Secret
from master.security.derivation import (
    LASTING_PURPOSES,
    MasterSecret,
    check_master_secret,
    decode_kept_keys,
    encode_kept_keys,
    new_master_secret,
)
from master.security.errors import SecretRefused
from master.security.secrets_file import SecretsFile

CONTENT = """\
# Secrets of this fleet.
MASTER_SECRET=one
export MASTER_TOKEN="two # not a comment"

LEDGER_PASSWORD='three'
"""


@pytest.fixture
def file(tmp_path: Path) -> SecretsFile:
    (tmp_path / ".env").write_text(CONTENT)
    return SecretsFile(tmp_path / ".env")


def revealed(file: SecretsFile, name: str) -> str | None:
    value = file.read(name)
    return None if value is None else value.reveal()


def test_other_lines_are_kept(file: SecretsFile, tmp_path: Path) -> None:
    file.change({"MASTER_SECRET": Secret("new"), "MASTER_SECRET_PREVIOUS": Secret("one")})
    assert (tmp_path / ".env").read_text() == (
        CONTENT.replace("MASTER_SECRET=one\n", "") + "MASTER_SECRET=new\nMASTER_SECRET_PREVIOUS=one\n"
    )
    assert revealed(file, "MASTER_TOKEN") == "two # not a comment"
    file.change({"MASTER_SECRET_PREVIOUS": None, "MASTER_TOKEN": None})
    assert revealed(file, "MASTER_SECRET_PREVIOUS") is None
    assert revealed(file, "MASTER_TOKEN") is None
    assert revealed(file, "LEDGER_PASSWORD") == "three"


def test_it_is_private_and_leaves_no_temporary_file(file: SecretsFile, tmp_path: Path) -> None:
    file.change({"MASTER_SECRET": Secret("new")})
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_a_file_that_cannot_be_written_is_unchanged(file: SecretsFile, tmp_path: Path) -> None:
    (tmp_path / "..env.new").mkdir()
    with pytest.raises(SecretRefused, match="cannot be changed") as refused:
        file.change({"MASTER_SECRET": Secret("new-and-secret")})
    assert "new-and-secret" not in str(refused.value)
    assert (tmp_path / ".env").read_text() == CONTENT


def test_lasting_keys_survive_a_rotation_and_all_others_change() -> None:
    first = MasterSecret(Secret(check_master_secret(new_master_secret())))
    kept = encode_kept_keys({purpose: first.derive(purpose) for purpose in LASTING_PURPOSES})
    second = MasterSecret(Secret(check_master_secret(new_master_secret())), decode_kept_keys(kept.reveal()))
    for purpose in LASTING_PURPOSES:
        assert second.derive(purpose) == first.derive(purpose)
    for purpose in ("vault", "archive"):
        assert second.derive(purpose) != first.derive(purpose)
    assert second.derive_node_key("01A", 2).secret.reveal() != first.derive_node_key("01A", 2).secret.reveal()


@pytest.mark.parametrize("text", ["audit", "audit:short", "vault:" + "A" * 43 + "=", "audit:" + "!" * 44])
def test_damaged_keys_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(SecretRefused, match="MASTER_KEPT_KEYS is damaged") as refused:
        decode_kept_keys(text)
    assert text not in str(refused.value)
