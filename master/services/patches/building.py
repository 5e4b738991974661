"""Makes a patch from a bot's files before and after: unsigned, and the same bytes for the same input. It blocks."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import ClassVar

import msgspec

from handshake import patch_bundle
from handshake.patch_bundle import BundleError, RawBundle
from handshake.patch_document import (
    MAX_ARCHIVE_BYTES,
    MAX_FILES,
    SUFFIX,
    PatchDocument,
    PatchedFile,
    RemovedFile,
    Targets,
    WavePlan,
)
from master.errors import ExitCode
from master.security.tokens import hide_tokens
from master.services.patches.differences import FileDifference, compare
from master.services.patches.errors import PatchError
from master.services.patches.files import read_patch_file
from master.services.patches.proposals import is_exact, propose_effect, propose_requirements
from master.services.patches.trees import SourceFile, SourceRefused, Tree, is_worth_telling

_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""Of every entry of an archive: the moment of a build is none of its content."""
_PROGRAMS = (".py", ".pyi")
_EVERY_NODE, _AS_THE_FLEET_HAS_IT = Targets(), WavePlan()


class NothingChanged(PatchError):
    """The two sides are the same, so there is nothing to patch."""

    code: ClassVar[str] = "nothing_changed"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class RequestRefused(PatchError):
    """A name, a version or another word of the patch is not valid."""

    code: ClassVar[str] = "patch_invalid"
    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What its author wants a patch to be; what is empty is proposed.

    Parameters
    ----------
    folder_name
        What a patch of several files is called after, where it has no name.
    reload
        Cogs to reload, whatever else has changed.
    restart
        Restart, also where a reload would do.
    remove
        Paths that the patch takes away.
    exclude
        Paths and patterns that it leaves alone.
    check
        Refuse Python files that do not compile here.
    """

    version: int
    created: int
    expires: int
    name: str = ""
    folder_name: str = ""
    channel: str = "main"
    author: str = ""
    note: str = ""
    fleets: tuple[str, ...] = ()
    targets: Targets = _EVERY_NODE
    depends_on: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    restart: bool = False
    rollout: WavePlan = _AS_THE_FLEET_HAS_IT
    remove: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    check: bool = True


@dataclass(frozen=True)
class Changes:
    """What is different between two trees.

    Parameters
    ----------
    written
        New and changed files.
    replaced
        What the changed ones of these were.
    removed
        Files of the original that are taken away.
    not_removed
        Files that only the original has, and that stay: it may have written them itself.
    """

    written: Mapping[str, SourceFile]
    replaced: Mapping[str, SourceFile]
    removed: Mapping[str, SourceFile]
    not_removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Built:
    """A patch that was made, and what its author should know of it."""

    raw: RawBundle
    document: PatchDocument
    changes: Changes
    why_restart: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def build(request: BuildRequest, base: Tree, changed: Tree) -> Built:
    """Make a patch that turns one tree into the other.

    Raises
    ------
    NothingChanged, SourceRefused, RequestRefused
    """
    changes = find_changes(base, changed, remove=request.remove, exclude=request.exclude)
    if not changes.written and not changes.removed:
        raise NothingChanged("nothing has changed: there is nothing to patch", hint=_where_left_out(base, changed))
    _check(changes, compiles=request.check)
    after = _after(base, changes)
    needed = propose_requirements(base, after)
    packages = _requirements(request, needed.exact)
    paths = [*changes.written, *changes.removed]
    effect = propose_effect(after, paths, packages=bool(packages))
    reload = () if request.restart else request.reload or effect.reload
    archive = make_archive(changes.written)
    document = _document(request, changes, archive, reload=reload, packages=packages)
    warnings = [f"requirements.txt: {line!r} names no exact version: it is not installed" for line in needed.inexact]
    warnings += _warnings(base, changed, changes, request)
    why = "you asked for it" if request.restart else "" if reload else effect.why
    left_out = _left_out(base, changed)
    raw = RawBundle(encode_document(document), b"", archive)
    return Built(raw, document, changes, why, left_out, tuple(warnings))


def find_changes(base: Tree, changed: Tree, *, remove: Iterable[str] = (), exclude: Iterable[str] = ()) -> Changes:
    """Compare two trees.

    Raises
    ------
    SourceRefused
        What should be removed is not there.
    """
    patterns = tuple(exclude)

    def is_wanted(path: str) -> bool:
        return not any(fnmatch(path, pattern) or path.startswith(f"{pattern.rstrip('/')}/") for pattern in patterns)

    named = set(remove)
    for path in sorted(named - base.files.keys()):
        raise SourceRefused(f"--remove {path}: the original has no such file")
    written = {
        path: file
        for path, file in sorted(changed.files.items())
        if is_wanted(path) and path not in named and not (path in base.files and base.files[path].is_like(file))
    }
    gone = [path for path in sorted(base.files.keys() - changed.files.keys()) if is_wanted(path)]
    # Of a folder on a disk a file may be the bot's own; a program is not.
    kept = [path for path in gone if not (base.is_tracked or path.endswith(_PROGRAMS) or path in named)]
    removed = {path: base.files[path] for path in sorted({*gone, *named} - set(kept))}
    replaced = {path: base.files[path] for path in written if path in base.files}
    return Changes(written, replaced, removed, tuple(kept))


def make_archive(files: Mapping[str, SourceFile]) -> bytes:
    """Return the archive of a patch; equal files make equal bytes.

    Raises
    ------
    SourceRefused
        It is larger than a patch may be.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path, file in sorted(files.items()):
            entry = zipfile.ZipInfo(path, _EARLIEST)
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            entry.external_attr = (0o100755 if file.executable else 0o100644) << 16
            archive.writestr(entry, file.content)
            if packed.tell() > MAX_ARCHIVE_BYTES:
                raise SourceRefused(
                    f"the files are larger than a patch may be: {MAX_ARCHIVE_BYTES >> 20} MB, packed",
                    hint="--exclude leaves some out",
                )
    return packed.getvalue()


