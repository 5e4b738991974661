"""Tries in another process whether changed modules can be imported, before anything of a node is changed.

The modules are loaded from the patch's content under their real names and paths; nothing is written. The process is a
fork of the node, which has all libraries loaded already, or an interpreter that runs this file: then nothing but the
standard library is there. See :mod:`nodekit.patch_trial` for the node's side.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import ctypes
import functools
import gc
import importlib
import importlib.machinery
import importlib.util
import io
import json
import linecache
import marshal
import os
import signal
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RESULT_BYTES = 8_192
ENDS_ITSELF_S = 60
"""After so long an import check ends by itself: the node that would end it may have been killed."""
_PR_SET_CHILD_SUBREAPER = 36
_TRACEBACK_CHARACTERS = 2_500
_kept: list[types.ModuleType] = []
"""Modules that were forgotten."""


@dataclass(frozen=True)
class Check:
    """What is tried.

    Parameters
    ----------
    folder
        The node's folder, with links followed.
    files
        The content of each file that the patch brings, by its path in the folder.
    removed
        Paths that the patch takes away.
    modules
        Names of modules that are imported. All other changed Python files are compiled only: a script that nobody
        imports must not run because it was patched.
    """

    folder: str
    files: Mapping[str, bytes]
    removed: Sequence[str]
    modules: Sequence[str]
    packages: Sequence[str] = ()
    """Folders of packages that the patch needs."""

    def run(self) -> str:
        """Try it in this process, which is good for nothing else afterwards; returns what is wrong, or nothing."""
        # Neither the patch's modules nor old ones that are loaded again leave bytecode behind.
        sys.dont_write_bytecode = True
        gc.disable()
        try:
            for path, content in self.files.items():
                if path.endswith(".py"):
                    final = os.path.join(self.folder, path)
                    # A traceback would show the lines of the file that is there now.
                    lines = content.decode("utf-8", "replace").splitlines(keepends=True)
                    linecache.cache[final] = (len(content), None, lines, final)
                    compile(content, final, "exec", dont_inherit=True)
            sys.path += [path for path in self.packages if path not in sys.path]
            # In a fork they are those of the running bot. What they hold must not come to its end here: a temporary
            # folder would be removed, and a connection closed that the bot still uses.
            _kept.extend(forget_modules(self.folder))
            overlay = _Overlay(self)
            sys.meta_path.insert(0, overlay)
            overlay.serve_data()
            for name in self.modules:
                importlib.import_module(name)
        except BaseException as error:
            # SystemExit too: a bot whose module ends the process does not start.
            return _describe(error)
        return ""


def has_main_guard(content: bytes) -> bool:
    """Tell whether a program does its work below ``if __name__ == "__main__"``: then it can be imported safely."""
    try:
        body = ast.parse(content).body
    except (SyntaxError, ValueError):
        return False
    return any(
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Compare)
        and isinstance(node.test.left, ast.Name)
        and node.test.left.id == "__name__"
        for node in body
    )


def own_modules(folder: str) -> dict[str, str]:
    """Return the loaded modules that are the program's own, and their paths in its folder."""
    found, inner_of = {}, functools.lru_cache(None)(functools.partial(_inner_folder, folder, _elsewhere(folder)))
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if name == "__main__" or not isinstance(path, str):
            continue
        place, _, file = path.rpartition(os.sep)
        inner = inner_of(place)
        if inner is not None and not file.startswith("."):
            found[name] = os.path.join(inner, file)
    return found


def _elsewhere(folder: str) -> tuple[str, ...]:
    """Return how the paths of libraries begin that have nothing to do with a folder: some hundred need no look."""
    begins = []
    for prefix in {sys.prefix, sys.base_prefix}:
        real = os.path.realpath(prefix)
        if not _is_in(real, folder) and not _is_in(folder, real):
            begins.append(prefix + os.sep)
    return tuple(begins)


def _inner_folder(folder: str, elsewhere: tuple[str, ...], place: str) -> str | None:
    """Return where a module's folder is in the program's; None where it is elsewhere, or of a library."""
    if place.startswith(elsewhere):
        return None
    real = os.path.realpath(place)
    if not _is_in(real, folder):
        return None
    parts = real[len(folder) + 1 :].split(os.sep)
    # Whatever is hidden there is not the program's own either.
    if any(part.startswith(".") or part in ("site-packages", "node_modules") for part in parts):
        return None
    return os.path.join(*parts)


