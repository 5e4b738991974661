"""``fleet patch sign|verify|show|diff``: with real keys and ssh-keygen, and with files of strangers."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handshake.patch_bundle import RawBundle, pack, unpack
from handshake.patch_document import NAMESPACE
from tests.cli.patch_author import RANKS, Author
from tests.cli.window import Window


@pytest.fixture
def author(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Author:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    made = Author(tmp_path, monkeypatch, capfd)
    made.change("cogs/ranks.py", f"{RANKS}\nNEW = 1\n")
    return made


def ssh_keygen(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ssh-keygen", *arguments], input=stdin, capture_output=True, timeout=60, check=False)  # noqa: S603, S607


def new_key(author: Author, name: str, *, kind: str = "ed25519", passphrase: str = "") -> Path:
    path = author.folder / name
    assert ssh_keygen("-q", "-t", kind, "-N", passphrase, "-f", str(path)).returncode == 0
    return path


def test_a_new_key_signs_and_the_signature_is_one_for_openssh(author: Author) -> None:
    file = author.build()
    said = author.patch("sign", str(file), "--new-key", "mine", "--no-passphrase")
    assert said.code == 0, said
    assert "cogs/ranks.py" in said.out
    key, public = author.folder / "mine", (author.folder / "mine.pub").read_text().split()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert f"fleet patch keys add '{public[0]} {public[1]} " in said.out
    raw = unpack(file.read_bytes())
    (author.folder / "signature").write_bytes(raw.signature)
    (author.folder / "signers").write_text(f"ada {public[0]} {public[1]}\n")
    options = ("-Y", "verify", "-f", "signers", "-I", "ada", "-n", NAMESPACE, "-s", "signature")
    assert ssh_keygen(*options, stdin=raw.document).returncode == 0
    assert author.patch("verify", str(file), "--key", "mine.pub").code == 0
    again = author.patch("sign", str(file), "--new-key", "mine", "--no-passphrase")
    assert (again.code, "is there already" in again.err) == (4, True)
    nowhere = author.patch("sign", str(file), "--new-key", "gone/astray/mine", "--no-passphrase")
    assert (nowhere.code, f"there is no folder {author.folder / 'gone'}" in nowhere.err.replace("\n", "")) == (3, True)
    assert key.read_bytes().count(b"BEGIN OPENSSH PRIVATE KEY") == 1


def test_the_first_key_makes_its_folder_and_is_known_as_ones_own(author: Author) -> None:
    file, place = author.build(), author.folder / ".ssh"
    assert author.patch("sign", str(file), "--new-key", str(place / "fleet_patches"), "--no-passphrase").code == 0
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    said = author.patch("verify", str(file))
    assert (said.code, "your own key (~/.ssh/fleet_patches.pub)" in said.out) == (0, True)
    # A stranger's public key lies there without its other half.
    (place / "fleet_patches").rename(author.folder / "moved")
    said = author.patch("verify", str(file))
    assert (said.code, "even your own, --key FILE.pub names it" in said.out) == (4, True)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_an_ssh_key_signs_and_ssh_keygen_signs_with_one_in_an_agent(
    author: Author, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, key = author.build(), new_key(author, "id", kind=kind)
    said = author.patch("sign", str(file), "--key", "id", "--json").json
    assert said["public_key"] == " ".join((author.folder / "id.pub").read_text().split()[:2])
    agent = author.folder / "agent"
    running = subprocess.Popen(["ssh-agent", "-D", "-a", str(agent)], stdout=subprocess.PIPE)  # noqa: S603, S607
    try:
        assert running.stdout is not None
        running.stdout.readline()  # it listens
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
        subprocess.run(["ssh-add", "-q", str(key)], check=True, timeout=30, stdin=subprocess.DEVNULL)  # noqa: S603, S607
        key.unlink()
        # In git's own words, as people have it who sign their commits so.
        line = (author.folder / "id.pub").read_text().strip()
        (author.folder / "gitconfig").write_text(f'[gpg]\nformat = ssh\n[user]\nsigningkey = "key::{line}"\n')
        said = author.patch("sign", str(file), "--json").json
        assert said["public_key"] in line
        assert author.patch("verify", str(file)).code == 0
    finally:
        running.kill()
        running.wait()


def test_an_encrypted_key_is_asked_for_at_the_terminal(author: Author) -> None:
    file = author.build()
    new_key(author, "id", passphrase="open sesame")
    arguments = ["patch", "sign", str(file), "--key", str(author.folder / "id")]
    with Window(arguments, author.folder, columns=160) as window:
        window.wait_until(lambda screen: any("Enter passphrase" in line for line in screen))
        window.type("open sesame\n")
        assert window.wait() == 0, window.screen
    assert author.patch("verify", str(file), "--key", "id.pub").code == 0


def test_without_a_terminal_an_encrypted_key_fails_with_what_ssh_keygen_said(author: Author) -> None:
    file, key = author.build(), new_key(author, "id", passphrase="open sesame")
    before = file.read_bytes()
    # Without a controlling terminal, as in CI.
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "master.cli", "patch", "sign", str(file), "--key", str(key)],
        input=b"open sesame\n",
        capture_output=True,
        timeout=60,
        check=False,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name not in ("DISPLAY", "SSH_ASKPASS")},
    )
    assert done.returncode == 1
    assert b"ssh-keygen failed: " in done.stderr
    assert b"passphrase" in done.stderr
    assert file.read_bytes() == before


def test_keys_that_no_fleet_would_accept_or_that_are_not_there(author: Author) -> None:
    file = author.build()
    new_key(author, "dsa", kind="ecdsa")
    weak = author.folder / "weak"
    assert ssh_keygen("-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(weak)).returncode == 0
    said = author.patch("sign", str(file), "--key", "weak")
    assert (said.code, "RSA key of 2048 bits" in said.err) == (1, True)
    said = author.patch("sign", str(file), "--key", "nowhere")
    assert (said.code, "there is no key nowhere" in said.err) == (3, True)
    said = author.patch("sign", str(file))
    assert (said.code, "--new-key" in said.err) == (3, True)
    (author.folder / ".ssh").mkdir()
    new_key(author, ".ssh/id_ed25519")
    assert author.patch("sign", str(file)).code == 0


def test_verify_names_what_does_not_hold(author: Author, monkeypatch: pytest.MonkeyPatch) -> None:
    file = author.build("--expires", "1h")
    key = new_key(author, "id")
    failed = [
        check["name"] for check in author.patch("verify", str(file), "--json").json["checks"] if not check["holds"]
    ]
    assert failed == ["signature"]
    author.patch("sign", str(file), "--key", str(key))
    said = author.patch("verify", str(file))
    assert (said.code, "nobody vouches for it" in said.out) == (4, True)
    other = new_key(author, "other")
    assert author.patch("verify", str(file), "--key", f"{other}.pub").code == 4
    raw = unpack(file.read_bytes())
    changed = author.folder / "changed.fleetpatch"
    changed.write_bytes(pack(RawBundle(raw.document.replace(b"ranks", b"banks"), raw.signature, raw.archive)))
    found = author.patch("verify", str(changed), "--key", "id.pub", "--json").json
    assert next(check["name"] for check in found["checks"] if not check["holds"]) == "signature"
    changed.write_bytes(pack(RawBundle(raw.document, raw.signature, raw.archive[:-1] + b"\1")))
    found = author.patch("verify", str(changed), "--key", "id.pub", "--json").json
    assert [check["name"] for check in found["checks"] if not check["holds"]] == ["content"]
    # The clock alone makes it expire, and a patch that lasts a second would have to be waited for.
    monkeypatch.setattr(time, "time", lambda: 4_000_000_000.0)
    found = author.patch("verify", str(file), "--key", "id.pub", "--json").json
    assert [check["name"] for check in found["checks"] if not check["holds"]] == ["time"]
    assert author.patch("sign", str(file), "--key", "id").code == 4


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ("ada@example.org {key}", True),
        ('ada@example.org namespaces="git,fleetmaster-*" {key} comment', True),
        ('"ada b" namespaces="file" {key}', False),
        ('ada valid-after="20200101",valid-before="20210101Z" {key}', False),
        ('ada valid-after="202001010000" {key}', True),
        ("ada cert-authority {key}", False),
        ("# ada {key}", False),
    ],
)
def test_allowed_signers_are_read_as_ssh_keygen_reads_them(author: Author, line: str, holds: bool) -> None:
    file = author.build()
    key = new_key(author, "id")
    author.patch("sign", str(file), "--key", str(key))
    public = " ".join((author.folder / "id.pub").read_text().split()[:2])
    (author.folder / "signers").write_text(f"\n# people\n{line.format(key=public)}\n")
    said = author.patch("verify", str(file), "--allowed-signers", "signers")
    assert (said.code == 0) is holds, said
    # ssh-keygen itself says the same.
    raw = unpack(file.read_bytes())
    (author.folder / "signature").write_bytes(raw.signature)
    principal = "ada b" if line.startswith('"') else line.split()[0]
    options = ("-Y", "verify", "-f", "signers", "-I", principal, "-n", NAMESPACE, "-s", "signature")
    assert (ssh_keygen(*options, stdin=raw.document).returncode == 0) is holds


def test_diff_shows_lines_sizes_and_another_base_and_nothing_foreign_acts(author: Author) -> None:
    author.change("cogs/ranks.py", f"{RANKS}\nNEW = '\x1b[31m[bold]'")
    (author.new / "logo.png").write_bytes(b"\0" * 2048)
    (author.new / "cogs" / "tags.py").unlink()
    file = author.build()
    said = author.patch("diff", str(file), "--base", "old")
    assert "+NEW = '\\x1b[31m[bold]'\n\\ No newline at end of file" in said.out
    assert "binary or too long (2.0 KB)" in said.out
    assert "--- a/cogs/tags.py\n+++ /dev/null\n" in said.out
    assert "\x1b" not in said.out
    counted = {one["path"]: (one["added"], one["base_differs"]) for one in author.patch(
        "diff", str(file), "--base", "new", "--json"
    ).json}  # fmt: skip
    assert counted == {"cogs/ranks.py": (0, True), "cogs/tags.py": (0, True), "logo.png": (None, True)}
    assert " 3 files, +2 -" in author.patch("diff", str(file), "--base", "old", "--stat").out


@pytest.mark.parametrize("columns", [80])
def test_show_reads_foreign_files_without_believing_them(author: Author, columns: int) -> None:
    file = author.build("-m", "One\n\x1b[2J[red]two", "--author", "Ada\x07", "--requirement", "aiosqlite==0.21.0")
    with Window(["patch", "show", str(file)], author.folder, columns=columns) as window:
        assert window.wait() == 0
        shown = "\n".join(window.screen)
    assert "\\x1b[2J[red]two" in shown
    assert "Ada\\x07" in shown
    assert "not signed yet" in shown
    assert author.patch("show", str(file), "--json").json["signed"] is False
    for content, code, why in (
        (b"", 4, "does not begin as one"),
        (file.read_bytes()[:-1], 4, "it is damaged"),
        (pack(RawBundle(b'{"name": 1}', b"", b"")), 4, "document is invalid"),
    ):
        bad = author.folder / "bad.fleetpatch"
        bad.write_bytes(content)
        said = author.patch("show", str(bad))
        assert (said.code, why in said.err) == (code, True)
    assert author.patch("show", "nothing.fleetpatch").code == 3


def test_new_asks_builds_shows_and_signs(author: Author) -> None:
    (author.folder / ".ssh").mkdir()
    new_key(author, ".ssh/id_ed25519")
    with Window(["patch", "new", "ranks"], author.folder, columns=120) as window:
        for question, answer in (
            ("The folder with the changed bot", str(author.new)),
            ("What it is compared with", "nonsense"),
            ("neither a folder nor a range", str(author.old)),
            ("What is it good for", "Levels"),
            ("Sign it now?", "y"),
        ):
            window.wait_until(lambda screen, asked=question: any(asked in line for line in screen))  # type: ignore[misc]
            window.type(f"{answer}\n")
        assert window.wait() == 0
    said = author.patch("show", "ranks-1.fleetpatch", "--json").json
    assert (said["signed"], said["document"]["note"], said["document"]["reload"]) == (True, "Levels", ["ranks"])
    assert author.patch("verify", "ranks-1.fleetpatch").code == 0
    assert author.patch("new", "ranks").code == 2  # nobody to ask