def encode_document(document: PatchDocument) -> bytes:
    """Return a document's bytes, once they were found to be acceptable.

    Raises
    ------
    RequestRefused
    """
    encoded = msgspec.json.encode(document)
    try:
        patch_bundle.read_document(encoded)
    except BundleError as error:
        raise RequestRefused(_in_words(str(error))) from error
    return encoded


def proposed_name(changes: Changes, folder_name: str) -> str:
    """Return a name for a patch: that of the only file that it changes, or of the bot's folder."""
    paths = [*changes.written, *changes.removed]
    named = PurePosixPath(paths[0]).stem if len(paths) == 1 else folder_name
    return re.sub(r"[^a-z0-9_-]+", "-", named.lower()).strip("-_")[:40] or "patch"


def file_differences(changes: Changes) -> list[FileDifference]:
    """Return what becomes of each file, line by line."""
    found = []
    for path, file in changes.written.items():
        old = changes.replaced.get(path)
        mode_changed = old is not None and old.executable != file.executable
        found.append(
            replace(compare(path, None if old is None else old.content, file.content), mode_changed=mode_changed)
        )
    return found + [compare(path, file.content, None) for path, file in changes.removed.items()]


def next_version(folder: Path, channel: str) -> int:
    """Return the version above the newest patch of a channel in a folder; 1 without one.

    Versions rise in a channel, whatever the patches are called: a fleet refuses what is not above the last.
    """
    newest = 0
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            document = read_patch_file(path).document
        except (PatchError, OSError):
            continue  # not a patch that can be read, so none that was delivered
        if document.channel == channel:
            newest = max(newest, document.version)
    return newest + 1


