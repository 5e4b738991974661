"""The master's cogs: one that cannot be loaded costs itself alone, is tried again, and says so everywhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import master.cogs
from master.bot import cog_loader
from master.events import AlertRaised, Event
from master.operations import cogs as operations
from master.operations.parameters import CogParams, NoParams
from master.services.core.cog_views import CogState, CogView
from master.services.upkeep import cogs as keeping
from master.services.upkeep.cogs import CogBroken, CogRefused, NoSuchCog
from master.terminal.cogs import cog_lines
from tests.cogs.conftest import Scene
from tests.services.conftest import OPERATOR

WITHIN_S = 20.0

GOOD = """\
import asyncio
import discord
from discord import app_commands
from discord.ext import commands
from master.bot.operation_commands import carries_out
from master.cogs import _word
from master.cogs._word import word
from master.operations import nodes

class Music(commands.Cog):
    heard = []

    async def cog_load(self):
        self.task = asyncio.create_task(asyncio.Event().wait(), name="music plays")

    async def cog_unload(self):
        self.task.cancel()

    @commands.Cog.listener()
    async def on_song(self, song):
        self.heard.append((song, word()))
        if song == "wrong":
            raise ValueError("a wrong note")

    @carries_out(nodes.ping)
    @app_commands.command(description="Play")
    async def play(self, interaction: discord.Interaction) -> None:
        await interaction.response.send_message(embed=discord.Embed(title=f"plays {word()}"))

async def setup(bot):
    await bot.add_cog(Music())
"""

CLASH = GOOD.replace("def play(", "def runbots(")
WORD = "def word(): return 'loud'\n"

BROKEN = {
    "not_there": ("import no_such_module_at_all", "ModuleNotFoundError"),
    "wrong_text": ("def def", "SyntaxError"),
    "raises_in_setup": ("async def setup(bot): raise AttributeError('no such thing')", "AttributeError: no such thing"),
    "raises_in_load": (
        GOOD.replace('self.task = asyncio.create_task(asyncio.Event().wait(), name="music plays")', "1 / 0"),
        "ZeroDivisionError",
    ),
    "taken": (CLASH, "CommandAlreadyRegistered"),
    "leaves": ("import sys; sys.exit(3)", "SystemExit"),
    "leaves_in_setup": ("async def setup(bot): raise SystemExit", "SystemExit"),
    "hangs": ("import asyncio\nasync def setup(bot): await asyncio.Event().wait()", "did not end within"),
    "hangs_on": (
        "import asyncio, master.cogs\nasync def setup(bot):\n  while not master.cogs.released.is_set():\n"
        "    try: await asyncio.Event().wait()\n    except asyncio.CancelledError: pass\n",
        "did not end within",
    ),
    "hangs_in_import": (
        "import master.cogs\nmaster.cogs.released.wait()\nasync def setup(bot): pass",
        "its import did",
    ),
    "without_setup": ("x = 1", "setup"),
}


class Folder:
    """A folder with more cogs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.write("_word", WORD)

    def write(self, name: str, text: str) -> None:
        path = self._path / f"{name}.py"
        path.write_text(text)
        # Its cached code is told apart by second and size alone.
        for cached in self._path.glob(f"__pycache__/{name}.*"):
            cached.unlink()

    def remove(self, name: str) -> None:
        (self._path / f"{name}.py").unlink()


@pytest.fixture
async def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Folder]:
    """Yield a folder whose modules are cogs of the master, as a defect among its own would be one."""
    import threading

    monkeypatch.setattr(keeping, "RETRY_FIRST_S", 0.05)
    path = tmp_path / "more"
    path.mkdir()
    monkeypatch.setattr(master.cogs, "__path__", [*master.cogs.__path__, str(path)])
    released = threading.Event()
    monkeypatch.setattr(master.cogs, "released", released, raising=False)
    known = set(sys.modules)
    yield Folder(path)
    released.set()
    for name in set(sys.modules) - known:
        if name.startswith("master.cogs."):
            del sys.modules[name]


async def listed(scene: Scene) -> dict[str, CogView]:
    found = await scene.house.operations.run(operations.listing, OPERATOR, NoParams())
    return {cog.name: cog for cog in found}


