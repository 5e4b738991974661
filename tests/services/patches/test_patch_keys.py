"""Keys of authors: which lines are taken, who may add one, and what a revocation says is still in force."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from msgspec.structs import replace
from sqlalchemy import Connection

from handshake.redaction import Secret
from master.configuration.settings import DatabaseSettings
from master.ledger.database import Ledger
from master.ledger.rows import nodes, patch_nodes, patch_versions, patches
from master.ledger.rows.audit import AuditChain
from master.ledger.rows.audit_head import HeadFile
from master.ledger.rows.records import Node, Patch, PatchNode, PatchNodeState
from master.services.core.actors import Actor
from master.services.patches.errors import PatchNotFound
from master.services.patches.fleet_id import fleet_id_of
from master.services.patches.key_lines import PatchKeyRefused, read_key_line
from master.services.patches.keys import PatchKeys
from master.services.patches.ssh_public_keys import public_half
from master.supervision.clock import SystemClock
from tests.services.conftest import OPERATOR
from tests.services.patches.authors import NOW

ON_DISCORD = Actor(face="discord", identity="7", name="ada", is_member=True)
# The same in each process of pytest-xdist: they are in the names of tests.
PRIVATE = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
LINE = public_half(PRIVATE).line
ID = public_half(PRIVATE).id


def new_line() -> str:
    return public_half(Ed25519PrivateKey.generate()).line


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (LINE, ""),
        (f"{LINE} ada@desk\n", "ada@desk"),
        (f"# keys of ours\r\n\r\n{LINE} Ada Lovelace, laptop\r\n", "Ada Lovelace, laptop"),
        (f"ada@example.org {LINE}", "ada@example.org"),
        (f"ada@example.org,bo {LINE} laptop", "laptop"),
        (f"{LINE} Ada's \"laptop", "Ada's \"laptop"),
        (f'ada namespaces="git,fleetmaster-patch" {LINE}', "ada"),
    ],
)
def test_a_line_of_each_file_that_ssh_has_is_taken(text: str, name: str) -> None:
    found = read_key_line(text)
    assert (found.key.id, found.name) == (ID, name)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no key in it"),
        ("# nothing\n", "there is no key in it"),
        ("ada@desk", "no line with a public key"),
        ("ssh-ed25519", "the key is damaged"),
        (LINE.replace(" ", '"'), "no line with a public key"),
        (f"{'a ' * 20}{LINE}", "no line with a public key"),
        ('"' + '\\"' * 8_000, "no line with a public key"),
        (f"{LINE}\n{LINE}", "it has 2 lines"),
        (f"{LINE[:-10]}", "damaged"),
        (f"ssh-ed25519 {LINE}", "the key is damaged: it is not in base64"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "'ssh-dss' are not accepted"),
        ("ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjE=", "'ecdsa-sha2-nistp521' are not accepted"),
        (f"ada cert-authority {LINE}", "option that would not be held: cert-authority"),
        (f"restrict {LINE}", "option that would not be held: restrict"),
        (f"no-touch-required,no-pty {LINE}", "would not be held"),
        (f'ada namespaces="git" {LINE}', "would not be held: namespaces"),
        (f'ada valid-before="20270101" {LINE}', "would not be held: valid-before"),
        (f'from="10.0.0.1",command="echo \\"x y\\"" {LINE}', "would not be held: from"),
        ("x" * 16_385, "no key has"),
    ],
)
def test_a_line_that_is_no_key_or_demands_what_nobody_holds_is_refused(text: str, told: str) -> None:
    with pytest.raises(PatchKeyRefused, match=told) as found:
        read_key_line(text)
    assert found.value.hint


def test_a_private_key_is_refused_and_not_repeated() -> None:
    text = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    with pytest.raises(PatchKeyRefused, match="this is a private key") as found:
        read_key_line(text)
    assert text.splitlines()[1] not in str(found.value)


@pytest.fixture
async def ledger(tmp_path: Path, empty_ledger: Path) -> AsyncIterator[Ledger]:
    (tmp_path / "ledger.db").write_bytes(empty_ledger.read_bytes())
    chain = AuditChain(b"k" * 32, HeadFile(tmp_path / "head", b"k" * 32))
    opened = await Ledger.open(DatabaseSettings(url=Secret(f"sqlite:///{tmp_path / 'ledger.db'}")), chain=chain)
    yield opened
    await opened.close()


@pytest.fixture
def keys(ledger: Ledger) -> PatchKeys:
    return PatchKeys(ledger, SystemClock())


async def test_a_key_is_added_listed_and_revoked_for_good(keys: PatchKeys) -> None:
    added = await keys.add(f"{LINE} ada@desk", name="ada", actor=OPERATOR)
    assert (added.id, added.name, added.kind, added.added_by) == (ID, "ada", "ssh-ed25519", "cli:root")
    assert added.is_trusted
    ecdsa = public_half(ec.generate_private_key(ec.SECP256R1())).line
    await keys.add(f"{ecdsa} bo", name="", actor=OPERATOR)
    revoked = await keys.revoke("ADA", why="laptop stolen", actor=ON_DISCORD)
    assert (revoked.is_trusted, revoked.revoked_by, revoked.why) == (False, "discord:7", "laptop stolen")
    assert [(key.name, key.is_trusted) for key in (await keys.list()).keys] == [("bo", True), ("ada", False)]
    assert (await keys.by_id())[ID].revoked_at is not None
    with pytest.raises(PatchKeyRefused, match=r"revoked already, on .* by discord:7: laptop stolen"):
        await keys.revoke(ID, why="", actor=OPERATOR)
    with pytest.raises(PatchKeyRefused, match=r"was revoked, on .*: laptop stolen") as found:
        await keys.add(LINE, name="ada", actor=OPERATOR)
    assert "make a new one" in found.value.hint
    assert (await keys.add(new_line(), name="ada", actor=OPERATOR)).is_trusted
    assert (await keys.revoke("ada", why="", actor=OPERATOR)).id != ID


async def test_whoever_takes_over_discord_adds_no_key(keys: PatchKeys) -> None:
    for face in ("discord", "web", "node"):
        actor = Actor(face=face, identity="7", name="ada", is_member=True)
        with pytest.raises(PatchKeyRefused, match="on the box alone"):
            await keys.add(LINE, name="ada", actor=actor)
    assert (await keys.list()).keys == ()


async def test_names_and_keys_are_told_apart(keys: PatchKeys) -> None:
    first, second = new_line(), new_line()
    await keys.add(first, name="ada", actor=OPERATOR)
    refusals = {
        (first, "bo"): "trusted already, as ada's",
        (second, "Ada"): "another key is called ada already",
        (second, ""): "whose key it is",
        (second, "a\x1b[2J"): "is not called",
        (second, "a" * 81): "is not called",
        (second, ID): "would be taken for one",
    }
    for (line, name), told in refusals.items():
        with pytest.raises(PatchKeyRefused, match=told) as found:
            await keys.add(line, name=name, actor=OPERATOR)
        assert found.value.hint
    for wanted in ("bo", "SHA256:", "SHA256:zzzzzzzzzzzzz", ""):
        with pytest.raises(PatchNotFound, match="there is no key"):
            await keys.revoke(wanted, why="", actor=OPERATOR)
    ((found_key),) = (await keys.by_id()).values()
    assert (await keys.revoke(found_key.id[7:15], why="", actor=OPERATOR)).name == "ada"


async def test_a_weak_key_is_not_trusted(keys: PatchKeys) -> None:
    weak = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - it is what is refused
    line = weak.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    with pytest.raises(PatchKeyRefused, match="RSA key of 1024 bits"):
        await keys.add(line, name="ada", actor=OPERATOR)


def a_patch(key_id: str, number: int) -> Patch:
    return Patch(
        id=f"P{number}", name="ranks", channel="main", version=number, key_id=key_id, author="", received_at=NOW,
        received_from="cli:root", bundle_hash=bytes([number]) * 32, bundle_bytes=1, document="{}", state="done",
        rollout_plan="{}", changed_at=NOW, changed_by="cli:root",
    )  # fmt: skip


async def test_a_revocation_says_what_stays_in_force_where(ledger: Ledger, keys: PatchKeys) -> None:
    await keys.add(LINE, name="ada", actor=OPERATOR)
    states: dict[str, PatchNodeState] = {
        "atlas": "good",
        "borealis": "healthy",
        "cygnus": "rolled_back",
        "draco": "waiting",
    }

    def write(connection: Connection) -> None:
        for number, name in enumerate(states):
            nodes.insert(connection, a_node(f"N{number}", name))
        for number, key_id in ((1, ID), (2, ID), (3, "SHA256:other")):
            patches.insert(connection, a_patch(key_id, number))
        for number, state in enumerate(states.values()):
            on_node = PatchNode(patch_id="P2", node_id=f"N{number}", wave=0, state=state, changed_at=NOW)
            patch_nodes.save(connection, [on_node, replace(on_node, patch_id="P3", state="good")])
        patch_versions.advance(connection, ID, "main", 2, at=NOW)

    await ledger.write(write)
    revoked = await keys.revoke("ada", why="", actor=OPERATOR)
    (deployed,) = revoked.deployed
    assert (deployed.id, deployed.name, deployed.version) == ("P2", "ranks", 2)
    assert deployed.nodes == ("atlas", "borealis")
    assert revoked.versions == {"main": 2}


def a_node(id: str, name: str) -> Node:
    return Node(id=id, name=name, folder=name, bot_user_id=int(id[1:]) + 1, created_at=NOW, updated_at=NOW)


async def test_the_fleets_id_is_made_once(ledger: Ledger, keys: PatchKeys) -> None:
    made = await fleet_id_of(ledger)
    assert made == await fleet_id_of(ledger) == (await keys.list()).fleet_id
    assert len(made) == len("fleet-") + 12
    assert msgspec.json.decode(msgspec.json.encode(await keys.list()))["fleet_id"] == made