def forget_modules(folder: str) -> list[types.ModuleType]:
    """Forget the program's own modules, with the packages that they are in, so that they are imported anew.

    Returns them: whoever lets go of them ends what they alone hold.
    """
    gone = set(own_modules(folder))
    for name, module in list(sys.modules.items()):
        places = list(getattr(module, "__path__", ()) or ())
        if getattr(module, "__file__", None) is None and any(_is_below(place, folder) for place in places):
            gone.add(name)  # A folder without __init__.py.
    return [sys.modules.pop(name) for name in gone]


def _is_below(path: str, folder: str) -> bool:
    return _is_in(os.path.realpath(path), folder)


def _is_in(real: str, folder: str) -> bool:
    return real == folder or real.startswith(folder + os.sep)


class _Overlay:
    """Finds modules as Python does, in a folder as it will be with the patch."""

    def __init__(self, check: Check) -> None:
        self._folder = check.folder
        self._files = {os.path.join(check.folder, path): content for path, content in check.files.items()}
        self._removed = {os.path.join(check.folder, path) for path in check.removed}
        self._folders = {check.folder}
        for path in self._files:
            while (path := os.path.dirname(path)) not in self._folders:
                self._folders.add(path)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module, place by place; None where no place of the search path is in the folder."""
        places = list(sys.path if path is None else path)
        real = [os.path.realpath(place or os.getcwd()) for place in places]
        if not any(_is_below(place, self._folder) for place in real):
            return None
        portions = []
        for place, resolved in zip(places, real, strict=True):
            if not _is_below(resolved, self._folder):
                found = importlib.machinery.PathFinder.find_spec(name, [place])
                if found is not None and found.loader is not None:
                    return found
                portions += list(found.submodule_search_locations or ()) if found is not None else []
                continue
            inner = os.path.join(resolved, name.rpartition(".")[2])
            spec = self._spec_of(name, inner)
            if spec is not None:
                return spec
            if inner in self._folders or os.path.isdir(inner):
                portions.append(inner)
        if not portions:
            if any(self._is_taken_away(os.path.join(place, name.rpartition(".")[2])) for place in real):
                # Python's own finder would still see the file.
                raise ModuleNotFoundError(f"No module named {name!r}: the patch takes it away", name=name)
            return None
        package = importlib.machinery.ModuleSpec(name, None, is_package=True)
        package.submodule_search_locations = portions
        return package

    def _spec_of(self, name: str, inner: str) -> importlib.machinery.ModuleSpec | None:
        for path in (os.path.join(inner, "__init__.py"), f"{inner}.py"):
            if path in self._files:
                loader: importlib.machinery.SourceFileLoader = _StagedLoader(name, path, self._files[path])
            elif path not in self._removed and os.path.isfile(path):
                loader = importlib.machinery.SourceFileLoader(name, path)
            else:
                continue
            places = [inner] if path.endswith("__init__.py") else None
            return importlib.util.spec_from_file_location(name, path, loader=loader, submodule_search_locations=places)
        return None

    def _is_taken_away(self, inner: str) -> bool:
        return f"{inner}.py" in self._removed or os.path.join(inner, "__init__.py") in self._removed

    def serve_data(self) -> None:
        """Have ``open`` find what else the patch brings: a module may read a file of its own when it is imported."""
        real_open = builtins.open

        def opened(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            if isinstance(file, str | os.PathLike) and not set(mode) & set("wax+"):
                path = os.path.realpath(os.fspath(file))
                content = self._files.get(path) if isinstance(path, str) else None
                if content is not None:
                    encoding = options.get("encoding", args[1] if len(args) > 1 else None)
                    stream = io.BytesIO(content)
                    return stream if "b" in mode else io.TextIOWrapper(stream, encoding=encoding or "utf-8")
                if path in self._removed:
                    raise FileNotFoundError(2, "No such file or directory", path)
            return real_open(file, mode, *args, **options)

        # Two names of one function: pathlib uses the second.
        builtins.open = opened
        io.open = opened


class _StagedLoader(importlib.machinery.SourceFileLoader):
    """Loads a module from the patch's content."""

    def __init__(self, name: str, path: str, content: bytes) -> None:
        super().__init__(name, path)
        self._content = content

    def get_data(self, path: Any) -> bytes:
        """Return the source; also what tracebacks show."""
        return self._content if path == self.path else super().get_data(path)

    def get_code(self, fullname: str) -> types.CodeType:
        """Compile the source: cached bytecode is of the file that it replaces."""
        code: types.CodeType = compile(self._content, self.path, "exec", dont_inherit=True)
        return code


