"""``fleet check`` on a checkout of its own: real ruff, mypy and import-linter, on one small package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(180)

PYPROJECT = """\
[tool.ruff]
lint.select = ["F", "I"]

[tool.mypy]
files = ["room"]
strict = true

[tool.importlinter]
root_packages = ["room"]

[[tool.importlinter.contracts]]
name = "one floor"
type = "layers"
containers = ["room"]
layers = ["door"]
"""
UNTIDY = "import os\nimport sys\ndef answer( ) -> int:\n    return   len(sys.argv)\n"
TIDY = "import sys\n\n\ndef answer() -> int:\n    return len(sys.argv)\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "__init__.py").touch()
    (tmp_path / "room" / "door.py").write_text(UNTIDY)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    return tmp_path


def check(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(checkout), str(Path(__file__).resolve().parents[2])])
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "master.cli", "check", "code", *arguments],
        capture_output=True,
        text=True,
        timeout=150,
        env={**os.environ, "FLEET_CHECKOUT": str(checkout), "PYTHONPATH": paths, "COLUMNS": "120"},
        check=False,
    )


def test_check_names_each_step_and_leaves_the_code_as_it_is(checkout: Path) -> None:
    done = check(checkout)
    assert done.returncode == 1
    assert _steps(done.stdout) == ["✗ format", "✗ lint", "✓ types", "✓ layers"]
    assert "door.py" in done.stdout
    assert (checkout / "room" / "door.py").read_text() == UNTIDY


@pytest.mark.slow
def test_check_fix_puts_right_what_can_be_and_then_checks(checkout: Path) -> None:
    done = check(checkout, "--fix")
    assert done.returncode == 0, done.stdout + done.stderr
    assert _steps(done.stdout) == ["✓ format", "✓ lint", "✓ types", "✓ layers"]
    assert (checkout / "room" / "door.py").read_text() == TIDY


def test_check_fix_fails_over_what_it_cannot_put_right(checkout: Path) -> None:
    (checkout / "room" / "door.py").write_text(TIDY.replace("-> int", "-> str"))
    done = check(checkout, "--fix")
    assert done.returncode == 1
    assert "✗ types" in _steps(done.stdout)


SLOW = """\
import pytest

@pytest.mark.slow
def test_slow(): pass

def test_quick(): pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "ran"),
    [
        ((), {"test_quick"}),
        (("-m", "slow or not slow"), {"test_slow", "test_quick"}),
        (("tests/test_both.py::test_slow",), {"test_slow"}),
    ],
)
def test_test_leaves_slow_tests_out_unless_they_are_asked_for(
    checkout: Path, arguments: tuple[str, ...], ran: set[str]
) -> None:
    (checkout / "tests" / "test_both.py").write_text(SLOW)
    (checkout / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["slow"]\n')
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "master.cli", "test", *arguments, "-n", "0", "-v"],
        capture_output=True,
        text=True,
        timeout=150,
        env={**os.environ, "FLEET_CHECKOUT": str(checkout)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name for name in ("test_slow", "test_quick") if f"::{name} PASSED" in done.stdout} == ran


def _steps(told: str) -> list[str]:
    return [" ".join(line.split()[:2]) for line in told.splitlines() if line.startswith(("✓", "✗"))]
