"""Which processes are copies of a program that is to become a node, and how they are stopped."""

from __future__ import annotations

from typing import Any

import pytest

from master.services.moving.running import Seen, Wanted, launcher_of, stop_command

ATLAS = Wanted(name="atlas", old_name="atlas", supervisor="PM2", folder="/srv/atlas", words=("python3", "bot.py", "x"))


def seen(*line: str, **more: Any) -> Seen:
    return Seen(pid=5, parent=1, line=line, folder=more.pop("folder", "/srv/atlas"), **more)


@pytest.mark.parametrize(
    ("process", "by"),
    [
        (seen("/srv/atlas/venv/bin/python", "-u", "bot.py"), ""),
        (seen("python3", "/srv/atlas/bot.py"), ""),
        (seen("python3", "./bot.py", environment={"pm_id": "3"}), "PM2"),
        (seen("npm start", folder="", environment={"pm_id": "0", "name": "atlas"}), "PM2"),
        (seen("python3", "bot.py", environment={"SUPERVISOR_PROCESS_NAME": "other"}), "supervisord"),
        (seen("python3", "bot.py", environment={"pm_id": "1", "name": "atlas-2"}), None),
        # An editor, a shell in the folder, another's file of the same name, another program of PM2, a node.
        (seen("vim", "cogs/bot.py"), None),
        (seen("-bash"), None),
        (seen("python3", "bot.py", folder="/srv/nova"), None),
        (seen("python3", "web.py", environment={"pm_id": "1", "name": "web"}), None),
        (seen("python3", "bot.py", environment={"FLEET_NODE_ID": "01X"}), None),
    ],
)
def test_a_copy_is_known_by_its_file_and_folder_or_by_what_its_supervisor_tells_it(
    process: Seen, by: str | None
) -> None:
    assert launcher_of(ATLAS, process) == by


def test_a_unit_and_a_container_are_known_by_their_control_group() -> None:
    unit = Wanted(name="a", old_name="a", supervisor="systemd", folder="/srv/a", words=("/srv/a/run",))
    assert launcher_of(unit, seen("whatever", folder="", groups="0::/system.slice/a.service\n")) == "systemd"
    words = ("python", "bot.py")
    container = Wanted(name="b", old_name="b", supervisor="docker compose", folder="/srv/b", words=words, inside=words)
    assert (
        launcher_of(container, seen(*words, folder="", groups="0::/system.slice/docker-ab12.scope")) == "docker compose"
    )
    assert launcher_of(container, seen(*words, folder="", groups="0::/user.slice")) is None


def test_a_program_without_a_file_is_known_by_all_of_its_words() -> None:
    plain = Wanted(name="s", old_name="s", supervisor="supervisord", folder="/srv/atlas", words=("sleep", "600"))
    assert launcher_of(plain, seen("/usr/bin/sleep", "600")) == ""
    assert launcher_of(plain, seen("sleep", "5")) is None


@pytest.mark.parametrize(
    ("supervisor", "said"),
    [
        ("PM2", "pm2 stop 'a b' c && pm2 save"),
        ("supervisord", "supervisorctl stop 'a b' c"),
        ("systemd", "systemctl disable --now 'a b' c"),
        ("docker compose", "docker compose -f /srv/x.yml stop 'a b' c"),
    ],
)
def test_how_it_is_stopped_is_said_in_the_words_of_its_supervisor(supervisor: str, said: str) -> None:
    assert stop_command(supervisor, ["a b", "c"], "/srv/x.yml") == said