async def act(scene: Scene, operation: Any, name: str) -> CogView:
    done: CogView = await scene.house.operations.run(operation, OPERATOR, CogParams(name))
    return done


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110 - a cog tells nobody
            await asyncio.sleep(0.01)


def at_discord(scene: Scene) -> dict[str, str]:
    found = scene.sandbox.commands.of_scope(scene.account.id, scene.guild.id)
    return {command["name"]: command["id"] for command in found}


def alerts_of(scene: Scene) -> list[AlertRaised]:
    told: list[AlertRaised] = []

    def note(event: Event) -> None:
        assert isinstance(event, AlertRaised)
        told.append(event)

    scene.house.services.bus.on(AlertRaised, note)
    return told


def music(scene: Scene) -> Any:
    assert scene.bot is not None
    return scene.bot.get_cog("Music")


def play(scene: Scene, song: str) -> None:
    assert scene.bot is not None
    scene.bot.dispatch("song", song)


async def test_cogs_that_are_broken_in_every_way_cost_themselves_alone(
    folder: Folder, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cog_loader, "SETUP_TIMEOUT_S", 0.3)
    monkeypatch.setattr(cog_loader, "IMPORT_TIMEOUT_S", 2.0)
    before, told = at_discord(scene), alerts_of(scene)
    for name, (text, _) in BROKEN.items():
        folder.write(name, text)
    bot = await scene.connect()
    await until(lambda: not any(cog.state is CogState.LOADING for cog in scene.house.services.cogs.listing()))
    found = await listed(scene)
    for name, (_, why) in BROKEN.items():
        assert (found[name].state, why in found[name].why) == (CogState.FAILED, True), found[name]
    assert {cog.state for name, cog in found.items() if name not in BROKEN} == {CogState.LOADED}
    # Whole or not at all.
    assert bot.get_cog("Music") is None
    assert not bot.extra_events.get("on_song")
    assert [task for task in asyncio.all_tasks() if task.get_name() == "music plays"] == []
    assert at_discord(scene) == before
    titles = [alert.title for alert in told]
    assert sorted(titles) == sorted(f"The cog {name} could not be loaded" for name in BROKEN)
    troubles = scene.house.services.overview.master_status().troubles
    assert any("the cog not_there is not loaded (`fleet cogs`): ModuleNotFoundError" in trouble for trouble in troubles)
    answer = await scene.runs("fleet cogs list")
    assert "not_there" in answer.embeds[0]["description"].replace("\\", "")


@pytest.mark.slow
async def test_one_that_was_mended_comes_back_by_itself_and_its_command_was_there_all_the_time(
    folder: Folder, scene: Scene
) -> None:
    told = alerts_of(scene)
    folder.write("music", GOOD)
    await scene.connect()
    command_id = at_discord(scene)["play"]
    folder.write("music", "import no_such_module_at_all")
    del sys.modules["master.cogs.music"]
    await scene.connect()
    found = await listed(scene)
    assert (found["music"].state, found["music"].commands) == (CogState.FAILED, ("play",))
    # Made anew it would have another id, and what a server's admins had set for it would be lost.
    assert at_discord(scene)["play"] == command_id
    answer = await scene.runs("play")
    assert "not there now" in answer.embeds[0]["title"]
    assert "no_such_module_at_all" not in str(answer.embeds)
    trying = asyncio.create_task(scene.house.services.cogs.run())
    await until(lambda: scene.house.services.cogs.listing()[0].tries >= 3)
    folder.write("music", GOOD)
    await until(lambda: music(scene) is not None)
    await until(lambda: bool(told) and told[-1].title == "The cog music is loaded again")
    trying.cancel()
    assert [alert.title for alert in told] == [
        "The cog music could not be loaded",
        "The cog music is loaded again",
    ]
    assert at_discord(scene)["play"] == command_id
    assert (await scene.runs("play")).embeds[0]["title"] == "plays loud"


