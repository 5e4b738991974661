"""`fleet patch keys` at any width, with a master and without one, and what it never sends."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.cells import cell_len

from master.cli.patch_keys import added_lines, list_lines, revoked_lines
from master.security.derivation import new_master_secret
from master.services.core.patch_key_views import DeployedPatch, PatchKeysView, PatchKeyView
from master.services.patches.ssh_public_keys import public_half
from tests.hostile.conversations import Told, typed

FOREIGN = "\x1b[31m\r\n[bold]漢字 " * 10
ID = "SHA256:" + "a" * 43
LINE = public_half(Ed25519PrivateKey.generate()).line


def a_key(name: str, **fields: object) -> PatchKeyView:
    given = {"id": ID, "kind": "ssh-ed25519", "public": "", "added_at": 1.0, "added_by": "cli:root", "is_trusted": True}
    return PatchKeyView(name=name, **{**given, **fields})  # type: ignore[arg-type]


DEPLOYED = DeployedPatch(id="01JPATCH", name="ranks", version=7, nodes=tuple(f"node-{number}" for number in range(9)))
REVOKED = a_key(
    "bo", is_trusted=False, revoked_at=1.0, revoked_by="discord:7", why=f"lost {FOREIGN}", deployed=(DEPLOYED,)
)
FOUND = PatchKeysView(
    fleet_id="fleet-0123456789ab",
    keys=(a_key("ada"), a_key("eve", kind="sk-ssh-ed25519@openssh.com"), a_key(FOREIGN), REVOKED),
)


@pytest.mark.parametrize("width", [None, 40, 80, 200])
def test_nothing_foreign_acts_and_no_line_is_too_long(width: int | None) -> None:
    lines = [*list_lines(FOUND, width=width), *added_lines(FOUND.keys[2])]
    for line in [*lines, *revoked_lines(REVOKED)]:
        assert all(character.isprintable() for character in line.plain), line.plain
        if width is not None and width >= 80 and "漢" not in line.plain:
            assert cell_len(line.plain) <= width, line.plain


def test_at_80_columns_an_id_is_whole_and_beside_its_name() -> None:
    ours = PatchKeysView(fleet_id="fleet-0123456789ab", keys=(a_key("ada"), a_key("eve@laptop")))
    lines = [line.plain for line in list_lines(ours, width=80)]
    assert lines[1].split()[0] == "ada"
    assert lines[1].endswith(ID)
    assert "no room for KIND, ADDED: --wide shows all" in lines
    assert "DEPLOYED" in lines[0]
    assert lines[-1] == "this fleet is fleet-0123456789ab"


def test_what_stays_in_force_of_a_revoked_key_is_named_with_how_it_is_taken_away() -> None:
    for lines in (list_lines(FOUND, width=80), revoked_lines(REVOKED)):
        text = "\n".join(line.plain for line in lines)
        assert (
            "ranks 7 stays on node-0, node-1, node-2 and 6 more\n  `fleet patch rollback 01JPATCH` takes it away"
            in text
        )


@pytest.fixture
def home(tmp_path: Path, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config.py").write_text(
        'import os\nIDENTITY = {"MASTER_SECRET": os.environ["MASTER_SECRET"]}\nLICENCES = {"standard": 0}\n'
    )
    secret = os.open(tmp_path / ".env", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(secret, f"MASTER_SECRET={new_master_secret()}\n".encode())
    os.close(secret)
    (tmp_path / "state").mkdir(mode=0o700)
    shutil.copy(empty_ledger, tmp_path / "state" / "ledger.db")
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keys(*arguments: str, stdin: str = "") -> Told:
    told = typed(["patch", "keys", *arguments], stdin)
    told.check(arguments)
    return told


def test_keys_are_managed_without_a_master_and_each_is_audited(home: Path) -> None:
    assert "no key is trusted" in keys("list").out
    (home / "ada.pub").write_text(f"{LINE} ada@desk\n")
    assert "accepted from now on" in keys("add", "ada.pub").out
    other = public_half(Ed25519PrivateKey.generate()).line
    assert json.loads(keys("add", "-", "--name", "bo", "--json", stdin=other).out)["name"] == "bo"
    assert "nothing more is accepted of ada@desk's key" in keys("revoke", "ada@desk", "--yes", "-m", "lost").out
    listed = json.loads(keys("list", "--json").out)
    assert [(key["name"], key["is_trusted"], key["why"]) for key in listed["keys"]] == [
        ("bo", True, ""),
        ("ada@desk", False, "lost"),
    ]
    rows = json.loads(typed(["audit", "show", "--json"]).out)
    assert [row["action"] for row in rows if row["outcome"] == "done"].count("patch_key_add") == 2


def test_what_is_no_public_key_is_refused_before_it_is_sent_anywhere(home: Path) -> None:
    (home / "key").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n")
    (home / "key.pub").write_text(LINE)
    (home / "empty").touch()
    (home / "long").write_text("x" * 20_000)
    (home / "picture").write_bytes(b"\x89PNG\xff")
    for file, said in {
        "key": "hint:  give key.pub",
        "empty": "empty is empty, which no public key is",
        "long": "is longer than",
        "picture": "picture is no text",
        "away": "there is no file away",
    }.items():
        told = keys("add", file)
        assert said in told.err, told
        assert "c2VjcmV0" not in told.err
        assert told.code == 4
    assert [path.name for path in (home / "state").iterdir()] == ["ledger.db"]
