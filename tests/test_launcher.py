"""``./fleet`` itself: which environment a command needs, and how it is found behind a link."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout whose Python installs and runs nothing, and writes down what it was called with."""
    made = tmp_path / "check out"
    (made / "locks").mkdir(parents=True)
    shutil.copy(ROOT / "fleet", made / "fleet")
    (made / "pyproject.toml").write_text("")
    for name in ("run", "dev", "sqlserver", "mail"):
        (made / "locks" / f"{name}.txt").write_text("")
    binaries = made / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name in ("python", "pip"):
        (binaries / name).write_text('#!/bin/sh\necho "$@" >> "$(dirname "$0")/../../said"\n')
        (binaries / name).chmod(0o755)
    return made


def typed(launcher: Path, *arguments: str) -> list[str]:
    """Run the launcher; returns what its Python was called with."""
    said = launcher.resolve().parent / "said"
    said.unlink(missing_ok=True)
    # These tests may be run by a launcher themselves, on another Python.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
    subprocess.run(  # noqa: S603
        [launcher, *arguments], check=True, timeout=30, capture_output=True, cwd="/", env=environment
    )
    return said.read_text().splitlines()


@pytest.mark.parametrize(
    ("line", "lock"),
    [
        ("status", "run"),
        ("check config", "run"),
        ("check --home /somewhere config", "run"),
        ("check code", "dev"),
        ("check", "dev"),
        ("test", "dev"),
        ("lock", "dev"),
    ],
)
def test_only_who_works_on_the_code_gets_the_developers_tools(checkout: Path, line: str, lock: str) -> None:
    said = typed(checkout / "fleet", *line.split())
    assert [part.group(1) for part in map(re.compile(r"locks/(\w+)\.txt").search, said) if part] == [lock]
    assert said[-1] == f"-m master.cli {line}"


def test_a_link_on_the_path_leads_to_the_checkout(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "link").symlink_to(checkout / "fleet")
    (tmp_path / "bin" / "fleet").symlink_to("link")
    assert typed(tmp_path / "bin" / "fleet", "status")[-1] == "-m master.cli status"


def test_what_was_installed_under_the_former_name_is_taken_away(checkout: Path) -> None:
    (checkout / ".venv/lib/python3.12/site-packages/fleetmaster-0.1.0.dist-info").mkdir(parents=True)
    assert "-m pip uninstall --quiet --yes fleetmaster" in typed(checkout / "fleet", "status")


def test_nothing_of_ours_can_be_answered_by_a_package_index() -> None:
    """`fleetmaster` is somebody else's there, and a name that is not taken yet could be taken tomorrow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "fleetmaster-bots"
    lines = (ROOT / "child_template" / "requirements.txt").read_text().splitlines()
    wanted = {re.split(r"\W(?=[<>=])|[<>=]", line)[0] for line in lines if not line.startswith("#")}
    assert wanted == {"discord.py", "python-dotenv"}
    texts = [
        path
        for pattern in ("master/**/*.py", "nodekit/**/*.py", "child_template/**/*", "docs/*.md", "*.md", "*.py")
        for path in ROOT.glob(pattern)
        if path.is_file() and path.suffix in (".py", ".md", ".txt") and path.name != "CHANGELOG.md"
    ]
    assert len(texts) > 100
    advised = [str(path) for path in texts if re.search(r"pip install\W+fleetmaster", path.read_text("utf-8"))]
    assert advised == []


def test_the_launcher_is_plain_posix_shell() -> None:
    assert os.access(ROOT / "fleet", os.X_OK)
    subprocess.run(["sh", "-n", ROOT / "fleet"], check=True, timeout=30)  # noqa: S603, S607


def test_extras_are_remembered(checkout: Path) -> None:
    def installed(extras: str) -> list[str]:
        (checkout / ".venv" / ".fleet-run").unlink(missing_ok=True)
        (checkout / "said").unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
        subprocess.run(  # noqa: S603
            [checkout / "fleet", "status"], check=True, timeout=30, cwd="/", env={**environment, "FLEET_EXTRAS": extras}
        )
        return re.findall(r"locks/(\w+)\.txt", (checkout / "said").read_text())

    assert installed("") == ["run"]
    assert installed("mail") == ["run", "mail"]
    assert installed("") == ["run", "mail"]
    assert installed("sqlserver") == ["run", "sqlserver", "mail"]
    assert installed("") == ["run", "sqlserver", "mail"]
