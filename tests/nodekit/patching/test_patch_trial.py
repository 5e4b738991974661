"""What an import check sees: the folder as it will be with the patch, under its real names, and nothing is written."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import nodekit
from nodekit.patch_checking import Check, has_main_guard
from nodekit.patch_trial import try_imports

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program's folder; what is written in it."""
    folder = tmp_path / "bot"
    for path, text in {
        "cogs/ranks.py": "from helpers import levels\nassert levels.LEVEL == 1\n",
        "helpers/levels.py": "LEVEL = 1\n",
        "helpers/other.py": "from helpers.levels import LEVEL\n",
        "data.json": "old",
        "secret_script.py": "open('ran', 'w')\n",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return folder


async def tried(
    folder: Path,
    files: Mapping[str, str],
    modules: Sequence[str],
    *,
    removed: Sequence[str] = (),
    timeout_s: float = 10,
) -> str:
    before = sorted(str(path) for path in folder.rglob("*"))
    content = {path: text.encode() for path, text in files.items()}
    check = Check(folder=os.path.realpath(folder), files=content, removed=removed, modules=modules)
    problem = await try_imports(check, timeout_s=timeout_s, token_variable="TOKEN")
    assert sorted(str(path) for path in folder.rglob("*")) == before
    return problem


async def test_modules_see_each_other_as_they_will_be(folder: Path) -> None:
    files = {
        "cogs/ranks.py": (
            "from helpers import levels, other\nfrom brand.new import NEW\nfrom helpers.deep import DEEP\n"
            "from pathlib import Path\nimport json, os\n"
            "here = Path(__file__).parent.parent\n"
            "assert levels.LEVEL == other.LEVEL == 2, levels\n"
            f"assert here == Path({str(folder)!r}), here\n"
            "assert (here / 'data.json').read_text() == open(here / 'data.json').read() == 'new'\n"
            "assert (here / 'fresh.json').read_bytes() == b'fresh'\n"
            "os.environ['TOKEN']\n"
        ),
        "helpers/levels.py": "LEVEL = 2\n",
        "helpers/deep/__init__.py": "from .. import levels\nfrom .inner import DEEP\n",
        "helpers/deep/inner.py": "DEEP = 3\n",
        "brand/new.py": "NEW = 4\n",
        "data.json": "new",
        "fresh.json": "fresh",
        "secret_script.py": "raise RuntimeError('a script that nobody imports was run')\n",
    }
    assert await tried(folder, files, ["cogs.ranks"]) == ""


async def test_what_the_patch_takes_away_cannot_be_imported(folder: Path) -> None:
    problem = await tried(folder, {}, ["cogs.ranks"], removed=["helpers/levels.py"])
    assert "cannot import name 'levels'" in problem
    assert f'File "{folder}/cogs/ranks.py", line 1' in problem
    assert "importlib" not in problem
    assert "patch_checking" not in problem


async def test_what_breaks_says_where_with_the_line_of_the_patch(folder: Path) -> None:
    problem = await tried(folder, {"helpers/levels.py": "LEVEL = 1\n\nLEVEL.nothing()\n"}, ["cogs.ranks"])
    assert 'helpers/levels.py", line 3' in problem
    assert "LEVEL.nothing()" in problem
    assert problem.endswith("AttributeError: 'int' object has no attribute 'nothing'\n")
    # Compiled only, though nobody imports it.
    problem = await tried(folder, {"secret_script.py": "def\n"}, [])
    assert "SyntaxError" in problem
    assert "secret_script.py" in problem


async def test_a_module_that_hangs_is_ended_and_a_flood_of_words_is_bounded(folder: Path) -> None:
    problem = await tried(folder, {"cogs/ranks.py": "import time\ntime.sleep(60)\n"}, ["cogs.ranks"], timeout_s=1.5)
    assert problem.startswith("the import check was ended after 1.5 s")
    long = await tried(folder, {"cogs/ranks.py": "raise ValueError('\\u00e4' * 100_000)\n"}, ["cogs.ranks"])
    assert 1_000 < len(long) <= 2_500


PROGRAM = """\
import asyncio, importlib, logging, os, sys, threading
sys.path.insert(0, os.getcwd())
from nodekit.patch_checking import Check
from nodekit.patch_trial import try_imports

logging.basicConfig(level=logging.INFO, stream=sys.stderr)
place = importlib.import_module("scratch").PLACE.name
if sys.argv[1] != "a fork":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
check = Check(folder=os.getcwd(), files={"new.py": sys.argv[2].encode()}, removed=[], modules=["new"])
print(asyncio.run(try_imports(check, timeout_s=2)))
sys.exit(None if os.path.isdir(place) else "what only one module holds of the running program is gone")
"""
STARTS_OTHERS = """\
import os, time
for number in range(10):
    if os.fork() == 0:
        if number % 2:
            # As a daemon does: another session, and no parent.
            os.setsid()
            if os.fork():
                os._exit(0)
        os.write({writing}, b"%d\\n" % os.getpid())
        time.sleep(60)
        os._exit(0)
while open({path!r}).read().count("\\n") < 10:
    time.sleep(0.01)
{end}
"""


FORK, OWN = "a fork", "an interpreter of its own"
NO_RESULT = "the import check ended without a result"


@pytest.mark.parametrize(
    ("way", "end", "said"),
    [
        (FORK, "", "\n"),
        (OWN, "", "\n"),
        (FORK, "time.sleep(60)", "the import check was ended after 2 s"),
        (FORK, "os._exit(1)", NO_RESULT),
        (OWN, "os.killpg(0, 9)", NO_RESULT),
    ],
    ids=["ends", "ends, in its own", "hangs", "ends its process", "kills its group, in its own"],
)
@pytest.mark.slow
def test_a_check_leaves_nothing_behind_and_takes_nothing_along(tmp_path: Path, way: str, end: str, said: str) -> None:
    (tmp_path / "scratch.py").write_text("import tempfile\nPLACE = tempfile.TemporaryDirectory()\n")
    path = tmp_path / "pids"
    writing = f"os.open({str(path)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)"
    environment = {**os.environ, "PYTHONPATH": str(Path(nodekit.__path__[0]).parent)}
    # A program of its own: it is without threads, as a node is, and so forks.
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", PROGRAM, way, STARTS_OTHERS.format(writing=writing, path=str(path), end=end)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (ended.returncode, f"in {way}" in ended.stderr) == (0, True), ended.stderr
    assert ended.stdout.startswith(said)
    pids = [int(word) for word in path.read_text().split()]
    assert len(pids) == 10
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([descriptor], [], [], 10)[0], "it goes on, with the node's descriptors"
        finally:
            os.close(descriptor)


def test_a_program_with_a_main_guard_is_known_by_it() -> None:
    assert has_main_guard(b"import x\nif __name__ == '__main__':\n    x.run()\n")
    assert not has_main_guard(b"import x\nx.run()\nif x:\n    pass\n")
    assert not has_main_guard(b"def (\n")
