"""How the command line is typed: help with defaults, mistakes as JSON, readers that have had enough."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from master.cli.app import build_app
from master.cli.group import CALLED_HERE
from tests.cli.sample_fleet import sample_fleet
from tests.cli.test_reading_status import master_with
from tests.hostile.conversations import typed

pytestmark = pytest.mark.timeout(120)


def commands(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name), command


EVERY = dict(commands(typer.main.get_command(build_app())))


@pytest.mark.parametrize("names", EVERY, ids=" ".join)
def test_help_has_the_default_of_each_option(names: tuple[str, ...]) -> None:
    told = re.sub(r"[│\s]+", " ", typed([*names, "--help"]).out)
    for parameter in EVERY[names].params:
        text = parameter.help or ""
        assert "[" not in text, "Typer takes it for markup, and leaves it out: show_default= is for defaults"
        shown = parameter.show_default
        if isinstance(shown, str):
            assert f"[default: ({shown})]" in told
        elif shown and parameter.default not in (None, "", False, True):
            assert f"[default: {parameter.default}]" in told


@pytest.mark.parametrize("names", [(), *EVERY], ids=" ".join)
def test_help_shows_no_type_for_what_takes_no_value(names: tuple[str, ...]) -> None:
    assert "bool" not in typed([*names, "--help"]).out


def test_words_of_other_supervisors_lead_to_ours() -> None:
    ours = {command for command, *_ in EVERY} | {"--help", "--version"}
    for word, here in CALLED_HERE.items():
        assert word not in ours
        assert here.split()[0] in ours
        told = typed([word, "atlas"])
        assert (told.code, f"Here it is `fleet {here}`." in re.sub(r"\s+", " ", told.err)) == (2, True), told.err
    assert "There is nothing to save" in typed(["save"]).err
    assert "Did you mean 'status'" in typed(["statsu"]).err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tickets open", "People open tickets on Discord"),
        ("ticket claim 7", "in the ticket's channel"),
        ("tickets remove 7", "`fleet tickets revoke ID`"),
        ("giveaway start mug", "`/giveaway start`"),
        ("giveaways reroll 01", "`/giveaway reroll`"),
        ("licence nope", "No such command 'nope'"),
    ],
)
def test_what_is_done_elsewhere_says_where(line: str, words: str) -> None:
    told = typed(line.split())
    assert (told.code, words in re.sub(r"\s+", " ", told.err)) == (2, True), told.err


@pytest.mark.parametrize("group", ["tickets", "ticket", "giveaway", "giveaways", "licence", "licenses"])
def test_a_group_without_a_command_lists_and_its_help_has_the_commands(tmp_path: Path, group: str) -> None:
    home = ["--home", str(tmp_path)]
    listed = typed([group, "list", *home, "--json"])
    # No fleet is there; what counts is that the same is asked for.
    assert json.loads(listed.out)["error"]["code"] != "usage"
    assert [typed([group, *words, *home, "--json"]) for words in ([], ["ls"])] == [listed, listed]
    assert "Commands" in typed([group, "--help"]).out


def test_a_folder_that_is_not_there_is_said_before_a_token_is_asked_for(tmp_path: Path) -> None:
    told = typed(["register", "x", "--folder", str(tmp_path / "none"), "--home", str(tmp_path)])
    assert (told.code, f"the folder {tmp_path / 'none'} does not exist" in told.err) == (4, True)
    told = typed(["register", "x", "--folder", str(tmp_path), "--home", str(tmp_path)])
    assert (told.code, "--no-token if it is no bot" in told.err) == (4, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["restart", "--json"], "usage", "name the nodes, or give --all"),
        (["nope", "--json"], "usage", "No such command 'nope'"),
        (["status", "--nope", "--json"], "usage", "--nope"),
        (["logs", "-n", "many", "--json"], "usage", "valid integer"),
        (["logs", "--json", "--since", "yesterday"], "usage", "no time"),
        (["history", "--json"], "usage", "name"),
        (["kill", "atlas", "--json"], "no_terminal", "no terminal to ask at"),
        (["audit", "show", "-n", "0", "--json"], "usage", "greater than or equal to 1"),
    ],
)
def test_a_mistake_is_one_json_object_where_json_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: str, words: str
) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))
    told = typed(arguments)
    error = json.loads(told.out)["error"]
    assert (told.code, told.err, error["code"], error["exit_code"]) == (2, "", code, 2)
    assert words in error["message"]
    as_text = typed([argument for argument in arguments if argument != "--json"])
    assert (as_text.code, as_text.out) == (2, "")
    assert words in as_text.err


def test_a_removal_that_cannot_ask_prints_one_json_object(tmp_path: Path) -> None:
    with master_with(tmp_path, sample_fleet(3)):
        told = typed(["remove", "atlas", "--json", "--home", str(tmp_path)])
    assert (told.code, told.err, json.loads(told.out)["error"]["code"]) == (2, "", "no_terminal")


def test_what_follows_two_dashes_is_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))
    told = typed(["history", "--", "--json", "x"])
    assert (told.code, told.out) == (2, "")


COMMANDS = ("--help", "--version", "status --help", "nope", "status", "status --json", "top", "logs", "logs --json")


@pytest.mark.slow
def test_a_reader_that_has_had_enough_is_no_failure(tmp_path: Path) -> None:
    bare = tmp_path / "without a master"
    (bare / "state" / "logs").mkdir(parents=True)
    (bare / "state" / "logs" / "atlas.err.log").write_text("line\n" * 10_000)
    reading, writing = os.pipe()
    os.close(reading)
    with master_with(tmp_path, sample_fleet(200)):
        running = {
            command: subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "master.cli", *command.split()],
                stdout=writing, stderr=subprocess.PIPE, text=True,
                env={**os.environ, "FLEET_HOME": str(bare if command.startswith("logs") else tmp_path)},
            )
            for command in COMMANDS
        }  # fmt: skip
        os.close(writing)
        ended = {command: process.communicate(timeout=60)[1] for command, process in running.items()}
    for command, said in ended.items():
        assert running[command].returncode == (2 if command == "nope" else 0), (command, said)
        assert "roken" not in said, (command, said)
        assert "Traceback" not in said


def test_a_command_alone_is_what_it_is_among_all() -> None:
    for name in typer.main.get_command(build_app()).commands:  # type: ignore[attr-defined]
        (alone,) = typer.main.get_command(build_app(["--json", name])).commands  # type: ignore[attr-defined]
        assert alone == name
