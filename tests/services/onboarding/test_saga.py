"""Registering and duplicating: a whole node, or nothing."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from handshake.manifest import read_manifest
from handshake.redaction import Secret
from master.bot.embeds import registered_embed
from master.configuration.settings import Settings
from master.errors import FleetError
from master.ledger.identifiers import new_ulid
from master.ledger.rows import audit, duplications, nodes, tokens
from master.ledger.rows.records import DesiredState, Duplication, Lifecycle, Node, Outcome, ReadinessKind
from master.services.core.errors import (
    DiscordUnavailable,
    FilesFailed,
    FolderRefused,
    NameRefused,
    NameTaken,
    NotAuthorised,
    TagRefused,
    TemplateBroken,
    TierUnknown,
    TokenInUse,
    TokenRefused,
)
from master.services.onboarding.folders import HIDDEN_PREFIX
from master.services.onboarding.saga import CloneRequest, RegisterRequest
from master.wording import as_markdown
from sandbox import Sandbox
from tests.services.conftest import MASTER_ID, OPERATOR, STRANGER, House, open_house


def request(house: House, name: str = "atlas", **changes: object) -> CloneRequest:
    values: dict[str, object] = {"name": name, "token": house.token(name), "start": False, **changes}
    return CloneRequest(**values)  # type: ignore[arg-type]


async def assert_nothing_left(house: House, *, folders: tuple[str, ...] = ()) -> None:
    assert house.folders() == sorted(folders)
    assert len(house.services.directory) == 0
    ledger = house.services.ledger
    assert await ledger.read(nodes.list_active) == []
    assert await ledger.read(nodes.list_provisioning) == []


async def test_a_clone_is_whole(house: House) -> None:
    registered = await house.clone(OPERATOR, request(house, tags=("music",)))
    folder = house.base / "atlas"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "VERSION",
        "bot.py",
        "cogs/one.py",
        "node.json",
    ]
    manifest = read_manifest(folder)
    assert (manifest.node_id, manifest.licence, manifest.template_version) == (
        registered.node_id,
        registered.licence,
        "9.9",
    )
    node = house.services.directory.find("ATLAS")
    assert (node.lifecycle, node.tags, node.desired_state) == (Lifecycle.ACTIVE, ("music",), DesiredState.STOPPED)
    (row,) = await house.services.ledger.read(audit.search)
    assert (row.actor, row.action, row.node_id, row.outcome) == ("cli:root", "duplicate", node.id, Outcome.DONE)
    (run,) = await house.services.ledger.read(duplications.recent)
    assert (run.outcome, run.source) == ("done", "template 9.9")


async def test_a_request_between_the_ledgers_return_and_the_recovery_waits_for_it(house: House) -> None:
    onboarding = house.services.onboarding
    onboarding.hold()
    cloning = asyncio.create_task(house.clone(OPERATOR, request(house)))
    refused_or_waiting = asyncio.wait([cloning], timeout=0.1)
    assert cloning in (await refused_or_waiting)[1]
    await onboarding.recover()
    assert (await cloning).name == "atlas"


async def test_a_clone_is_started_when_that_is_asked(house: House) -> None:
    await house.clone(OPERATOR, request(house, start=True))
    status = (await house.services.overview.status()).nodes[0]
    assert status.state == "starting"
    assert status.pid is not None
    assert psutil.Process(status.pid).cwd() == str(house.base / "atlas")


async def test_the_token_is_on_no_disk_in_no_argument_and_in_no_environment(house: House) -> None:
    asked = request(house, start=True)
    await house.clone(OPERATOR, asked)
    secret = asked.token.reveal()
    pid = house.services.supervisor.pid_of(house.services.directory.find("atlas").id)
    assert pid is not None
    process = psutil.Process(pid)
    assert secret not in " ".join(process.cmdline())
    assert secret not in str(process.environ())
    await house.services.ledger.flush()
    for path in house.base.parent.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


async def test_a_node_can_be_cloned_from_a_node(house: House) -> None:
    await house.clone(OPERATOR, request(house))
    (house.base / "atlas" / "cogs" / "own.py").write_text("mine = 1\n")
    (house.base / "atlas" / ".env").write_text("DISCORD_TOKEN=its own\n")
    await house.clone(OPERATOR, request(house, "borealis", source="Atlas"))
    assert (house.base / "borealis" / "cogs" / "own.py").exists()
    assert not (house.base / "borealis" / ".env").exists()
    one, other = read_manifest(house.base / "atlas"), read_manifest(house.base / "borealis")
    assert one.node_id != other.node_id
    assert one.licence != other.licence


@pytest.mark.parametrize(
    "name", ["", "..", "../atlas", "a/b", "a\\b", "x" * 300, "rocket🚀", ".hidden", "-x", "a b", "all", "nüll", "a\n"]
)
async def test_a_bad_name_is_refused_and_told_how_to_be_good(house: House, name: str) -> None:
    with pytest.raises(NameRefused) as refused:
        await house.clone(OPERATOR, request(house, name))
    assert refused.value.hint
    assert len(refused.value.message) < 120
    await assert_nothing_left(house)


@pytest.mark.parametrize("token", ["", "Bot xyz", "x" * 5000, "token\n", "tok\x00en", "t\u00f6ken"])
async def test_a_token_that_cannot_be_sent_is_refused_before_discord_is_asked(house: House, token: str) -> None:
    with pytest.raises(TokenRefused):
        await house.clone(OPERATOR, request(house, token=Secret(token)))
    assert house.sandbox.requests == {}
    await assert_nothing_left(house)


@pytest.mark.parametrize("token", ["abc", "a.b.c", "MTIz.x.y", "x" * 408])
async def test_a_token_of_another_shape_is_refused_by_the_server_and_the_shape_is_the_hint(
    house: House, token: str
) -> None:
    with pytest.raises(TokenRefused, match="does not accept") as refused:
        await house.clone(OPERATOR, request(house, token=Secret(token)))
    assert "does not look like a token of Discord's" in refused.value.hint
    assert token not in refused.value.hint or len(token) < 12
    await assert_nothing_left(house)


async def test_a_token_of_another_server_of_408_characters_is_taken(house: House) -> None:
    bot = house.sandbox.create_bot("atlas")
    house.sandbox.world.set_token(bot.account, "x" * 200 + "." + "y" * 207)
    await house.clone(OPERATOR, request(house, token=Secret(bot.token)))
    assert house.services.directory.find("atlas").bot_user_id == bot.id
    with pytest.raises(TokenInUse, match="already the node"):
        await house.clone(OPERATOR, request(house, "second", token=Secret(bot.token)))


async def test_an_unknown_token_is_refused_by_discords_own_answer(house: House) -> None:
    token = house.sandbox.world.new_token(123456789012345678)
    with pytest.raises(TokenRefused, match="does not accept"):
        await house.clone(OPERATOR, request(house, token=Secret(token)))
    await assert_nothing_left(house)


async def test_a_token_in_use_is_refused_naming_its_node(house: House) -> None:
    asked = request(house)
    await house.clone(OPERATOR, asked)
    with pytest.raises(TokenInUse, match="'atlas'"):
        await house.clone(OPERATOR, request(house, "borealis", token=asked.token))
    assert house.folders() == ["atlas"]


async def test_the_masters_own_token_is_refused(house: House) -> None:
    token = house.sandbox.world.new_token(MASTER_ID)
    with pytest.raises(TokenInUse, match="master"):
        await house.clone(OPERATOR, request(house, token=Secret(token)))


async def test_an_existing_name_is_refused_without_regard_to_case(house: House) -> None:
    await house.clone(OPERATOR, request(house))
    with pytest.raises(NameTaken):
        await house.clone(OPERATOR, request(house, "ATLAS"))


async def test_a_folder_that_is_in_the_way_is_left_alone(house: House) -> None:
    (house.base / "Atlas").mkdir(parents=True)
    (house.base / "Atlas" / "precious.txt").write_text("mine")
    with pytest.raises(NameTaken, match="folder"):
        await house.clone(OPERATOR, request(house))
    assert (house.base / "Atlas" / "precious.txt").read_text() == "mine"
    await assert_nothing_left(house, folders=("Atlas",))


async def test_a_missing_template_is_named(house: House) -> None:
    house.template.rename(house.template.with_name("elsewhere"))
    with pytest.raises(TemplateBroken, match="does not exist"):
        await house.clone(OPERATOR, request(house))
    await assert_nothing_left(house)


async def test_a_broken_cog_is_named_with_its_line(house: House) -> None:
    (house.template / "cogs" / "two.py").write_text("ok = 1\ndef broken(:\n")
    with pytest.raises(TemplateBroken, match=r"cogs/two\.py, line 2"):
        await house.clone(OPERATOR, request(house))
    await assert_nothing_left(house)


async def test_a_symbolic_link_in_the_template_is_not_followed(house: House, tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("not yours")
    (house.template / "link.txt").symlink_to(tmp_path / "outside.txt")
    await house.clone(OPERATOR, request(house))
    assert not (house.base / "atlas" / "link.txt").exists()


async def test_files_that_cannot_be_written_leave_nothing(house: House) -> None:
    house.base.write_text("a file where the folder should be")
    with pytest.raises(FilesFailed):
        await house.clone(OPERATOR, request(house))
    house.base.unlink()
    await assert_nothing_left(house)


async def test_discords_trouble_leaves_nothing(house: House) -> None:
    house.sandbox.faults.answer_next(502, count=3, path_contains="/users/@me")
    with pytest.raises(DiscordUnavailable, match="502"):
        await house.clone(OPERATOR, request(house))
    await assert_nothing_left(house)


async def test_one_bad_answer_of_discords_is_borne(house: House) -> None:
    house.sandbox.faults.answer_next(500, path_contains="/users/@me")
    await house.clone(OPERATOR, request(house))
    assert house.folders() == ["atlas"]


async def test_an_unknown_tier_is_told_the_known_ones(house: House) -> None:
    with pytest.raises(TierUnknown) as refused:
        await house.clone(OPERATOR, request(house, tier="gold"))
    assert "standard, trial" in refused.value.hint
    await assert_nothing_left(house)


async def test_two_clones_of_one_name_make_one_node(house: House) -> None:
    outcomes = await asyncio.gather(*(house.clone(OPERATOR, request(house)) for _ in range(5)), return_exceptions=True)
    won = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(won) == 1
    assert all(isinstance(outcome, FleetError) for outcome in outcomes if outcome is not won[0])
    assert house.folders() == ["atlas"]
    assert read_manifest(house.base / "atlas").node_id == won[0].node_id


@pytest.mark.parametrize("step", ["reserving the node in the ledger", "cloning the folder", "committing"])
async def test_cancelling_at_any_step_leaves_nothing(house: House, step: str) -> None:
    reached = asyncio.Event()
    running = asyncio.create_task(
        house.clone(OPERATOR, request(house), lambda name: reached.set() if name == step else None)
    )
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await assert_nothing_left(house)


async def test_a_stranger_is_refused_and_that_is_audited(house: House) -> None:
    with pytest.raises(NotAuthorised):
        await house.clone(STRANGER, request(house))
    (row,) = await house.services.ledger.read(audit.search)
    assert (row.actor, row.outcome) == ("discord:42", Outcome.REFUSED)
    await assert_nothing_left(house)


@pytest.mark.parametrize("renamed", [False, True])
async def test_what_a_crash_left_half_made_is_cleaned_up(
    house_settings: Settings, sandbox: Sandbox, renamed: bool
) -> None:
    async with open_house(house_settings, sandbox) as house:
        now = house.services.clock.now()
        node = Node(
            id=new_ulid(house.services.clock),
            name="half",
            folder="half",
            bot_user_id=5,
            lifecycle=Lifecycle.PROVISIONING,
            created_at=now,
            updated_at=now,
        )
        run = Duplication(
            id="01", at=now, node_id=node.id, source="template", requested_by="cli:root", outcome="running"
        )
        ledger = house.services.ledger
        await ledger.write(lambda c: nodes.insert(c, node))
        await ledger.write(lambda c: duplications.insert(c, run))
        await ledger.write(lambda c: tokens.store(c, node.id, b"sealed", at=now))
        folder = house.base / ("half" if renamed else f"{HIDDEN_PREFIX}{node.id}")
        folder.mkdir(parents=True)
        (folder / "node.json").write_text(f'{{"node_id": "{node.id}", "name": "half", "licence": "x"}}')
    async with open_house(house_settings, sandbox) as house:
        assert await house.services.onboarding.recover() == ["half"]
        await assert_nothing_left(house)
        assert await house.services.ledger.read(lambda c: tokens.load(c, node.id)) is None
        (row,) = await house.services.ledger.read(duplications.recent)
        assert row.outcome == "cleaned_up"


def existing_folder(house: House, name: str = "oldbot", script: str = "import signal; signal.pause()") -> Path:
    folder = house.base / name
    folder.mkdir(parents=True)
    (folder / "main.py").write_text(script)
    (folder / "data.db").write_text("years of data")
    return folder


def registration(house: House, **changes: object) -> RegisterRequest:
    values: dict[str, object] = {
        "name": "old",
        "token": house.token("old"),
        "folder": "oldbot",
        "entry": "main.py",
        "start": False,
        **changes,
    }
    return RegisterRequest(**values)  # type: ignore[arg-type]


async def test_an_existing_folder_is_registered_as_it_is(house: House) -> None:
    folder = existing_folder(house)
    registered = await house.register(OPERATOR, registration(house))
    assert (folder / "data.db").read_text() == "years of data"
    assert not (folder / "node.json").exists()
    assert registered.licence == ""
    node = house.services.directory.find("old")
    assert (node.readiness, node.entry) == (ReadinessKind.PROCESS, "main.py")


async def test_an_existing_bot_runs_with_its_own_virtual_environment_and_gets_no_key(house: House) -> None:
    script = (
        "import json, os, signal, sys; print(json.dumps([sys.argv[0], list(os.environ)]), flush=True); signal.pause()"
    )
    folder = existing_folder(house, script=script)
    (folder / "venv" / "bin").mkdir(parents=True)
    own = folder / "venv" / "bin" / "python"
    own.symlink_to(sys.executable)
    await house.register(OPERATOR, registration(house, start=True))
    node = house.services.directory.find("old")
    pid = house.services.supervisor.pid_of(node.id)
    assert pid is not None
    (paths,) = house.services.overview.log_paths([node])
    out = Path(paths.stdout_path)
    while not out.exists() or not out.read_text():  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.01)
    # Only now: a process that is just executing its program has no command line for a moment.
    assert psutil.Process(pid).cmdline()[0] == str(own)
    assert "FLEET_BOOT_FD" not in out.read_text()


async def test_a_node_that_does_not_start_is_in_the_fleet_all_the_same_and_its_licence_is_shown(house: House) -> None:
    folder = existing_folder(house)
    own = folder / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text("not a program\n")
    registered = await house.register(OPERATOR, registration(house, start=True, readiness="handshake"))
    assert registered.licence == read_manifest(folder).licence
    assert registered.state == house.services.fleet.state_of(registered.node_id) != "starting"
    assert registered.trouble
    # One action is one row: the node was registered.
    (row,) = await house.services.ledger.read(audit.search)
    assert (row.action, row.outcome, row.node_id) == ("register", Outcome.DONE, registered.node_id)
    shown = registered_embed(house.services.settings, registered)
    assert [field.value for field in shown.fields if field.name == "It did not start"] == [
        as_markdown(registered.trouble)
    ]


async def test_a_folder_that_speaks_the_protocol_is_noticed(house: House) -> None:
    existing_folder(house, script="from handshake.boot import read_boot\n")
    await house.register(OPERATOR, registration(house))
    assert house.services.directory.find("old").readiness is ReadinessKind.HANDSHAKE


@pytest.mark.parametrize("folder", ["..", "../template", "/etc", "missing", ".", "oldbot/.."])
async def test_a_folder_that_is_not_below_the_base_is_refused(house: House, folder: str) -> None:
    existing_folder(house)
    with pytest.raises(FolderRefused):
        await house.register(OPERATOR, registration(house, folder=folder))


async def test_a_link_out_of_the_base_is_refused(house: House, tmp_path: Path) -> None:
    house.base.mkdir()
    (house.base / "oldbot").symlink_to(tmp_path / "template")
    with pytest.raises(FolderRefused):
        await house.register(OPERATOR, registration(house, entry="bot.py"))


async def test_a_missing_entry_is_told_the_candidates(house: House) -> None:
    existing_folder(house)
    with pytest.raises(FolderRefused) as refused:
        await house.register(OPERATOR, registration(house, entry="bot.py"))
    assert "main.py" in refused.value.hint


async def test_a_failed_registration_leaves_the_folder(house: House) -> None:
    folder = existing_folder(house)
    (folder / ".node.json.new").mkdir()  # the manifest cannot be written
    with pytest.raises(OSError, match="Is a directory"):
        await house.register(OPERATOR, registration(house, readiness="handshake"))
    assert (folder / "data.db").read_text() == "years of data"
    await assert_nothing_left(house, folders=("oldbot",))


async def test_folders_that_could_be_registered_are_offered(house: House) -> None:
    existing_folder(house)
    (house.base / "empty").mkdir()
    await house.clone(OPERATOR, request(house))
    assert house.services.onboarding.registrable_folders() == ["oldbot"]
    assert house.services.onboarding.registrable_folders("zzz") == []


@pytest.mark.parametrize("tags", [("x" * 33,), ("a,b",), ("",), ("a\n",), ("[red]",), tuple(map(str, range(11)))])
async def test_tags_that_the_ledger_cannot_hold_are_refused_before_anything_is_done(
    house: House, tags: tuple[str, ...]
) -> None:
    with pytest.raises(TagRefused):
        await house.clone(OPERATOR, request(house, tags=tags))
    await assert_nothing_left(house)


async def test_tags_come_back_as_they_were_given(house: House) -> None:
    tags = ("tag-" + "ä" * 28, "a:b", "v1.2", *map(str, range(7)))
    await house.clone(OPERATOR, request(house, tags=tags))
    (node,) = await house.services.ledger.read(nodes.list_active)
    assert node.tags == tags
