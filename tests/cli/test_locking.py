"""The lock: current, whole, and noticed when it is not; no registry is asked."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from master.cli.locking import FOLDER, NAMES, changes, pins_of, problems, read_pins

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / FOLDER, tmp_path / FOLDER)
    return tmp_path


def test_the_lock_of_this_checkout_is_current() -> None:
    assert problems(ROOT) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_package_has_one_version_and_hashes_and_no_place_is_named(name: str) -> None:
    text = (ROOT / FOLDER / f"{name}.txt").read_text("utf-8")
    pins = read_pins(text)
    assert len({pin.name for pin in pins}) == len(pins) > 30
    # A wheel for each Python and processor, or one for all, and the source.
    assert min(pin.hashes for pin in pins) >= 1
    assert not re.search(r"https?:|index|find-links|file:", text)


def test_what_is_in_several_files_has_the_same_version_in_each() -> None:
    own = {name: {p.name: p.version for p in read_pins((ROOT / FOLDER / f"{name}.txt").read_text())} for name in NAMES}
    for name in ("announce", "dev", "mail", "sqlserver"):
        assert own["run"].items() <= own[name].items()
    assert set(own["sqlserver"]) - set(own["run"]) == {"pyodbc", "mssql-python-odbc"}
    assert set(own["mail"]) - set(own["run"]) == {"aioimaplib", "aiosmtplib"}
    assert "apprise" in set(own["announce"]) - set(own["run"])


def _edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text("utf-8")
    path.write_text(change(before), "utf-8")
    assert path.read_text("utf-8") != before


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"rich>=14"', '"rich>=15"'),
        lambda text: text.replace('    "psutil>=7.0",\n', ""),
        lambda text: text.replace('"pyodbc>=5.2"', '"pyodbc>=5.3"'),
        lambda text: text.replace('"setuptools>=77"', '"setuptools>=78"'),
        lambda text: text.replace('">=3.11"', '">=3.12"'),
    ],
    ids=["a bound", "one less", "an extra", "the build", "the Python"],
)
def test_an_edit_of_what_the_project_needs_makes_the_lock_old(checkout: Path, change: Callable[[str], str]) -> None:
    _edit(checkout / "pyproject.toml", change)
    assert [line for line in problems(checkout) if "another pyproject.toml" in line] == [
        f"{FOLDER}/{name}.txt was made from another pyproject.toml" for name in NAMES
    ]


def test_an_edit_of_anything_else_does_not(checkout: Path) -> None:
    _edit(checkout / "pyproject.toml", lambda text: text.replace("line-length = 120", "line-length = 100"))
    assert problems(checkout) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: re.sub(r"(?m)^aiohttp==\S+", "aiohttp==3.0.0", text), "discord-py needs aiohttp"),
        (lambda text: re.sub(r"(?m)^rich==\S+", "rich==13.0.0", text), "pyproject.toml needs rich>=14"),
        (lambda text: re.sub(r"(?m)^yarl==.*\n(    --hash.*\n)+", "", text), "needs yarl"),
        (lambda text: re.sub(r"(?m)^(yarl==\S+) \\\n(    --hash.*\n)+", r"\1\n", text), "yarl has no hash"),
        (lambda text: "--index-url https://example.org/simple\n" + text, "a line is no package"),
        (lambda text: text.replace("# inputs: sha256:", "# inputs: sha256:0"), "another pyproject.toml"),
    ],
    ids=["unfit for a package", "unfit for the project", "missing", "without hash", "a place", "the inputs"],
)
def test_an_edit_of_the_lock_is_noticed(checkout: Path, change: Callable[[str], str], said: str) -> None:
    _edit(checkout / FOLDER / "run.txt", change)
    found = problems(checkout)
    assert any(said in line for line in found), found


def test_a_missing_file_is_named(checkout: Path) -> None:
    (checkout / FOLDER / "sqlserver.txt").unlink()
    assert problems(checkout) == [f"{FOLDER}/sqlserver.txt is missing"]


def test_what_a_new_lock_changes_is_told(checkout: Path) -> None:
    before = pins_of(checkout)
    after = {**before, "rich": "99.0", "quite-new": "1.0"}
    del after["yarl"]
    assert changes(before, after) == (
        f"quite-new new -> 1.0, rich {before['rich']} -> 99.0, yarl {before['yarl']} -> gone"
    )


def test_the_launcher_installs_from_the_lock_alone() -> None:
    script = (ROOT / "fleet").read_text("utf-8")
    installs = [line.strip() for line in script.splitlines() if line.strip().startswith("install ")]
    assert installs == [
        'install --require-hashes --requirement "$here/locks/$lock.txt"',
        'install --no-deps --no-build-isolation --editable "$here"',
    ]
    assert "pip install" not in (ROOT / ".ci" / "run").read_text("utf-8")
