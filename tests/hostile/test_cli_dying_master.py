"""Each command of the command line against a master that dies at any byte of a real conversation.

Whatever the moment, there is no traceback, and the exit code is 0 only if the result was whole.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from master.cli import secrets as rotating
from master.cli.app import build_app
from master.configuration.loading import load_settings
from master.control.server import ControlServer
from master.security.derivation import new_master_secret
from master.services.patches.ssh_public_keys import public_half
from sandbox import Sandbox
from tests.hostile.conversations import Conversation, Death, dying_master, recorder, typed
from tests.hostile.effort import rounds
from tests.services.conftest import House, open_house, settings_in

pytestmark = pytest.mark.timeout(3600 if os.environ.get("FLEET_FUZZ") else 120)

CUTS = 12
"""Random cuts for each command in the suite, beside those around the ends of lines; every byte when asked for more."""


@dataclass(frozen=True)
class Typed:
    """One command as it is typed."""

    line: str
    stdin: str = ""
    shows: bool = True
    """Whether the master's whole answer means exit code 0."""

    @property
    def arguments(self) -> list[str]:
        return self.line.split()


NODES = ("atlas", "borealis")
COMMANDS = (
    Typed("dup atlas", stdin="atlas"),
    Typed("register borealis --json", stdin="borealis"),
    Typed("status --strays"),
    Typed("status --json"),
    Typed("top"),
    Typed("history atlas"),
    Typed("describe atlas"),
    Typed("why atlas --since 2h"),
    Typed("lineage atlas"),
    Typed("lineage atlas --restore 1 --yes", shows=False),  # nothing of it is kept
    Typed("logs atlas"),
    Typed("flush atlas --yes"),
    Typed("repairs --node atlas"),
    Typed("repairs do 01", shows=False),  # nothing asks here
    Typed("repairs decline 01 --json", shows=False),
    Typed("tickets list --node atlas --json"),
    *(Typed(f"tickets {verb} 7", shows=False) for verb in ("show", "close", "reopen", "delete --yes")),
    *(Typed(f"tickets {verb} 01AB", shows=False) for verb in ("grant", "refuse", "revoke")),
    Typed("tickets permissions"),
    Typed("tickets check --json"),
    Typed("announce hello --to news", shows=False),  # there are no places here
    Typed("announce hello --all --preview --json", shows=False),
    Typed("announcements --json"),
    Typed("announcements list --scheduled"),
    Typed("announcements places"),
    *(Typed(f"announcements {verb} 01AB", shows=False) for verb in ("show", "cancel", "resend")),
    Typed("cogs"),
    *(Typed(f"cogs {verb} music", shows=False) for verb in ("reload --json", "disable", "enable")),  # there is none
    *(Typed(f"channels {verb}", shows=False) for verb in ("list", "diff", "repair --yes", "capture --yes --json")),
    Typed("channels undo 01 --yes", shows=False),  # there is no Discord here, and nothing was repaired
    Typed("channels history --json"),
    Typed("start atlas"),
    Typed("restart atlas --json"),
    Typed("restart --all"),
    Typed("kill borealis --yes"),
    Typed("release --all"),
    Typed("clear atlas"),
    Typed("revoke atlas --yes"),
    Typed("reinstate atlas --json"),
    Typed("stop --all --yes"),
    Typed("set-token atlas", stdin="atlas"),
    Typed("edit atlas"),
    Typed("edit atlas --set CPU_WEIGHT=50 --tag music"),
    Typed("rename atlas Atlas --json"),
    Typed("remove nobody --yes", shows=False),
    Typed("restart --all --rolling"),
    Typed("reload"),
    Typed("events", shows=False),
    Typed("errors list --state new --json"),
    *(Typed(f"errors {verb} 0123", shows=False) for verb in ("show", "mute --for 1h", "unmute", "resolve")),
    Typed("audit show"),
    Typed("audit verify"),
    Typed("audit acknowledge --yes", shows=False),  # there is no alarm here
    Typed("ledger status --exact"),
    Typed("ledger verify --json"),
    Typed("ledger export {folder}/exported.zip"),
    Typed("backup --file {folder}/backup.zip"),
    Typed("doctor --offline --json", shows=False),  # it finds no config here
    Typed("import {folder}/ecosystem.json --no-start --yes"),
    Typed("solutions save {folder}/away.toml --why tests"),
    Typed("solutions list"),
    Typed("solutions show away --json"),
    Typed("solutions test {folder}/away.toml"),
    Typed("solutions test away --json"),
    Typed("solutions enable away --now"),
    Typed("solutions disable away"),
    Typed("solutions edit away"),
    Typed("solutions history away"),
    Typed("solutions draft ffff", shows=False),  # there is no error here
    Typed("solutions take-back away 1 --yes"),
    Typed("solutions remove away --yes"),
    Typed("patch keys add {folder}/ada.pub"),
    Typed("patch keys list --json"),
    Typed("patch keys revoke ada --yes"),
    Typed("patch status"),
    Typed("patch history --json"),
    Typed("patch status nobody", shows=False),  # no author's key is known here, so there is no patch
    Typed("patch deploy {folder}/away.toml --canary 0", shows=False),
    *(
        Typed(f"patch {verb} nobody", shows=False)
        for verb in ("approve", "pause --why tests", "resume --json", "retry")
    ),
    *(Typed(f"patch {verb} nobody --yes", shows=False) for verb in ("abort", "rollback")),
    Typed("licence issue --note tests"),
    Typed("licence list --json"),
    Typed("licence import {folder}/licences.csv"),
    Typed("licence export --file {folder}/exported.csv"),
    Typed("licence transfer ffff 7 --json", shows=False),
    Typed("licence redeem --user 7", stdin="atlas", shows=False),  # a token is no code
    *(
        Typed(f"licence {verb} ffff", shows=False)  # no licence has this id
        for verb in ("show", "renew --days 3", "suspend --json", "reinstate", "revoke --yes")
    ),
    Typed("giveaway list --json"),
    *(Typed(f"giveaway {verb} 01", shows=False) for verb in ("show", "export")),  # there is none
    Typed("mailbox list --json"),
    Typed("mailbox mails --failed"),
    *(Typed(f"mailbox {verb} nobody", shows=False) for verb in ("test", "pause", "resume --json", "again", "mails")),
    Typed("mailbox password nobody", stdin="atlas", shows=False),
    Typed("rotate-secret --yes"),
    Typed("shutdown --yes"),
)
WITHOUT_A_MASTER = {
    *("demo", "init", "run", "up", "home", "install-command", "install-service", "check", "test", "lock", "sandbox"),
    *("down", "uninstall"),  # a master that is gone is what it wants (tests/cli/test_background.py)
    *("restore", "ledger import", "ledger migrate"),  # these need that none runs
    "channels init",  # writes a file that a master will read
    "giveaway verify",  # a file's, without a fleet
    # Of an author, who has no master.
    *(f"patch {verb}" for verb in ("build", "diff", "new", "show", "sign", "try", "verify")),
}


