"""``fleet patch build``: what has changed becomes a patch, and what belongs into none stays out."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from handshake.patch_bundle import unpack
from tests.cli.patch_author import RANKS, Author, Said
from tests.cli.window import Window, too_wide


@pytest.fixture
def author(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Author:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return Author(tmp_path, monkeypatch, capfd)


def built(author: Author, *options: str) -> Said:
    return author.patch("build", "--base", "old", "--folder", "new", *options)


def test_a_changed_cog_becomes_a_patch_that_reloads_it(author: Author) -> None:
    author.change("cogs/ranks.py", f"{RANKS}\nNEW = 1\n")
    author.change("cogs/levels.py", RANKS)
    (author.new / "cogs" / "tags.py").unlink()
    said = built(author, "--json", "-m", "Levels", "--tag", "music", "--canary", "2", "--soak", "10m")
    document = said.json["document"]
    assert (document["name"], document["version"], document["note"]) == ("new", 1, "Levels")
    assert document["reload"] == ["levels", "ranks", "tags"]
    assert document["targets"] == {"tags": ["music"]}
    assert document["rollout"] == {"canary": 2, "soak_s": 600.0}
    files = {file["path"]: file for file in document["files"]}
    assert files["cogs/ranks.py"]["base"] == hashlib.sha256((author.old / "cogs/ranks.py").read_bytes()).hexdigest()
    assert "base" not in files["cogs/levels.py"]
    assert [file["path"] for file in document["removed"]] == ["cogs/tags.py"]
    raw = unpack((author.folder / said.json["file"]).read_bytes())
    (author.folder / "archive.zip").write_bytes(raw.archive)
    with zipfile.ZipFile(author.folder / "archive.zip") as archive:
        assert archive.read("cogs/ranks.py") == (author.new / "cogs/ranks.py").read_bytes()
    assert raw.signature == b""


@pytest.mark.parametrize(
    ("path", "text", "why"),
    [
        ("lib/levels.py", "", "lib/levels.py is no cog"),
        ("cogs/_store.py", "", "cogs/_store.py is no cog"),
        ("cogs/levels.py", "from cogs.ranks import Ranks\n" + RANKS, "cogs/levels.py imports the cog ranks"),
        ("cogs/levels.py", "from . import ranks\n" + RANKS, "cogs/levels.py imports the cog ranks"),
        ("requirements.txt", "aiosqlite==0.21.0\n", "it needs packages"),
    ],
)
def test_what_others_hold_on_to_needs_a_restart_and_says_why(author: Author, path: str, text: str, why: str) -> None:
    author.change("cogs/ranks.py", f"{RANKS}\nNEW = 1\n")
    author.change(path, text)
    found = built(author, "--json").json
    assert "reload" not in found["document"]
    assert why in found["why_restart"]
    assert built(author, "--reload", "ranks", "--json").json["document"]["reload"] == ["ranks"]


def test_secrets_data_and_what_is_the_nodes_own_stay_out(author: Author) -> None:
    for path in (".env", "node.json", "data/bot.db", "bot.log", ".releases/current", "__pycache__/x.pyc", ".git/HEAD"):
        author.change(path, "secret")
    (author.new / "passwd").symlink_to("/etc/passwd")
    assert (built(author).code, built(author).out) == (4, "")
    author.change("cogs/ranks.py", f"{RANKS}\nNEW = 1\n")
    found = built(author, "--json").json
    assert [file["path"] for file in found["document"]["files"]] == ["cogs/ranks.py"]
    assert found["left_out"] == {".env": "secrets", "bot.log": "data", "data/bot.db": "data", "passwd": "a link"}
    refused = author.patch("build", "--base", "../old", ".env", within="new")
    assert (refused.code, "secrets" in refused.err) == (4, True)


def test_files_of_the_running_bot_alone_are_not_taken_away(author: Author) -> None:
    (author.old / "warnings.json").write_text("{}")
    (author.old / "lib.py").write_text("")
    author.change("cogs/ranks.py", f"{RANKS}\nNEW = 1\n")
    found = built(author, "--json").json
    assert [file["path"] for file in found["document"]["removed"]] == ["lib.py"]
    assert "warnings.json: kept" in found["warnings"][0]
    found = built(author, "--json", "--remove", "warnings.json", "--exclude", "lib.py").json
    assert [file["path"] for file in found["document"]["removed"]] == ["warnings.json"]


def test_a_token_or_a_program_that_does_not_compile_is_refused(author: Author) -> None:
    token = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcdE.abcdefghijklmnopqrstuvwxyz0123456789AB"
    author.change("cogs/ranks.py", f"{RANKS}\nTOKEN = '{token}'\n")
    said = built(author)
    assert said.code == 4
    assert "cogs/ranks.py, line 11: there is a bot's token" in said.err
    assert token not in said.err
    author.change("cogs/ranks.py", "def x(:\n")
    said = built(author)
    assert (said.code, "cogs/ranks.py, line 1: invalid syntax" in said.err) == (4, True)
    assert built(author, "--no-check").code == 0


def test_named_files_are_taken_from_this_folder(author: Author) -> None:
    author.change("cogs/ranks.py", f"{RANKS}\nNEW = 1\n")
    author.change("cogs/tags.py", "# not named\n" + RANKS)
    author.change("lib/a.py", "A = 1\n")
    said = author.patch("build", "--base", "../old", "cogs/ranks.py", "lib", "-o", "..", "--json", within="new")
    assert [file["path"] for file in said.json["document"]["files"]] == ["cogs/ranks.py", "lib/a.py"]
    for named, why in (
        ("../old/bot.py", "is not within this folder"),
        ("cogs/rank.py", "there is no file cogs/rank.py"),
    ):
        said = author.patch("build", "--base", "../old", named, within="new")
        assert (said.code != 0, why in said.err) == (True, True)


def test_versions_rise_in_a_channel_and_the_same_input_makes_the_same_bytes(
    author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    author.change("cogs/ranks.py", f"{RANKS}\nNEW = 1\n")
    assert author.build().name == "ranks-1.fleetpatch"
    assert author.build("--name", "levels").name == "levels-2.fleetpatch"
    assert author.build("--channel", "beta").name == "ranks-beta-1.fleetpatch"
    assert built(author, "--version", "2", "--name", "levels").code == 4
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795000000")
    first = author.build("--version", "9", "-o", "first.fleetpatch").read_bytes()
    os.utime(author.new / "cogs/ranks.py", (1, 1))
    assert author.build("--version", "9", "-o", "second.fleetpatch").read_bytes() == first


def test_requirements_are_taken_over_in_exact_versions_only(author: Author) -> None:
    (author.old / "requirements.txt").write_text("discord.py>=2.7\naiohttp==3.12.0\n")
    author.change(
        "requirements.txt", "discord.py>=2.7\naiohttp==3.12.1  # faster\npillow[xmp] == 11.0\nyarl>=1\n-r x\n"
    )
    found = built(author, "--json").json
    assert found["document"]["requirements"] == ["aiohttp==3.12.1", "pillow[xmp]==11.0"]
    assert [warning.split("'")[1] for warning in found["warnings"]] == ["yarl>=1", "-r x"]
    assert built(author, "--requirement", "yarl>=1").code == 2


def test_a_range_of_commits_is_compared_without_the_working_tree(author: Author) -> None:
    repository, bot = author.folder / "repository", author.folder / "repository" / "bots" / "atlas"
    bot.parent.mkdir(parents=True)
    author.old.rename(bot)
    author.git("init", "-q", folder=repository)
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.write_text("#!/bin/sh\ntouch ../../../hooked\n")
    hook.chmod(0o755)
    author.git("add", "-A", folder=repository)
    author.git("commit", "-qm", "One", folder=repository)
    author.git("tag", "v1", folder=repository)
    (bot / "cogs" / "ranks.py").write_text(f"{RANKS}\nNEW = 1\n")
    (bot / "README.md").unlink()
    (bot / "naïve name.py").write_text("")
    (repository / "elsewhere.py").write_text("")
    author.git("add", "-A", folder=repository)
    author.git("commit", "-qm", "Levels", folder=repository)
    (bot / "cogs" / "tags.py").write_text("not committed")
    said = author.patch("build", "--git", "v1..HEAD", "--folder", "repository/bots/atlas", "--json")
    document = said.json["document"]
    assert [file["path"] for file in document["files"]] == ["cogs/ranks.py", "naïve name.py"]
    assert [file["path"] for file in document["removed"]] == ["README.md"]
    assert (document["note"], document["name"]) == ("Levels", "atlas")
    assert said.json["warnings"] == ["not committed, so not in the patch: cogs/tags.py"]
    assert not (author.folder / "hooked").exists()
    for typed, code, why in (
        ("v1...HEAD", 4, "no range of two commits"),
        ("--output=x", 3, "there is no commit"),
        ("HEAD", 4, "nothing has changed"),
    ):
        said = author.patch("build", "--git", typed, "--folder", "repository/bots/atlas")
        assert (said.code, why in said.err) == (code, True), said
    said = author.patch("build", "--git", "v1", "--folder", "new")
    assert (said.code, "is in no git repository" in said.err) == (1, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a checkout of another user")
def test_a_checkout_of_somebody_else_is_not_trusted(author: Author) -> None:
    author.git("init", "-q", folder=author.new)
    for path in [author.new, author.new / ".git"]:
        os.chown(path, 4321, 4321)
    said = author.patch("build", "--git", "HEAD", "--folder", "new")
    assert said.code == 1
    assert f"git config --global --add safe.directory {author.new}" in said.err


@pytest.mark.parametrize("columns", [80])
def test_the_summary_fits_a_terminal_and_nothing_foreign_acts(author: Author, columns: int) -> None:
    author.change("cogs/ranks.py", RANKS * 40)
    author.change(f"lib/{'漢字' * 20}.py", "A = 1\n" * 7)
    (author.new / "logo.png").write_bytes(b"\0" * 4000)
    arguments = ["patch", "build", "--base", str(author.old), "--folder", str(author.new), "-m", "\x1b[31m[bold]x"]
    with Window(arguments, author.folder, columns=columns) as window:
        assert window.wait() == 0
        table = [line for line in window.screen if " | " in line]
        assert len(table) == 3
        assert too_wide(table, columns) == []
        assert any("\\x1b[31m[bold]x" in line for line in window.screen)