def _describe(error: BaseException) -> str:
    """Return the end of a traceback, without the steps of this module and of the import machinery."""
    ours = {__file__, "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"}
    told = traceback.TracebackException.from_exception(error, limit=-30)
    kept = [
        frame
        for frame in told.stack
        if frame.filename not in ours and not frame.filename.endswith("importlib/__init__.py")
    ]
    told.stack = traceback.StackSummary.from_list(kept)
    return "".join(told.format(chain=True))[-_TRACEBACK_CHARACTERS:]


def write_result(write: Callable[[bytes], object], problem: str) -> None:
    """Write a result as one line, which its reader bounds."""
    while len(line := json.dumps({"problem": problem}).encode()) >= RESULT_BYTES:
        problem = problem[len(problem) // 8 + 1 :]
    write(line + b"\n")


def guard(check: Check, writing: int, mask: Iterable[signal.Signals | int]) -> None:
    """Run a check in a child of this process, and end this process once nothing is left of all that it started.

    Call it with all signals blocked. SIGTERM ends the check. What is in a session of its own, or has lost its parent,
    does not escape: orphans become children of this process, which runs nothing of the patch.

    Parameters
    ----------
    writing
        The descriptor that the result is written to.
    mask
        The signals that are blocked in the child.
    """
    _adopt_orphans()
    signal.alarm(ENDS_ITSELF_S)
    pid = os.fork()
    if not pid:
        try:
            os.setpgid(0, 0)
            signal.alarm(0)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            write_result(lambda line: os.write(writing, line), check.run())
        finally:
            os._exit(0)
    # Who reads it finds its end once the check has ended, even without a result.
    os.close(writing)
    asked = False
    while not asked and not _has_ended(pid):
        asked = signal.sigwait({signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM}) != signal.SIGCHLD
    with contextlib.suppress(ChildProcessError):
        while True:
            for child in _children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            os.waitpid(-1, 0)


def _adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent ends."""
    # Where the kernel or the C library cannot do that, what leaves its session escapes.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, *map(ctypes.c_ulong, (1, 0, 0, 0)))


def _has_ended(pid: int) -> bool:
    """Tell whether a child has ended; all that have are waited for."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            if ended == pid:
                return True
        return False
    return True


def _children() -> list[int]:
    """Return the children of this process, which has one thread."""
    own = os.getpid()
    try:
        with open(f"/proc/self/task/{own}/children") as listed:
            return [int(word) for word in listed.read().split()]
    except OSError:
        # Not every kernel has that file.
        return [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _parent_of(pid) == own]


def _parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def main() -> None:
    """Read what is to be tried from standard input, and write the result to the descriptor that is named."""
    folder, files, removed, modules, packages, search_path, kit, numbered = marshal.load(sys.stdin.buffer)  # noqa: S302 - of its parent
    sys.path[:] = search_path
    for entry, place in kit.items():
        sys.meta_path.append(_Lent(entry, place))
    check = Check(folder=folder, files=files, removed=removed, modules=modules, packages=packages)
    guard(check, numbered, signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()))
    os._exit(0)


class _Lent:
    """Finds a package that the node has been lent by its master."""

    def __init__(self, name: str, place: str) -> None:
        self._name = name
        self._place = place

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Find it; its modules are found in the normal way."""
        if name != self._name:
            return None
        begin = os.path.join(self._place, "__init__.py")
        return importlib.util.spec_from_file_location(name, begin, submodule_search_locations=[self._place])


if __name__ == "__main__":
    main()
