"""A rotation of MASTER_SECRET that could not be finished is not begun: nothing has changed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from master.configuration.loading import ConfigError, load_settings
from master.configuration.settings import Settings
from master.errors import FleetError
from master.ledger.rows import audit, tokens
from master.ledger.rows.records import Outcome
from master.operations import ledger as operations
from master.operations.parameters import NoParams
from master.security.derivation import new_master_secret
from master.security.errors import SecretRefused
from master.services.onboarding.saga import CloneRequest
from master.services.upkeep import reloading
from sandbox import Sandbox
from tests.services.conftest import OPERATOR, House, open_house, settings_in
from tests.services.upkeep.test_reloading import CONFIG


@pytest.fixture
def settings(tmp_path: Path, sandbox: Sandbox, empty_ledger: Path) -> Settings:
    settings_in(tmp_path, sandbox, empty_ledger)
    (tmp_path / "config.py").write_text(CONFIG.format(api_base=sandbox.api_base, gateway_url=sandbox.gateway_url))
    (tmp_path / ".env").touch(mode=0o600)
    (tmp_path / ".env").write_text(f"MASTER_SECRET={new_master_secret()}\nHIDDEN_FROM_OTHERS=4711\n")
    return load_settings(tmp_path, {})


def append(text: str) -> Callable[[Path], None]:
    def change(home: Path) -> None:
        with (home / "config.py").open("a") as config:
            config.write(f"{text}\n")

    return change


def block_the_new_file(home: Path) -> None:
    (home / "..env.new").mkdir()


BROKEN: dict[str, tuple[Callable[[Path], None], type[FleetError], str]] = {
    "syntax": (append("this is no Python"), ConfigError, "fix the Python syntax"),
    "mistake": (append("SUPERVISION['GRACE'] = 1"), ConfigError, "is not known"),
    "raises": (append("raise SystemExit(3)"), ConfigError, "has to run without an error"),
    "hangs": (append("open('never').read()"), ConfigError, "did not end within"),
    "gone": (lambda home: (home / "config.py").unlink(), ConfigError, "there is none"),
    "another ledger": (append("DATABASE = {'URL': 'sqlite:///other.db'}"), ConfigError, "needs a restart"),
    "open .env": (lambda home: (home / ".env").chmod(0o644), ConfigError, "others on this machine can read it"),
    "no .env": (lambda home: (home / ".env").unlink(), FleetError, "MASTER_SECRET"),
    "unwritable .env": (block_the_new_file, SecretRefused, "cannot be changed"),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_nothing_is_rotated_that_could_not_be_finished(
    settings: Settings, sandbox: Sandbox, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it, kind, words = BROKEN[how]
    monkeypatch.chdir(settings.home)
    monkeypatch.setattr(reloading, "READ_TIMEOUT_S", 5.0 if how != "hangs" else 0.1)
    os.mkfifo(settings.home / "never")
    async with open_house(settings, sandbox) as house:
        await house.clone(OPERATOR, CloneRequest(name="atlas", token=house.token("atlas"), start=False))
        sealed = await house.services.ledger.read(tokens.load_all)
        break_it(settings.home)
        secrets = env_of(settings.home)
        with pytest.raises(kind) as refused:
            await house.operations.run(operations.rotate_secret, OPERATOR, NoParams())
        assert words in f"{refused.value.message} {refused.value.hint}"
        await unchanged(house, sealed, secrets)
        # What a hung config.py was given stays its own.
        assert "HIDDEN_FROM_OTHERS" not in os.environ
        assert "HIDDEN_FROM_OTHERS" not in os.environ.copy()
        shown = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", "import os; print(dict(os.environ))"],
            capture_output=True,
            check=True,
        )
        assert b"4711" not in shown.stdout
        (settings.home / "never").write_text("") if how == "hangs" else None
    for thread in threading.enumerate():
        if thread.name == "config.py":
            await asyncio.to_thread(thread.join, 10)
    assert type(os.environ) is os._Environ


def env_of(home: Path) -> str:
    return (home / ".env").read_text() if (home / ".env").exists() else ""


async def unchanged(house: House, sealed: dict[str, bytes], secrets: str) -> None:
    services = house.services
    assert env_of(services.settings.home) == secrets
    assert await services.ledger.read(tokens.load_all) == sealed
    assert not services.lifecycle.again
    latest = (await services.ledger.read(lambda c: audit.search(c)))[0]
    assert (latest.action, latest.outcome) == ("rotate_secret", Outcome.FAILED)


def test_a_full_disk_leaves_the_file_and_no_part_of_the_new_one(tmp_path: Path) -> None:
    """In a process of its own: a limit on the size of files is its full disk."""
    (tmp_path / ".env").write_text("MASTER_SECRET=one\n")
    program = (
        "import resource, signal, sys; from pathlib import Path; from master.durable import replace_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))\n"
        "try: replace_file(Path(sys.argv[1]), b'MASTER_SECRET=two' * 10)\n"
        "except OSError as error: print(error.errno)\n"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program, str(tmp_path / ".env")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "27"
    assert [path.name for path in tmp_path.iterdir()] == [".env"]
    assert (tmp_path / ".env").read_text() == "MASTER_SECRET=one\n"
