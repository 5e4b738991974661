"""Derivation, vault, licence codes, token formats."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handshake.redaction import Secret
from master.security import licence_codes
from master.security.derivation import MasterSecret, check_master_secret, new_master_secret
from master.security.errors import InvalidLicenceCode, SecretRefused, TokenFormatError, VaultError
from master.security.licence_codes import LicenceCodes
from master.security.tokens import MAX_TOKEN_CHARACTERS, check_token_text, claimed_user_id, shape_hint
from master.security.vault import TokenVault

SECRET = MasterSecret(Secret(check_master_secret(new_master_secret())))
OTHER = MasterSecret(Secret(check_master_secret(new_master_secret())))
CODES = LicenceCodes(SECRET)


@pytest.mark.parametrize(
    "text",
    ["", "short", "not base64 at all!!", base64.b64encode(b"x" * 31).decode(), base64.b64encode(bytes(48)).decode()],
)
def test_a_weak_secret_is_refused_with_the_command_that_generates_one(text: str) -> None:
    with pytest.raises(SecretRefused) as refused:
        check_master_secret(text)
    assert "fleet init" in refused.value.hint


def test_keys_differ_by_node_epoch_and_purpose() -> None:
    keys = {
        SECRET.derive_node_key("a", 1).secret.reveal(),
        SECRET.derive_node_key("a", 2).secret.reveal(),
        SECRET.derive_node_key("b", 1).secret.reveal(),
        OTHER.derive_node_key("a", 1).secret.reveal(),
        SECRET.derive("vault"),
        SECRET.derive("audit"),
    }
    assert len(keys) == 6
    assert SECRET.derive_node_key("a", 1).secret.reveal() in keys


def test_the_vault_decrypts_a_token_for_its_own_node_only() -> None:
    vault = TokenVault(SECRET)
    sealed = vault.seal("node-a", Secret("the token"))
    assert b"the token" not in sealed
    assert vault.unseal("node-a", sealed).reveal() == "the token"
    for wrong_vault, node, blob in [
        (vault, "node-b", sealed),
        (TokenVault(OTHER), "node-a", sealed),
        (vault, "node-a", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (vault, "node-a", b"\x02" + sealed[1:]),
        (vault, "node-a", b""),
    ]:
        with pytest.raises(VaultError, match="cannot be decrypted"):
            wrong_vault.unseal(node, blob)


@given(st.none() | st.integers(1, 200_000))
def test_a_licence_code_contains_what_it_was_issued_with(hours: int | None) -> None:
    expires_at = None if hours is None else datetime.fromtimestamp(0, UTC) + timedelta(hours=hours)
    code = CODES.issue(expires_at=expires_at)
    parsed = CODES.parse(code.text.reveal())
    assert (parsed.licence_id, parsed.expires_at) == (code.licence_id, expires_at)


def test_a_code_of_earlier_versions_with_its_tiers_place_in_the_config_inside_goes_on_to_work() -> None:
    body = bytes([1, 3]) + b"oldcode!" + (5).to_bytes(3, "big")
    text = licence_codes._encode(body + CODES._mac(body))
    assert CODES.parse(f"FM1-{text}").licence_id == b"oldcode!".hex()


def test_a_code_is_parsed_as_people_type_it() -> None:
    text = CODES.issue(expires_at=None).text.reveal()
    sloppy = " " + text.lower().replace("-", " ").replace("0", "o").replace("1", "l") + " "
    assert CODES.parse(sloppy) == CODES.parse(text)
    assert CODES.hash(sloppy) == CODES.hash(text)


@given(st.integers(4, 10_000), st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ"))
def test_any_single_typing_error_is_refused(position: int, character: str) -> None:
    text = CODES.issue(expires_at=None).text.reveal()
    places = [index for index, c in enumerate(text) if c != "-" and index >= 4]
    index = places[position % len(places)]
    if text[index] == character:
        return
    with pytest.raises(InvalidLicenceCode):
        CODES.parse(text[:index] + character + text[index + 1 :])


@pytest.mark.parametrize("text", ["", "FM1", "FM1-AAAAA", "x" * 1000, "FM1-" + "U" * 40, "☃" * 40])
def test_text_that_is_not_a_code_is_refused(text: str) -> None:
    with pytest.raises(InvalidLicenceCode):
        CODES.parse(text)


def test_a_code_of_another_fleet_is_refused() -> None:
    with pytest.raises(InvalidLicenceCode):
        CODES.parse(LicenceCodes(OTHER).issue(expires_at=None).text.reveal())


def test_the_bot_id_is_read_from_a_token_of_discords_shape_and_from_no_other() -> None:
    head = base64.urlsafe_b64encode(b"123456789012345678").decode().rstrip("=")
    assert claimed_user_id(f"{head}.Gabcde.{'x' * 38}") == 123456789012345678
    assert shape_hint(f"{head}.Gabcde.{'x' * 38}") == ""
    for other in (
        "x" * 408,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOjF9.c2ln",
        f"{head}.Gabcde",
        f"{head[:10]}.Gabcde.{'x' * 38}",
    ):
        check_token_text(other)
        assert claimed_user_id(other) is None
        assert "does not look like" in shape_hint(other)
        assert other not in shape_hint(other)


@given(st.text(max_size=600))
@example("x" * MAX_TOKEN_CHARACTERS)
@example("x" * (MAX_TOKEN_CHARACTERS + 1))
@example("token\n")
@example("tok\x00en")
@example("t\u00f6ken")
def test_refused_offline_is_only_what_no_header_or_column_holds_and_it_is_not_quoted(text: str) -> None:
    sendable = 0 < len(text) <= MAX_TOKEN_CHARACTERS and all("!" <= letter <= "~" for letter in text)
    try:
        check_token_text(text)
        refused = ""
    except TokenFormatError as error:
        refused = f"{error} {error.hint}"
    assert (refused == "") is sendable
    if len(text) > 12:
        assert text not in refused
