"""Registering what is no Discord bot, or no Python, or stands elsewhere: found before it is taken in, and private."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from handshake.redaction import Secret
from master.configuration.node_options import OptionsRefused, decode_options
from master.errors import FleetError
from master.ledger.rows import nodes, tokens
from master.ledger.rows.records import Lifecycle, ReadinessKind
from master.ledger.schema.tables import nodes as table
from master.operations import onboarding
from master.operations.nodes import start
from master.operations.parameters import RegisterParams
from master.services.core.errors import FolderRefused, LinkRefused
from master.services.fleet.environment_files import EnvironmentRefused, read_environment
from master.services.onboarding.saga import RegisterRequest
from master.supervision.errors import FileMissing
from tests.services.conftest import OPERATOR, House

SLEEPS = "#!/bin/sh\nsleep 600\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "somewhere" / "site"
    folder.mkdir(parents=True)
    (folder / "run.sh").write_text(SLEEPS)
    return folder


def asked(folder: Path | str, **changes: Any) -> RegisterRequest:
    values: dict[str, Any] = {
        "name": "web",
        "token": None,
        "folder": str(folder),
        "options": {"COMMAND": "sleep 600"},
        "start": False,
    }
    return RegisterRequest(**{**values, **changes})


async def test_a_program_without_a_token_needs_a_folder_and_a_command(house: House, site: Path) -> None:
    before = sorted(site.iterdir())
    registered = await house.register(OPERATOR, asked(site))
    assert (registered.bot_user_id, registered.licence, registered.invite_url) == ("0", "", "")
    node = house.services.directory.find("web")
    assert (node.folder, node.entry, node.readiness) == (str(site), "", ReadinessKind.PROCESS)
    assert decode_options(node.options) == {"COMMAND": "sleep 600"}
    assert await house.services.ledger.read(lambda c: tokens.load(c, node.id)) is None
    assert sorted(site.iterdir()) == before


async def test_several_programs_share_a_folder(house: House, site: Path) -> None:
    await house.register(OPERATOR, asked(site))
    await house.register(OPERATOR, asked(site, name="worker", options={}, entry="run.sh"))
    assert {node.folder for node in house.services.directory} == {str(site)}
    # A manifest has room for one.
    await house.register(OPERATOR, asked(site, name="bot", token=house.token(), readiness="handshake"))
    with pytest.raises(FolderRefused, match="belongs to the node 'bot'"):
        await house.register(OPERATOR, asked(site, name="bot2", token=house.token("2"), readiness="handshake"))


async def test_variables_get_a_file_that_nobody_else_reads(house: House, site: Path) -> None:
    given = {"API_KEY": "s3cret", "GREETING": 'it\'s "quoted" # really\nand goes on\\', "EMPTY": "", "NO": "${HOME}"}
    request = asked(site, environment=given)
    assert "s3cret" not in repr(request)
    await house.register(OPERATOR, request)
    node = house.services.directory.find("web")
    path = Path(decode_options(node.options)["ENV_FILE"])
    assert path == house.services.settings.home / "env" / "web.env"
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent)] == [0o600, 0o700]
    assert "s3cret" not in node.options
    assert read_environment(path, site).values == given


async def test_recovery_removes_the_file_that_was_written_and_not_one_that_was_there(house: House, site: Path) -> None:
    folder = house.services.settings.home / "env"
    await house.register(OPERATOR, asked(site, environment={"A": "b"}))
    (folder / "own.env").write_text("A=b\n")
    options = {"COMMAND": "sleep 600", "ENV_FILE": str(folder / "own.env")}
    await house.register(OPERATOR, asked(site, name="other", options=options))

    def as_before_the_commit(connection: Connection) -> None:
        connection.execute(table.update().values(lifecycle=Lifecycle.PROVISIONING.value))

    await house.services.ledger.write(as_before_the_commit)
    assert sorted(await house.services.onboarding.recover()) == ["other", "web"]
    assert [path.name for path in folder.iterdir()] == ["own.env"]


async def test_a_failed_registration_leaves_no_file_of_variables(house: House, site: Path) -> None:
    (house.services.settings.home / "env").write_text("a file in its place")
    with pytest.raises(FleetError):
        await house.register(OPERATOR, asked(site, environment={"A": "b"}))
    assert len(house.services.directory) == 0
    assert await house.services.ledger.read(nodes.list_provisioning) == []


REFUSED: list[tuple[dict[str, Any], type[FleetError], str]] = [
    ({"options": {"COMMAND": "no-such-program --port 1"}}, FileMissing, "no program 'no-such-program'"),
    ({"options": {"COMMAND": "./missing"}}, FileMissing, "there is no program"),
    ({"options": {"COMMAND": "./run.sh"}}, FileMissing, "cannot be executed"),
    ({"options": {"COMMAND": "echo 'a"}}, OptionsRefused, "COMMAND"),
    ({"options": {"COMAND": "sleep 1"}}, OptionsRefused, "COMAND"),
    ({"options": {"COMMAND": "sleep 1", "ENV": {"A": "b"}}}, OptionsRefused, "ENV"),
    ({"options": {"COMMAND": "sleep 1", "ENV_FILE": "gone.env"}}, FileMissing, "ENV_FILE"),
    ({"options": {"COMMAND": "sleep 1", "CRON_RESTART": "often"}}, OptionsRefused, "CRON_RESTART"),
    ({"options": {}, "entry": "index.js"}, FolderRefused, "no file 'index.js'"),
    ({"options": {}, "entry": "../site/run.sh"}, FolderRefused, "no file"),
    ({"environment": {"FLEET_NODE_ID": "x"}}, EnvironmentRefused, "fleet's own"),
    ({"environment": {"A B": "x"}}, EnvironmentRefused, "no name"),
    ({"link": True}, LinkRefused, "no token"),
    ({"readiness": "handshake"}, LinkRefused, "no handshake"),
]


async def test_what_cannot_be_run_is_refused_before_anything_is_done(house: House, site: Path) -> None:
    for changes, kind, words in REFUSED:
        with pytest.raises(kind) as refused:
            await house.register(OPERATOR, asked(site, **changes))
        assert words in refused.value.message
        assert refused.value.hint
    assert len(house.services.directory) == 0


async def test_typescript_is_told_what_to_do(house: House, site: Path) -> None:
    (site / "bot.ts").write_text("let x: number = 1")
    with pytest.raises(FileMissing) as refused:
        await house.register(OPERATOR, asked(site, options={}, entry="bot.ts"))
    assert "npx tsc" in refused.value.hint
    if shutil.which("node"):
        await house.register(OPERATOR, asked(site, options={"INTERPRETER": "node --no-warnings"}, entry="bot.ts"))


async def test_a_folder_that_holds_the_fleet_or_is_none_is_refused(house: House) -> None:
    settings = house.services.settings
    for folder in ("/", settings.home, settings.home.parent, settings.state_dir, "/no/such", "~nobody-at-all/x"):
        with pytest.raises(FolderRefused):
            await house.register(OPERATOR, asked(folder))


async def test_a_token_that_nobody_wants_is_refused(house: House, site: Path) -> None:
    wanted = RegisterParams(name="web", token="abc", no_token=True, folder=str(site))
    with pytest.raises(FleetError, match="none is wanted"):
        await house.operations.run(onboarding.register, OPERATOR, wanted)


async def test_a_program_without_a_folder_is_refused(house: House) -> None:
    with pytest.raises(FolderRefused):
        await house.operations.run(onboarding.register, OPERATOR, RegisterParams(name="web", no_token=True))


async def test_a_file_of_variables_that_others_can_read_is_told(house: House, site: Path) -> None:
    path = site / "own.env"
    path.write_text("A=1\n")
    path.chmod(0o644)
    registered = await house.register(OPERATOR, asked(site, options={"COMMAND": "sleep 1", "ENV_FILE": str(path)}))
    assert registered.notes == (f"others on this box can read {path}: chmod 600 it",)


async def test_what_is_missing_at_a_start_is_a_note_and_costs_no_login(house: House, site: Path) -> None:
    path = site / "own.env"
    path.write_text("A=1\n")
    path.chmod(0o600)
    options = {"COMMAND": "sleep 600", "ENV_FILE": str(path)}
    await house.register(OPERATOR, asked(site, token=Secret(house.bot("other").token), options=options))
    node = house.services.directory.find("web")
    path.unlink()
    result = await house.act(OPERATOR, start, "web")
    assert (result.ok, result.state, result.code) == (False, "missing", "file_missing")
    assert house.services.supervisor.view(node.id).detail == f"ENV_FILE {path} does not exist"
    assert not (house.services.settings.identifies_dir / str(node.bot_user_id)).exists()
    path.write_text("A=1\n")
    assert (await house.act(OPERATOR, start, "web")).ok


async def test_a_token_may_come_with_a_command(house: House, site: Path) -> None:
    await house.register(OPERATOR, asked(site, token=Secret(house.bot("other").token)))
    node = house.services.directory.find("web")
    assert (node.bot_user_id != 0, node.readiness) == (True, ReadinessKind.PROCESS)
