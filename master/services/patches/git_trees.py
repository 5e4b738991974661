"""A bot's files as two commits of git have them. Runs git, without hooks and within a time-out; it blocks."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from handshake.patch_document import MAX_UNPACKED_BYTES
from master.errors import ExitCode
from master.services.patches.errors import PatchError
from master.services.patches.trees import MAX_FILES, SourceFile, SourceMissing, SourceRefused, Tree, reason_to_leave_out

TIMEOUT_S = 30.0
_MAX_SUBJECTS = 10
_LFS = b"version https://git-lfs.github.com/spec/"
_LISTED = re.compile(rb"(\d{6}) (\w+) ([0-9a-f]+) +(\d+|-)\t(.*)", re.DOTALL)
_LINK, _MODULE, _EXECUTABLE = b"120000", b"160000", b"100755"


class GitFailed(PatchError):
    """Git is not there, refused, or took too long."""

    code: ClassVar[str] = "git_failed"


class GitTimedOut(GitFailed):
    """Git took too long."""

    exit_code: ClassVar[ExitCode] = ExitCode.TIMED_OUT


@dataclass(frozen=True, slots=True)
class GitRange:
    """What two commits have of a folder.

    Parameters
    ----------
    subjects
        First lines of the commits between them, the newest first.
    uncommitted
        Files of the folder that differ from HEAD, if that is the newer commit: they are not in the patch.
    """

    base: Tree
    changed: Tree
    subjects: tuple[str, ...]
    uncommitted: tuple[str, ...]


def git_range(folder: Path, given: str) -> GitRange:
    """Return a folder's files in the two commits of a range.

    Parameters
    ----------
    given
        ``v1..v2``; of a single commit, from there to HEAD.

    Raises
    ------
    GitFailed, SourceMissing, SourceRefused
    """
    if not folder.is_dir():
        raise SourceMissing(f"there is no folder {folder}", hint="--folder is the bot's folder in the checkout")
    if "..." in given:
        raise SourceRefused(f"{given!r} is no range of two commits", hint="type it with two dots: v1..v2")
    older, _, newer = given.partition("..")
    git = _Git(folder)
    prefix = git.text("rev-parse", "--show-prefix")
    first, last = git.commit(older or "HEAD"), git.commit(newer or "HEAD")
    base, changed = git.tree(first, prefix), git.tree(last, prefix)
    if not base.files and not changed.files:
        raise SourceMissing(
            f"neither commit has a file in {folder}", hint="--folder is the bot's folder in the checkout"
        )
    span = f"{first}..{last}"
    subjects = git.text("log", f"-{_MAX_SUBJECTS}", "--format=%s", "--no-show-signature", span, "--", ".").splitlines()
    return GitRange(base, changed, tuple(subjects), _uncommitted(git) if last == git.commit("HEAD") else ())


def _uncommitted(git: _Git) -> tuple[str, ...]:
    """Return the files that differ from HEAD; those that git does not know are nobody's change yet."""
    listed = git.run("diff", "--name-only", "-z", "--relative", "--no-ext-diff", "--no-textconv", "HEAD", "--", ".")
    return tuple(os.fsdecode(name) for name in listed.split(b"\0") if name)


def git_config(key: str, folder: Path) -> str:
    """Return a value of git's configuration; empty where there is none, or no git."""
    try:
        return _Git(folder).text("config", "--get", key)
    except PatchError:
        return ""


