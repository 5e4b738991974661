"""Copies of nodes that nobody here wrote: they get what they need, or are refused with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from handshake.manifest import read_manifest
from master.configuration.node_options import decode_options
from master.configuration.settings import Settings
from master.operations import changing, onboarding
from master.operations.parameters import EditParams, RegisterParams
from master.services.core.errors import CopyRefused
from master.services.onboarding.saga import CloneRequest, RegisterRequest
from tests.services.conftest import OPERATOR, QUIET_BOT, House


def foreign(house: House, name: str = "old") -> Path:
    folder = house.base / name
    folder.mkdir(parents=True)
    (folder / "bot.py").write_text(QUIET_BOT)
    return folder


async def copy(house: House, source: str, name: str = "new") -> tuple[str, ...]:
    wanted = CloneRequest(name=name, token=house.token(name), source=source, start=False)
    return (await house.clone(OPERATOR, wanted)).notes


async def test_a_bot_that_finds_its_token_itself_is_not_copied(house: House) -> None:
    """Its copy would be without a token, or with the same one, and end in quarantine."""
    folder = foreign(house)
    (folder / ".env").write_text("DISCORD_TOKEN=its own\n")
    await house.register(OPERATOR, RegisterRequest(name="old", token=house.token("old"), folder="old", start=False))
    with pytest.raises(CopyRefused, match="finds its token itself") as refused:
        await copy(house, "old")
    assert "fleet register NAME --folder old-2" in refused.value.hint
    assert house.folders() == ["old"]


async def test_a_copy_of_a_linked_bot_has_its_environment_without_any_token(
    house: House, house_settings: Settings
) -> None:
    folder = foreign(house)
    token = house.token("old").reveal()
    (folder / ".env").write_text(
        f"# settings\nexport BOT_TOKEN = '{token}'\nBACKUP={token}\nAPI_KEY=abc\nDEBUG=1\nBOT_TOKEN=short\n"
    )
    params = RegisterParams(
        name="old",
        token=token,
        folder="old",
        link=True,
        token_env="BOT_TOKEN",
        environment={"LEVEL": "3", "SPARE": token},
        start=False,
    )
    await house.operations.run(onboarding.register, OPERATOR, params)
    await house.operations.run(
        changing.edit, OPERATOR, EditParams(name="old", priority=3, options={"CPU_WEIGHT": "50"})
    )
    notes = await copy(house, "old")
    assert notes == ("it has the .env of old, without the token",)
    copied = house.base / "new" / ".env"
    assert copied.read_text() == "# settings\nAPI_KEY=abc\nDEBUG=1\n"
    assert copied.stat().st_mode & 0o777 == 0o600
    assert read_manifest(house.base / "new").token_variable == "BOT_TOKEN"
    node = house.services.directory.find("new")
    options = decode_options(node.options)
    assert (node.priority, options["CPU_WEIGHT"]) == (3, 50)
    assert Path(options["ENV_FILE"]) == house_settings.home / "env" / "new.env"
    assert (house_settings.home / "env" / "new.env").read_text() == f"# of the node {node.id}\nLEVEL=3\n"


async def test_what_is_not_copied_is_said_with_what_to_do(house: House) -> None:
    await house.clone(OPERATOR, CloneRequest(name="atlas", token=house.token("atlas"), start=False))
    folder = house.base / "atlas"
    (folder / ".env").write_text("API_KEY=abc\n")
    (folder / ".venv").mkdir()
    (folder / "requirements.txt").write_text("aiosqlite\n")
    told = await copy(house, "atlas")
    assert told == (
        "the .env of atlas is not copied: put there what new needs",
        "the .venv of atlas is not copied, so new runs on the master's Python; for its own, in its folder: "
        "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt, then fleet restart new",
    )
    assert not (house.base / "new" / ".venv").exists()


async def test_a_copy_of_the_template_has_nothing_to_say(house: House) -> None:
    done = await house.clone(OPERATOR, CloneRequest(name="atlas", token=house.token("atlas"), start=False))
    assert done.notes == ()