def every_command(group: Any, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def test_no_command_is_left_out() -> None:
    every = set(every_command(typer.main.get_command(build_app())))
    covered = {command for command in every if any(f"{t.line} ".startswith(f"{command} ") for t in COMMANDS)}
    assert every - covered == WITHOUT_A_MASTER


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `rotate-secret` give up soon: no master comes back here."""
    monkeypatch.setattr(rotating, "HANDOVER_TIMEOUT_S", 0.05)
    monkeypatch.setattr(rotating, "COME_BACK_TIMEOUT_S", 0.02)
    monkeypatch.setattr(rotating, "LOOK_EVERY_S", 0.01)


SOLUTION = """\
id = "away"
title = "The database is away"
applies_to = ["stderr"]
patterns = ["^database away$"]
action = { name = "restart" }
samples = { match = ["database away"] }
"""

CONFIG = """\
import os
IDENTITY = {{"TEMPLATE_PATH": "template", "MASTER_SECRET": os.environ["MASTER_SECRET"]}}
DISCORD = {{"API_BASE": "{api_base}", "GATEWAY_URL": "{gateway_url}"}}
LICENCES = {{"standard": 0}}
SUPERVISION = {{"GRACE_S": 1.0}}
"""


async def record(folder: Path, sandbox: Sandbox, empty_ledger: Path) -> dict[Typed, Conversation]:
    """Have a real master answer each command, and write down what it said."""
    home = folder / "master"
    settings_in(home, sandbox, empty_ledger)
    (home / "config.py").write_text(CONFIG.format(api_base=sandbox.api_base, gateway_url=sandbox.gateway_url))
    (folder / "site").mkdir()
    (folder / "ecosystem.json").write_text('[{"name": "site", "cwd": "site", "script": "sleep 600"}]')
    (folder / "away.toml").write_text(SOLUTION)
    (folder / "licences.csv").write_text("tier,holder_id\nstandard,7\n")
    (folder / "ada.pub").write_text(f"{public_half(Ed25519PrivateKey.generate()).line} ada\n")
    (home / ".env").touch(mode=0o600)
    (home / ".env").write_text(f"MASTER_SECRET={new_master_secret()}\n")
    recorded: dict[Typed, Conversation] = {}
    async with open_house(load_settings(home, {}), sandbox) as house:
        server = ControlServer(home / "state" / "control.sock", house.operations)
        await server.start()
        tokens = {name: house.token(name).reveal() for name in NODES}
        for command in COMMANDS:
            recorded[command] = await _record_one(command, folder, home, house, tokens.get(command.stdin, ""))
        await server.close()
    return recorded


async def _record_one(command: Typed, folder: Path, home: Path, house: House, stdin: str) -> Conversation:
    proxy = folder / "state" / "control.sock"
    endless = command.line == "events"
    async with recorder(proxy, home / "state" / "control.sock", at_most_lines=3 if endless else None) as heard:
        arguments = [part.format(folder=folder) for part in command.arguments]
        running = asyncio.create_task(asyncio.to_thread(typed, arguments, stdin))
        while endless and not running.done():
            # Its lines come from what others do meanwhile.
            await asyncio.gather(asyncio.to_thread(_ask_for_a_row, home), asyncio.sleep(0.01))
        told = await running
    told.check(command)
    assert (told.code == 0) == command.shows, (command, told)
    return heard


def _ask_for_a_row(home: Path) -> None:
    from master.control.client import ControlClient
    from master.operations import nodes
    from master.operations.parameters import NamesParams

    ControlClient(home / "state" / "control.sock").run(nodes.release, NamesParams(all=True))


@dataclass(frozen=True)
class Recorded:
    """The conversations, and the home in which they are repeated: without a config, so that nothing is done alone."""

    folder: Path
    conversations: dict[Typed, Conversation]

    @property
    def socket(self) -> Path:
        return self.folder / "state" / "control.sock"

    def arguments_of(self, command: Typed) -> list[str]:
        return [part.format(folder=self.folder) for part in command.arguments]


_ONCE: list[Recorded] = []


@pytest.fixture
async def recorded(
    tmp_path_factory: pytest.TempPathFactory,
    sandbox: Sandbox,
    empty_ledger: Path,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Recorded:
    """Return the conversations, recorded once: that takes some seconds."""
    if not _ONCE:
        folder = tmp_path_factory.mktemp("conversations")
        # What edits a text, for `solutions edit`.
        monkeypatch.setenv("EDITOR", "sed -i s/The/That/")
        (folder / "state").mkdir()
        monkeypatch.setenv("FLEET_HOME", str(folder))
        _ONCE.append(Recorded(folder, await record(folder, sandbox, empty_ledger)))
    monkeypatch.setenv("EDITOR", "sed -i s/The/That/")
    # There it keeps what could not be saved.
    monkeypatch.setattr(tempfile, "tempdir", str(_ONCE[0].folder))
    monkeypatch.setenv("FLEET_HOME", str(_ONCE[0].folder))
    return _ONCE[0]


def cuts_of(conversation: Conversation, chance: random.Random) -> list[int]:
    """Return how many bytes are said before the end: around each end of a line, and some between."""
    # `rotate-secret` asks on whether the master came back, as often as there is time: what it did is said by then.
    said = b"".join(conversation.answers[:2])
    total, at, ends = len(said), 0, {0, 1}
    for line in said.splitlines(keepends=True)[:20]:
        at += len(line)
        ends |= {at - 2, at - 1, at, at + 1}
    wanted = min(rounds(CUTS), total)
    return sorted({cut for cut in ends | set(chance.sample(range(total), wanted)) if 0 <= cut < total})


@pytest.mark.slow
async def test_nothing_is_done_unless_the_result_was_whole(recorded: Recorded) -> None:
    await asyncio.to_thread(break_off_everywhere, recorded)


def break_off_everywhere(recorded: Recorded) -> None:
    chance, count, lost = random.Random(20), 0, 0  # noqa: S311 - repeatable
    deaths: itertools.cycle[Death] = itertools.cycle(("hang up", "reset", "torn line", "silence"))
    for command, conversation in recorded.conversations.items():
        arguments = recorded.arguments_of(command)
        with dying_master(recorded.socket, conversation, after=len(conversation), death="hang up"):
            told = typed(arguments, command.stdin)
        told.check((command, "whole"))
        assert (told.code == 0) == command.shows, (command, told)
        for cut in cuts_of(conversation, chance):
            death = next(deaths)
            with dying_master(recorded.socket, conversation, after=cut, death=death):
                told = typed(arguments, command.stdin)
            what = (command.line, cut, death, conversation.answers)
            told.check(what)
            assert told.code != 0, (what, told)
            assert "running as" not in told.out, (what, told)  # what `doctor` says of a master that answered
            count, lost = count + 1, lost + (told.code == 6)
    print(f"{count} conversations of {len(recorded.conversations)} commands broken off; {lost} found no master")


@pytest.mark.slow
async def test_an_answer_of_another_version_is_no_traceback(recorded: Recorded) -> None:
    await asyncio.to_thread(change_values, recorded)


OTHER_VALUES: tuple[Any, ...] = (None, True, -1, 10**18, 1e300, "[/]\x1b[2J", [], ["x"], {}, {"x": 1})


def change_values(recorded: Recorded) -> None:
    chance, count = random.Random(21), 0  # noqa: S311 - repeatable
    for command, conversation in recorded.conversations.items():
        arguments = recorded.arguments_of(command)
        for _ in range(rounds(8)):
            index = chance.randrange(len(conversation.answers))
            lines = conversation.answers[index].splitlines()
            line = chance.randrange(len(lines))
            document = json.loads(lines[line])
            lines[line] = json.dumps(changed(document, chance)).encode()
            answers = list(conversation.answers)
            answers[index] = b"\n".join(lines) + b"\n"
            with dying_master(recorded.socket, Conversation(answers), after=1 << 40, death="hang up"):
                told = typed(arguments, command.stdin)
            told.check((command.line, lines[line]))
            assert "\x1b" not in told.out + told.err
            count += 1
    print(f"{count} answers with another value")


def changed(document: Any, chance: random.Random) -> Any:
    """Return the document with one value replaced, at any depth."""
    if isinstance(document, dict) and document and chance.random() < 0.85:
        key = chance.choice(list(document))
        return {**document, key: changed(document[key], chance)}
    if isinstance(document, list) and document and chance.random() < 0.85:
        at = chance.randrange(len(document))
        return [*document[:at], changed(document[at], chance), *document[at + 1 :]]
    return chance.choice(OTHER_VALUES)