class _Git:
    """Runs git in a folder.

    Parameters
    ----------
    folder
        Somewhere in a checkout.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run a command of git that only reads, and return what it printed.

        Raises
        ------
        GitFailed
        """
        # What a checkout can name as a program to run: hooks, and a watcher of files.
        command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "--no-pager", *arguments]
        environment = {**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
        environment["GIT_NO_LAZY_FETCH"] = "1"
        try:
            done = subprocess.run(  # noqa: S603 - git, with arguments of ours and commits that were looked up
                command,
                cwd=self._folder,
                input=stdin,
                capture_output=True,
                timeout=TIMEOUT_S,
                env=environment,
                check=False,
            )
        except FileNotFoundError as error:
            raise GitFailed("git is not installed", hint="use --folder CHANGED --base ORIGINAL instead") from error
        except subprocess.TimeoutExpired as error:
            raise GitTimedOut(f"git {arguments[0]} took longer than {TIMEOUT_S:.0f} s") from error
        if done.returncode != 0:
            raise _failure(done.stderr.decode("utf-8", "replace"), self._folder, arguments)
        return done.stdout

    def text(self, *arguments: str) -> str:
        """Run a command, and return what it printed as text, without the end of its last line."""
        return self.run(*arguments).decode("utf-8", "replace").rstrip("\n")

    def commit(self, name: str) -> str:
        """Return the full id of a commit.

        Raises
        ------
        SourceMissing, GitFailed
        """
        try:
            return self.text("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except GitFailed as error:
            if error.hint:
                raise
            raise SourceMissing(f"there is no commit {name!r}", hint="`git log --oneline` shows them") from error

    def tree(self, commit: str, prefix: str) -> Tree:
        """Return the files that a commit has below a folder."""
        files, left_out = dict[str, SourceFile](), dict[str, str]()
        listed = (
            self.run("ls-tree", "-r", "-z", "-l", "--full-tree", f"{commit}:{prefix}")
            if self._has(commit, prefix)
            else b""
        )
        for line in filter(None, listed.split(b"\0")):
            found = _LISTED.fullmatch(line)
            if found is None:
                raise GitFailed("git lists a commit's files in a form that is not known here")
            mode, _, blob, size, raw_path = found.groups()
            path = os.fsdecode(raw_path)
            reason = reason_to_leave_out(path) or {_LINK: "a link", _MODULE: "a submodule"}.get(mode, "")
            if reason:
                left_out[path] = reason
            else:
                files[path] = self._file(path, blob.decode(), int(size), executable=mode == _EXECUTABLE)
        if len(files) > MAX_FILES:
            raise SourceRefused(f"{self._folder} has more than {MAX_FILES} files", hint="give the folder of one bot")
        return Tree(files, left_out, is_tracked=True)

    def _has(self, commit: str, prefix: str) -> bool:
        """Tell whether a commit has the folder at all: it may have come later."""
        if not prefix:
            return True
        return bool(self.run("ls-tree", "-d", "-z", "--full-tree", commit, "--", prefix.rstrip("/")))

    def _file(self, path: str, blob: str, size: int, *, executable: bool) -> SourceFile:
        def read() -> bytes:
            if size > MAX_UNPACKED_BYTES:
                raise SourceRefused(f"{path} is larger than all of a patch may be ({MAX_UNPACKED_BYTES >> 20} MB)")
            content = self.run("cat-file", "blob", blob)
            if content.startswith(_LFS):
                hint = "build it from the checked out files: --folder CHANGED --base ORIGINAL"
                raise SourceRefused(f"{path} is kept in Git LFS: git has only a pointer to it", hint=hint)
            return content

        return SourceFile(size, executable, read, identity=blob)


def _failure(said: str, folder: Path, arguments: tuple[str, ...]) -> GitFailed:
    """Return what git refused, in words; the hint is empty where it said nothing that is known."""
    if "dubious ownership" in said:
        return GitFailed(
            f"git does not trust the checkout of {folder}: it belongs to another user",
            hint=f"if you trust it: git config --global --add safe.directory {_toplevel(said) or folder}",
        )
    if "not a git repository" in said:
        return GitFailed(f"{folder} is in no git repository", hint="use --folder CHANGED --base ORIGINAL instead")
    last = said.strip().splitlines()[-1].removeprefix("fatal: ") if said.strip() else "it said nothing"
    return GitFailed(f"git {arguments[0]} failed: {last}")


def _toplevel(said: str) -> str:
    found = re.search(r"repository at '([^'\n]+)'", said)
    return found[1] if found else ""