async def test_a_reload_takes_the_new_code_with_its_helpers_and_nothing_is_there_twice(
    folder: Folder, scene: Scene
) -> None:
    folder.write("music", GOOD)
    bot = await scene.connect()
    old, command_id = music(scene), at_discord(scene)["play"]
    folder.write("_word", WORD.replace("loud", "softly"))
    done = await act(scene, operations.reload, "music")
    assert done.state is CogState.LOADED
    assert music(scene) is not old
    await until(lambda: old.task.done())
    play(scene, "one")
    await until(lambda: bool(music(scene).heard))
    assert (old.heard, music(scene).heard) == ([], [("one", "softly")])
    assert len(bot.extra_events["on_song"]) == 1
    assert at_discord(scene)["play"] == command_id
    assert (await scene.runs("play")).embeds[0]["title"] == "plays softly"


@pytest.mark.slow
@pytest.mark.parametrize("defect", ["raises_in_setup", "raises_in_load", "wrong_text", "taken", "leaves"])
async def test_a_reload_of_broken_code_leaves_the_old_one_running(folder: Folder, scene: Scene, defect: str) -> None:
    folder.write("music", GOOD)
    bot = await scene.connect()
    text, why = BROKEN[defect]
    folder.write("music", text)
    with pytest.raises(CogBroken, match=why) as caught:
        await act(scene, operations.reload, "music")
    assert "the old one runs on" in caught.value.hint
    assert (await listed(scene))["music"].state is CogState.LOADED
    play(scene, "on")
    await until(lambda: bool(music(scene).heard))
    assert len(bot.extra_events["on_song"]) == 1
    assert [task.get_name() for task in asyncio.all_tasks()].count("music plays") == 1
    assert (await scene.runs("play")).embeds[0]["title"] == "plays loud"
    # Nobody else's command was taken along.
    assert bot.tree.get_command("runbots") is not None


@pytest.mark.slow
async def test_a_disabled_one_stays_so_for_the_next_connection_and_the_next_master(
    folder: Folder, scene: Scene
) -> None:
    folder.write("music", GOOD)
    await scene.connect()
    done = await act(scene, operations.disable, "music")
    assert (done.state, "disabled by " in done.why) == (CogState.DISABLED, True)
    assert music(scene) is None
    assert "play" not in at_discord(scene)
    await scene.connect()
    assert music(scene) is None
    services = scene.house.services
    again = keeping.Cogs(["music"], services.settings.disabled_cogs_path, services.alerts, services.clock)
    assert again.listing()[0].state is CogState.DISABLED
    with pytest.raises(CogRefused, match="disabled"):
        await act(scene, operations.reload, "music")
    await act(scene, operations.enable, "music")
    assert music(scene) is not None
    assert "play" in at_discord(scene)


async def test_what_cannot_be_disabled_says_why(scene: Scene) -> None:
    for name in ("fleet", "listener"):
        with pytest.raises(CogRefused, match=f"{name} cannot be disabled: "):
            await act(scene, operations.disable, name)
    answer = await scene.runs("fleet cogs disable", {"cog": "fleet"})
    assert "cannot be disabled" in answer.embeds[0]["title"]
    with pytest.raises(NoSuchCog, match="no cog called"):
        await act(scene, operations.reload, "nobody")
    assert {cog.state for cog in (await listed(scene)).values()} == {CogState.LOADED}


async def test_a_state_folder_that_cannot_be_written_leaves_all_as_it_is(scene: Scene) -> None:
    path = scene.house.services.settings.disabled_cogs_path
    (path.parent / f".{path.name}.new").mkdir()
    with pytest.raises(CogRefused, match="nothing was done"):
        await act(scene, operations.disable, "giveaway")
    assert (await listed(scene))["giveaway"].state is CogState.LOADED
    path.write_text("no json")
    assert keeping.Cogs(["giveaway"], path, scene.house.services.alerts, scene.house.services.clock).listing()


