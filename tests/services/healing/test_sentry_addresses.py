"""Which bots are given an address of the intake."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handshake.redaction import Secret
from master.security.derivation import MasterSecret, check_master_secret, new_master_secret
from master.services.healing.sentry_addresses import has_address_of_its_own


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TOKEN=x\nSENTRY_DSN=https://k@sentry.example/1\n", True),
        ("  export SENTRY_DSN = 'https://k@sentry.example/1'", True),
        ("# SENTRY_DSN=https://k@sentry.example/1\nMY_SENTRY_DSN=x\n", False),
        ("", False),
    ],
)
def test_a_bot_whose_env_file_names_one_has_one(tmp_path: Path, text: str, expected: bool) -> None:
    assert not has_address_of_its_own(tmp_path)
    (tmp_path / ".env").write_text(text)
    assert has_address_of_its_own(tmp_path) is expected


def test_a_pipe_for_an_env_file_holds_up_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".env")
    assert not has_address_of_its_own(tmp_path)


def test_keys_of_the_intake_say_nothing_of_each_other_or_of_the_nodes_own() -> None:
    secret = MasterSecret(Secret(check_master_secret(new_master_secret())))
    keys = [secret.derive_intake_key(node_id, epoch) for node_id in ("a", "b") for epoch in (1, 2)]
    texts = [key.text.reveal() for key in keys]
    assert len({*texts}) == len({key.project for key in keys}) == len(keys)
    assert all(bytes.fromhex(text) not in secret.derive_node_key("a", 1).secret.reveal() for text in texts)
    # It stands in an environment, and nowhere else.
    assert texts[0] not in repr(keys[0])
