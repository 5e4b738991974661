"""Homes, state folders and paths that cannot be used: a message and an exit code, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from master.configuration.loading import ConfigError, load_settings
from master.services.core.errors import FolderRefused
from master.services.onboarding.names import folder_below
from tests.hostile.conversations import typed
from tests.hostile.effort import rounds

T = TypeVar("T")

COMMANDS = (
    *("status", "top", "start x", "stop --all --yes", "history x", "events", "reload", "shutdown --yes"),
    *("audit show", "audit verify", "ledger status", "ledger verify", "backup", "rotate-secret --yes"),
    *("ledger migrate", "doctor --offline", "check config", "logs x", "dup x", "revoke x --yes"),
)


def some(cases: Sequence[T], turn: int, of: int) -> Sequence[T]:
    """Return every ``of``-th case; all of them when more effort is asked for."""
    return cases if rounds(1) > 1 else cases[turn % of :: of]


def loop(path: Path) -> str:
    path.symlink_to(path.name)
    return str(path)


def below_a_file(path: Path) -> str:
    path.write_text("in the way")
    return str(path / "x")


def a_file(path: Path) -> str:
    path.write_text("in the way")
    return str(path)


UNUSABLE: dict[str, Callable[[Path], str]] = {
    "a loop": loop,
    "a file": a_file,
    "below a file": below_a_file,
    "too long": lambda path: str(path) + "x" * 300,
    "much too long": lambda path: str(path) + "/x" * 3000,
    "read-only": lambda path: f"/proc/{path.name}",
    "read-only and there": lambda path: "/sys/kernel",
    "controls": lambda path: f"/proc/{path.name}\x1b[2J\n",
    "no text": lambda path: os.fsdecode(b"/proc/\xff\xfe"),
}
IN_CONFIG: dict[str, Callable[[Path], str]] = {
    **UNUSABLE,
    "NUL": lambda path: "a\0b",
    "nobody's": lambda path: "~nobody-there/x",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("FLEET_HOME", str(home))
    told = typed(["init", "--yes"])
    assert told.code == 0, told
    return home


@pytest.mark.parametrize("how", UNUSABLE)
def test_a_home_that_cannot_be_used(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_HOME", UNUSABLE[how](tmp_path / "h"))
    for command in some((*COMMANDS, "init --yes", "run"), list(UNUSABLE).index(how), 7):
        told = typed(command.split(), stdin="token")
        told.check((how, command))
        assert told.code != 0, (how, command, told)
        assert "\x1b" not in told.err


@pytest.mark.parametrize("how", IN_CONFIG)
def test_a_state_folder_that_cannot_be_used(home: Path, tmp_path: Path, how: str) -> None:
    with (home / "config.py").open("a") as config:
        config.write(f"STATE_DIR = {IN_CONFIG[how](tmp_path / 'h')!r}\n")
    turn = list(IN_CONFIG).index(how)
    for command in some(COMMANDS, turn, 9):
        told = typed(command.split(), stdin="token")
        told.check((how, command))
        if command not in ("check config", "doctor --offline"):
            assert told.code != 0, (how, command, told)
    if rounds(1) == 1 and how != "read-only":
        return
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "master", "--home", str(home)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in range(1, 11), done
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", UNUSABLE)
def test_a_path_that_is_given_and_cannot_be_used(home: Path, tmp_path: Path, how: str) -> None:
    path = UNUSABLE[how](tmp_path / "h")
    cases = (
        ["backup", "--file", path],
        ["ledger", "export", path],
        ["restore", path, "--yes"],
        ["ledger", "import", path],
        ["dup", "x", "--token-file", path],
        ["register", "x", "--token-file", path],
        ["init", "--yes", "--home", str(tmp_path / "new"), "--token-file", path],
        ["demo", "--once", "--keep", path],
    )
    for command in some(cases, list(UNUSABLE).index(how), 4):
        if how in ("a file", "a loop") and command[0] in ("backup", "ledger") and "import" not in command:
            continue  # a link in its place is replaced
        told = typed(command)
        told.check((how, command))
        assert told.code != 0, (how, command, told)


@pytest.mark.parametrize("how", ["a folder", "no text", "a loop", "a pipe"])
def test_an_env_that_cannot_be_read(home: Path, how: str) -> None:
    env = home / ".env"
    env.unlink()
    if how == "a folder":
        env.mkdir()
    elif how == "a loop":
        loop(env)
    elif how == "a pipe":
        os.mkfifo(env, 0o600)
    else:
        env.write_bytes(b"MASTER_SECRET=\xff\xfe\n")
        env.chmod(0o600)
    with pytest.raises(ConfigError):
        load_settings(home, {})
    for command in ("check config", "audit show", "doctor --offline", "run"):
        told = typed(command.split())
        told.check((how, command))
        assert told.code != 0


@pytest.mark.parametrize("folder", ["a\0b", "round", "x" * 300, "..", "a/b"])
def test_a_folder_of_a_node_that_cannot_be_used(tmp_path: Path, folder: str) -> None:
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(FolderRefused):
        folder_below(tmp_path, folder)


@pytest.mark.parametrize("key", ["BOTS_BASE_PATH", "TEMPLATE_PATH"])
@pytest.mark.parametrize("how", ["NUL", "a loop", "too long"])
def test_a_folder_in_the_config_that_cannot_be_used_is_a_mistake(
    home: Path, tmp_path: Path, key: str, how: str
) -> None:
    with (home / "config.py").open("a") as config:
        config.write(f"IDENTITY[{key!r}] = {IN_CONFIG[how](tmp_path / 'h')!r}\n")
    with pytest.raises(ConfigError) as mistake:
        load_settings(home, {"MASTER_SECRET": "x"})
    assert any(problem.key == f"IDENTITY[{key!r}]" for problem in mistake.value.problems)