def _document(
    request: BuildRequest,
    changes: Changes,
    archive: bytes,
    *,
    reload: tuple[str, ...],
    packages: tuple[str, ...],
) -> PatchDocument:
    if len(changes.written) + len(changes.removed) > MAX_FILES:
        number = len(changes.written) + len(changes.removed)
        raise SourceRefused(f"{number} files have changed, and a patch may have {MAX_FILES}", hint="see --exclude")
    files = [
        PatchedFile(
            path=path,
            sha256=file.sha256,
            length=len(file.content),
            base=changes.replaced[path].sha256 if path in changes.replaced else None,
            executable=file.executable,
        )
        for path, file in changes.written.items()
    ]
    return PatchDocument(
        fleets=request.fleets,
        name=request.name or proposed_name(changes, request.folder_name),
        version=request.version,
        channel=request.channel,
        created=request.created,
        expires=request.expires,
        author=request.author,
        note=request.note,
        files=tuple(files),
        removed=tuple(RemovedFile(path=path, base=file.sha256) for path, file in changes.removed.items()),
        targets=request.targets,
        depends_on=request.depends_on,
        requirements=packages,
        reload=reload,
        rollout=request.rollout,
        archive_sha256=hashlib.sha256(archive).hexdigest(),
        archive_bytes=len(archive),
    )


def _requirements(request: BuildRequest, proposed: tuple[str, ...]) -> tuple[str, ...]:
    for line in request.requirements:
        if not is_exact(line):
            raise RequestRefused(f"--requirement {line}: type it with its exact version, such as aiosqlite==0.21.0")
    return tuple(dict.fromkeys([*request.requirements, *proposed]))


def _check(changes: Changes, *, compiles: bool) -> None:
    """Refuse what no bot could run, and what nobody but its bot may see: a patch is posted to a channel."""
    for path, file in changes.written.items():
        text = file.content.decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), 1):
            if hide_tokens(line) != line:
                raise SourceRefused(
                    f"{path}, line {number}: there is a bot's token",
                    hint="the bot gets its token from its master; reset this one in Discord's developer portal",
                )
        if not compiles or not path.endswith(".py"):
            continue
        try:
            compile(file.content, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            where = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            raise SourceRefused(
                f"{path}{where}: {getattr(error, 'msg', None) or error}",
                hint="correct it; --no-check builds it for a bot whose Python is newer than this one",
            ) from error


def _after(base: Tree, changes: Changes) -> Tree:
    files = {path: file for path, file in base.files.items() if path not in changes.removed}
    return Tree({**files, **changes.written})


def _warnings(base: Tree, changed: Tree, changes: Changes, request: BuildRequest) -> list[str]:
    found = []
    for path in changes.written:
        if path.endswith((".json", ".csv")) and path in changes.replaced and not changed.is_tracked:
            found.append(f"{path} is replaced: where the bot writes it, --exclude {path}")
    if changes.not_removed:
        named = ", ".join(changes.not_removed[:3]) + (", ..." if len(changes.not_removed) > 3 else "")
        found.append(f"only the original has {named}: kept, it may be the bot's own; --remove PATH takes one away")
    cogs = {path[5:-3] for path in changes.written if path.startswith("cogs/")}
    for name in request.reload:
        if f"cogs/{name}.py" not in base.files and name not in cogs:
            raise RequestRefused(f"--reload {name}: there is no cogs/{name}.py")
    return found


def _left_out(base: Tree, changed: Tree) -> dict[str, str]:
    """Return what was left out and may be missed: what is new with the changed bot, and any secrets."""
    return {
        path: why
        for path, why in changed.left_out.items()
        if is_worth_telling(why) and (why == "secrets" or path not in base.left_out)
    }


def _where_left_out(base: Tree, changed: Tree) -> str:
    left = list(_left_out(base, changed))
    return f"left out: {', '.join(left[:5])}" if left else ""


def _in_words(error: str) -> str:
    """Say what the document's own words for a mistake mean to somebody who typed options."""
    if "$.name" in error:
        return "the name must be lower-case letters, digits, - and _, at most 40, and begin with a letter or digit"
    if "$.channel" in error:
        return "the channel must be lower-case letters, digits, - and _, at most 40"
    if "$.depends_on" in error:
        return "--depends-on takes names of patches: lower-case letters, digits, - and _"
    return error