async def test_errors_while_it_runs_are_counted_for_the_cog_that_raised_them(folder: Folder, scene: Scene) -> None:
    told = alerts_of(scene)
    folder.write("music", GOOD)
    await scene.connect()
    for _ in range(10):
        play(scene, "wrong")
    await until(lambda: scene.house.services.cogs.listing()[0].failures == 10)
    cog = scene.house.services.cogs.listing()[0]
    assert (cog.name, cog.state, cog.last_failure) == ("music", CogState.LOADED, "ValueError: a wrong note")
    assert [alert.title for alert in told] == ["The cog music fails again and again"]
    answer = await scene.runs("fleet cogs list")
    assert "10 errors, the last: ValueError" in answer.embeds[0]["description"]
    assert (await act(scene, operations.reload, "music")).failures == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bot_manager", "t_perm", "giveaway", "patch_tracker", "error_monitor", "fleet"])
async def test_each_of_the_fleets_own_can_be_loaded_anew(scene: Scene, name: str) -> None:
    assert scene.bot is not None
    commands, presses = at_discord(scene), set(scene.bot.press_handlers)
    listeners = {event: len(found) for event, found in scene.bot.extra_events.items() if found}
    tasks = sorted(task.get_name() for task in asyncio.all_tasks() if not task.get_name().startswith("Task-"))
    done = await act(scene, operations.reload, name)
    assert done.state is CogState.LOADED
    assert (at_discord(scene), set(scene.bot.press_handlers)) == (commands, presses)
    assert {event: len(found) for event, found in scene.bot.extra_events.items() if found} == listeners
    await until(
        lambda: tasks == sorted(t.get_name() for t in asyncio.all_tasks() if not t.get_name().startswith("Task-"))
    )


async def test_a_message_of_runbots_goes_on_after_its_cog_was_loaded_anew(scene: Scene) -> None:
    await scene.register("atlas")
    message = (await scene.runs("runbots")).message
    assert message is not None
    await act(scene, operations.reload, "bot_manager")
    pressed = await scene.presses(message, "Refresh")
    assert "Nothing was done" not in str(pressed.embeds)


def test_the_table_says_what_is_wrong_in_80_columns_and_in_a_pipe() -> None:
    why = "ModuleNotFoundError: No module named 'no_such_module_at_all'"
    cogs = [
        CogView(name="juke", state=CogState.FAILED, why=why, tries=2, next_try_in_s=20.0),
        CogView(name="commands", state=CogState.LOADED, commands=("forcekill", "patch", "registerbot"), failures=3),
    ]
    narrow = [line.plain for line in cog_lines(cogs, width=80)]
    assert max(len(line) for line in narrow) <= 80
    assert (
        " ".join(" ".join(narrow).split()).count("No module named 'no_such_module_at_all'; tried 2 times, again") == 1
    )
    piped = [line.plain for line in cog_lines(cogs, width=None)]
    assert len(piped) == 3
    assert piped[1].split()[:4] == ["juke", "✗", "failed", "-"]


async def test_a_button_whose_cog_is_not_there_says_so(scene: Scene) -> None:
    await scene.register("atlas")
    message = (await scene.runs("runbots")).message
    assert message is not None
    await act(scene, operations.disable, "bot_manager")
    pressed = await scene.ada.presses(message, "Refresh")
    assert "Nobody here answers this button now" in pressed.embeds[0]["title"]
    assert "not there: bot_manager" in pressed.embeds[0]["description"].replace("\\", "")
    await act(scene, operations.enable, "bot_manager")
    assert "Nothing was done" not in str((await scene.presses(message, "Refresh")).embeds)


async def test_a_press_that_comes_while_its_cog_is_loaded_anew_waits_for_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scene.bot is not None
    await scene.register("atlas")
    message = (await scene.runs("runbots")).message
    assert message is not None
    unloaded, go_on, set_up = asyncio.Event(), asyncio.Event(), scene.bot.loader._set_up

    async def slowly(name: str, module: ModuleType) -> None:
        unloaded.set()
        await go_on.wait()
        await set_up(name, module)

    monkeypatch.setattr(scene.bot.loader, "_set_up", slowly)
    reloading = asyncio.create_task(act(scene, operations.reload, "bot_manager"))
    await unloaded.wait()
    pressing = asyncio.create_task(scene.presses(message, "Refresh"))
    await until(lambda: any("on_interaction" in task.get_name() for task in asyncio.all_tasks()))
    go_on.set()
    assert "Nothing was done" not in str((await pressing).embeds)
    await reloading
