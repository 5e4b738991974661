"""Releases are staged beside the code, put in force atomically, and taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodekit.releases import (
    BaseDiffers,
    NoSuchRelease,
    NotNow,
    Outcome,
    ReleaseDamaged,
    ReleaseError,
    Releases,
    ReleaseState,
)
from tests.nodekit.releases.bot_folders import BOT, EVERYTHING, Tree, everything, make_bot, patch_of, tree_of

PATCH = "01PATCH"


@pytest.fixture
def folder(memory: Path) -> Path:
    return make_bot(memory / "atlas")


@pytest.fixture
def releases(folder: Path) -> Releases:
    return Releases(folder, clock=lambda: 1_000.0)


def test_a_folder_without_patches_is_left_alone(folder: Path, releases: Releases) -> None:
    before = tree_of(folder)
    assert releases.settle().outcome is Outcome.NOTHING
    assert releases.current() == 0
    assert [release.number for release in releases.list()] == [0]
    assert tree_of(folder) == before
    assert not (folder / ".releases").exists()


def test_staging_changes_nothing_that_the_bot_sees(folder: Path, releases: Releases) -> None:
    before = tree_of(folder)
    assert releases.stage(everything(), EVERYTHING, patch_id=PATCH) == 1
    assert tree_of(folder) == before
    assert releases.current() == 0
    staged = releases.list()[1]
    assert (staged.state, staged.patch_id, staged.name, staged.at) == (ReleaseState.STAGED, PATCH, "ranks", 1_000)


def test_a_switch_brings_each_kind_of_change_and_back_takes_it_away(folder: Path, releases: Releases) -> None:
    before = tree_of(folder)
    number = releases.stage(everything(), EVERYTHING, patch_id=PATCH)
    releases.switch(number)
    assert releases.current() == number
    after = tree_of(folder)
    assert {path: after[path][2] for path in EVERYTHING} == EVERYTHING
    assert after["run.sh"][1] == 0o755
    assert after["cogs/ranks.py"][1] == 0o640, "a file that is replaced keeps its permissions"
    assert "cogs/old.py" not in after
    assert "lib/texts" not in after, "a folder that became empty goes"
    assert after["data/users.json"] == before["data/users.json"]
    assert releases.back() == 0
    assert tree_of(folder) == before
    assert [release.state for release in releases.list()] == [ReleaseState.GOOD, ReleaseState.BAD]


def test_a_file_that_the_patch_was_not_made_for_is_named(folder: Path, releases: Releases) -> None:
    (folder / "cogs/ranks.py").write_bytes(b"RANK = 7  # by hand\n")
    (folder / "cogs/old.py").unlink()
    before = tree_of(folder)
    with pytest.raises(BaseDiffers) as error:
        releases.stage(everything(), EVERYTHING, patch_id=PATCH)
    assert str(error.value) == ("cogs/old.py is not there; cogs/ranks.py is not the file that the patch was made for")
    assert error.value.paths == ("cogs/old.py", "cogs/ranks.py")
    assert tree_of(folder) == before
    assert releases.list()[1:] == ()


def test_a_file_that_is_in_the_way_of_a_new_one_is_named(folder: Path, releases: Releases) -> None:
    (folder / "cogs/levels.py").write_bytes(b"MINE = 1\n")
    with pytest.raises(BaseDiffers, match=r"cogs/levels\.py is there already"):
        releases.stage(everything(), EVERYTHING, patch_id=PATCH)
    (folder / "cogs/levels.py").write_bytes(EVERYTHING["cogs/levels.py"])
    with pytest.raises(BaseDiffers, match=r"cogs/levels\.py has the patch's content already"):
        releases.stage(everything(), EVERYTHING, patch_id=PATCH)


def test_what_was_edited_between_staging_and_switching_is_not_overwritten(folder: Path, releases: Releases) -> None:
    number = releases.stage(everything(), EVERYTHING, patch_id=PATCH)
    (folder / "cogs/ranks.py").write_bytes(b"RANK = 7  # by hand\n")
    before = tree_of(folder)
    with pytest.raises(BaseDiffers, match=r"changed since release 1 was staged: cogs/ranks\.py"):
        releases.switch(number)
    assert tree_of(folder) == before
    assert releases.current() == 0


def test_going_back_keeps_what_somebody_edited_since(folder: Path, releases: Releases) -> None:
    before = tree_of(folder)
    releases.switch(releases.stage(everything(), EVERYTHING, patch_id=PATCH))
    (folder / "cogs/ranks.py").write_bytes(b"RANK = 2  # mended by hand\n")
    (folder / "cogs/levels.py").write_bytes(b"LEVEL = 9\n")
    releases.back()
    assert tree_of(folder) == before
    assert releases.edited(1) == ("cogs/levels.py", "cogs/ranks.py")
    assert (folder / ".releases/1/edited/cogs/ranks.py").read_bytes() == b"RANK = 2  # mended by hand\n"


def test_edits_of_two_times_are_both_kept(folder: Path, releases: Releases) -> None:
    number = releases.stage(everything(), EVERYTHING, patch_id=PATCH)
    for text in (b"FIRST = 1\n", b"SECOND = 1\n"):
        releases.switch(number)
        (folder / "cogs/ranks.py").write_bytes(text)
        releases.back()
    assert (folder / ".releases/1/edited/cogs/ranks.py").read_bytes() == b"FIRST = 1\n"
    assert (folder / ".releases/1/edited/cogs/ranks.py~").read_bytes() == b"SECOND = 1\n"


def test_a_trial_that_begins_with_the_next_start_is_rolled_back_at_the_one_after(
    folder: Path, releases: Releases
) -> None:
    before = tree_of(folder)
    releases.switch(releases.stage(everything(), EVERYTHING, patch_id=PATCH))
    settled = releases.settle()
    assert (settled.outcome, settled.current, settled.patch_id) == (Outcome.BEGAN, 1, PATCH)
    assert tree_of(folder) != before
    settled = releases.settle()
    assert (settled.outcome, settled.current, settled.left) == (Outcome.ROLLED_BACK, 0, 1)
    assert settled.left_patch_id == PATCH
    assert tree_of(folder) == before
    assert releases.settle().outcome is Outcome.NOTHING


def test_a_trial_of_reloaded_cogs_begins_at_once(folder: Path, releases: Releases) -> None:
    before = tree_of(folder)
    releases.switch(releases.stage(everything(reload=("ranks",)), EVERYTHING, patch_id=PATCH))
    assert releases.settle().outcome is Outcome.ROLLED_BACK
    assert tree_of(folder) == before


def test_a_switch_can_say_itself_when_the_trial_begins(releases: Releases) -> None:
    releases.switch(releases.stage(everything(reload=("ranks",)), EVERYTHING, patch_id=PATCH), begins=False)
    assert releases.settle().outcome is Outcome.BEGAN


def test_a_good_release_stays(folder: Path, releases: Releases) -> None:
    releases.switch(releases.stage(everything(), EVERYTHING, patch_id=PATCH))
    after = tree_of(folder)
    releases.settle()
    releases.mark_good()
    for _ in range(2):
        assert releases.settle().outcome is Outcome.NOTHING
    assert releases.current() == 1
    assert tree_of(folder) == after
    assert releases.list()[1].state is ReleaseState.GOOD


def test_nothing_is_built_on_a_trial(releases: Releases) -> None:
    releases.switch(releases.stage(everything(), EVERYTHING, patch_id=PATCH))
    with pytest.raises(NotNow, match="release 1 is still on trial"):
        releases.stage(patch_of({"a.py": b""}), {"a.py": b""}, patch_id="02")


def test_staging_again_replaces_what_was_staged(folder: Path, releases: Releases) -> None:
    releases.stage(everything(), EVERYTHING, patch_id=PATCH)
    number = releases.stage(patch_of({"a.py": b"1"}), {"a.py": b"1"}, patch_id="02")
    assert [release.patch_id for release in releases.list()[1:]] == ["02"]
    assert not (folder / ".releases/1").exists()
    with pytest.raises(NoSuchRelease):
        releases.switch(1)
    releases.switch(number)


def test_there_is_nothing_behind_the_first_folder(releases: Releases) -> None:
    with pytest.raises(NotNow):
        releases.back()
    with pytest.raises(NotNow):
        releases.mark_good()


def patched(releases: Releases, folder: Path, count: int) -> list[Tree]:
    """Apply as many good patches; returns the folder as it was with each, the first without any."""
    trees, base = [tree_of(folder)], dict(BOT)
    for at in range(1, count + 1):
        files = {"cogs/ranks.py": b"RANK = %d0\n" % at, f"extra/{at}/only.py": b"%d" % at}
        removed = (f"extra/{at - 1}/only.py",) if at > 1 else ()
        releases.switch(
            releases.stage(patch_of(files, base=base, removed=removed, version=at), files, patch_id=f"P{at}")
        )
        releases.mark_good()
        base |= files
        trees.append(tree_of(folder))
    return trees


def test_three_are_kept_and_the_folder_before_any_patch(folder: Path, releases: Releases) -> None:
    trees = patched(releases, folder, 6)
    assert [release.number for release in releases.list()] == [0, 4, 5, 6]
    assert {path.name for path in (folder / ".releases").iterdir() if path.is_dir()} == {"4", "5", "6"}
    for number in (4, 6, 5, 0, 6, 4):
        assert releases.restore(number) == number
        assert releases.current() == number
        assert tree_of(folder) == trees[number], number
    with pytest.raises(NoSuchRelease):
        releases.restore(2)


def test_going_back_goes_back_one_release_at_a_time(folder: Path, releases: Releases) -> None:
    trees = patched(releases, folder, 5)
    for number in (4, 3, 0):
        assert releases.back() == number
        assert tree_of(folder) == trees[number]


def test_a_restored_release_stands_as_it_stood_unless_it_was_bad(releases: Releases, folder: Path) -> None:
    patched(releases, folder, 2)
    releases.restore(1)
    assert [release.state for release in releases.list()] == [ReleaseState.GOOD] * 3
    releases.restore(2)
    assert releases.settle().outcome is Outcome.NOTHING
    base = BOT | {"cogs/ranks.py": b"RANK = 20\n"}
    files = {"cogs/ranks.py": b"RANK = broken\n"}
    releases.switch(releases.stage(patch_of(files, base=base), files, patch_id="bad"))
    releases.back()
    releases.restore(3)
    assert releases.list()[3].state is ReleaseState.TRIAL
    # Its trial begins with the start that follows, and is over with the one after that.
    assert releases.settle().outcome is Outcome.BEGAN
    assert releases.settle().outcome is Outcome.ROLLED_BACK


def test_what_is_kept_and_was_changed_is_not_put_back(folder: Path, releases: Releases) -> None:
    releases.switch(releases.stage(everything(), EVERYTHING, patch_id=PATCH))
    after = tree_of(folder)
    for kept in (folder / ".releases/1/old").iterdir():
        kept.write_bytes(b"something else")
    with pytest.raises(ReleaseDamaged, match="cannot be put back"):
        releases.back()
    assert tree_of(folder) == after
    assert releases.current() == 1


@pytest.mark.parametrize("name", ["current", "journal", "1/release.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"format":2}', b'{"release":99,"direction":"back"}'])
def test_damaged_records_are_told(folder: Path, releases: Releases, name: str, content: bytes) -> None:
    releases.switch(releases.stage(everything(), EVERYTHING, patch_id=PATCH))
    after = tree_of(folder)
    (folder / ".releases" / name).write_bytes(content)
    with pytest.raises(ReleaseError):
        releases.settle()
    assert tree_of(folder) == after


def test_files_that_are_not_those_of_the_document_are_refused(releases: Releases) -> None:
    with pytest.raises(ReleaseError, match=r"not those of the patch: cogs/levels\.py"):
        releases.stage(everything(), EVERYTHING | {"cogs/levels.py": b"else"}, patch_id=PATCH)


def test_packages_are_told_the_newest_first(folder: Path, releases: Releases) -> None:
    for at in (1, 2):
        files = {f"{at}.py": b"1"}
        releases.switch(releases.stage(patch_of(files), files, patch_id=f"{at}", packages=(f"/p/{at}", "/p/0")))
        releases.mark_good()
    assert releases.packages() == releases.settle().packages == ("/p/2", "/p/0", "/p/1")


def test_bytecode_of_what_was_replaced_is_not_run(folder: Path, releases: Releases) -> None:
    """Python takes bytecode for current by its source's second and size, and a patch comes within a second."""
    number = releases.stage(everything(), EVERYTHING, patch_id=PATCH)
    seconds = [int((folder / "cogs/ranks.py").stat().st_mtime)]
    for _ in range(2):
        releases.switch(number)
        seconds.append(int((folder / "cogs/ranks.py").stat().st_mtime))
        releases.back()
        seconds.append(int((folder / "cogs/ranks.py").stat().st_mtime))
    assert len(set(seconds)) == len(seconds)
