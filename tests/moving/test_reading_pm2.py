"""PM2's files: what `pm2 save` of PM2 7 wrote, and ecosystem files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from master.services.moving.programs import FileNotUnderstood, ImportedProgram
from master.services.moving.reading import Reader

# The keys of a process as PM2 7.0.4 saves them; its own figures are left out.
SAVED: dict[str, Any] = {
    "name": "web",
    "cwd": "./bots/web",
    "max_memory_restart": 209715200,
    "cron_restart": "0 5 * * *",
    "merge_logs": True,
    "vizion": True,
    "autostart": True,
    "autorestart": True,
    "instance_var": "NODE_APP_INSTANCE",
    "pmx": True,
    "treekill": True,
    "username": "ada",
    "env_production": {"A": 2},
    "namespace": "default",
    "node_args": [],
    "pm_exec_path": "/srv/bots/web/index.js",
    "pm_cwd": "/srv/bots/web",
    "exec_interpreter": "node",
    "exec_mode": "fork_mode",
    "pm_out_log_path": "/home/ada/.pm2/logs/web-out.log",
    "NODE_APP_INSTANCE": 0,
    "SHELL": "/bin/bash",
    "A": 1,
    "status": "online",
    "axm_actions": [{"action_name": "km:heapdump"}],
    "env": {
        "SHELL": "/bin/bash",
        "PATH": "/home/ada/.nvm/versions/node/v20.20.2/bin:/usr/bin",
        "HOME": "/home/ada",
        "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22",
        "npm_config_prefix": "/usr",
        "LC_ALL": "C",
        "PM2_HOME": "/home/ada/.pm2",
        "unique_id": "d69b3819",
        "web": "{}",
        "A": 1,
        "OPENAI_API_KEY": "k",
    },
}


def reader(folder: Path, **environment: str) -> Reader:
    return Reader(environment={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment}, home=folder, user="ada")


def read(folder: Path, value: object, name: str = "dump.pm2", **environment: str) -> list[ImportedProgram]:
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return reader(folder, **environment).read(path)


def lost(program: ImportedProgram) -> set[str]:
    return {entry.key for entry in program.lost}


def test_a_saved_process_brings_its_own_variables_and_none_of_the_shells(tmp_path: Path) -> None:
    (program,) = read(tmp_path, [SAVED])
    assert program.environment == {"A": "1", "OPENAI_API_KEY": "k"}
    assert program.search_path == "/home/ada/.nvm/versions/node/v20.20.2/bin:/usr/bin"
    assert (program.words, program.folder) == (("node", "/srv/bots/web/index.js"), "/srv/bots/web")
    assert program.options == {"MEMORY_LIMIT_BYTES": 209715200, "CRON_RESTART": "0 5 * * *"}
    assert "8 variables of the shell" in program.lost[0].instead
    assert program.start
    assert "k" not in repr(program)


def test_one_that_is_stopped_stays_so_and_one_without_interpreter_has_none(tmp_path: Path) -> None:
    shell = {"exec_interpreter": "none", "pm_exec_path": "/usr/bin/bash", "args": ["-c", "sleep 1000"]}
    (program,) = read(tmp_path, [{**SAVED, **shell, "status": "stopped", "autorestart": False}])
    assert program.words == ("sleep", "1000")
    assert not program.start
    assert "autorestart" in lost(program)


def test_a_cluster_is_one_node_and_modules_are_none(tmp_path: Path) -> None:
    module = {**SAVED, "name": "pm2-logrotate", "pmx_module": True}
    (program,) = read(tmp_path, [{**SAVED, "exec_mode": "cluster_mode"}, SAVED, module])
    assert "instances" in lost(program)


def test_an_ecosystem_says_program_folder_and_options(tmp_path: Path) -> None:
    app = {
        "name": "atlas",
        "script": "bot.py",
        "cwd": "bots/atlas",
        "interpreter": "venv/bin/python",
        "interpreter_args": "-u -X dev",
        "args": "--name 'two words'",
        "env": {"DEBUG": True, "N": 3, "NONE": None},
        "env_production": {"N": 4},
        "watch": ["cogs"],
        "max_memory_restart": "1.5G",
        "instances": "max",
        "max_restarts": 3,
        "kill_timeout": 5000,
        "out_file": "x.log",
        "colour": "red",
        "namespace": "music",
    }
    (program,) = read(tmp_path, {"apps": [app]}, "ecosystem.json")
    folder = tmp_path / "bots" / "atlas"
    assert program.folder == str(folder)
    assert program.words == (
        *(f"{folder}/venv/bin/python", "-u", "-X", "dev"),
        *(f"{folder}/bot.py", "--name", "two words"),
    )
    assert program.environment == {"DEBUG": "true", "N": "3", "NONE": ""}
    assert program.options == {"WATCH": ["cogs"], "MEMORY_LIMIT_BYTES": int(1.5 * 2**30)}
    assert program.tags == ("music",)
    assert lost(program) == {"env_production", "instances", "max_restarts", "kill_timeout", "out_file", "colour"}


def test_the_environment_that_was_asked_for_is_laid_over(tmp_path: Path) -> None:
    path = tmp_path / "process.yml"
    path.write_text("apps:\n  - {script: a.js, env: {A: 1}, env_production: {A: 2}, port: 3000}\n")
    (program,) = Reader(environment={}, home=tmp_path, user="ada", variant="production").read(path)
    assert program.environment == {"A": "2", "PORT": "3000"}
    assert program.name == "a"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("run.sh", ("bash", "{}/run.sh")),
        ("sleep 5", ("sleep", "5")),
        ("a && b", ("bash", "-c", "a && b")),
        ("npm", ("npm", "start")),
        ("bot.py", ("python3", "{}/bot.py")),
    ],
)
def test_a_script_is_run_as_pm2_would(tmp_path: Path, script: str, words: tuple[str, ...]) -> None:
    app = {"script": script, **({"args": "start"} if script == "npm" else {})}
    (program,) = read(tmp_path, [app], "ecosystem.json")
    assert program.words == tuple(word.format(tmp_path) for word in words)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("dump.pm2", "[]", "is empty"),
        ("dump.pm2", "[1", "is no JSON"),
        ("ecosystem.json", '{"apps": [{"name": "x"}]}', "apps[0].script: is missing"),
        ("ecosystem.json", '{"apps": []}', "apps: names no program"),
        ("ecosystem.json", '{"apps": [{"script": "a.js", "env": [1]}]}', "apps[0].env: is no table of keys but a list"),
        ("ecosystem.json", '{"apps": [{"script": "a.js", "args": "\'"}]}', "apps[0].args: is no list of arguments"),
        ("process.yml", "a: [", "line 1"),
        ("process.yml", "a: 1", "has neither `services`"),
        ("bots.txt", "", "is of no kind that is known"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_place(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(FileNotUnderstood) as caught:
        read(tmp_path, text, name)
    assert caught.value.message.startswith(str(tmp_path / name))
    assert said in caught.value.message


# A program, as `ecosystem.config.js` is


NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="there is no node on this machine")
MODULE = 'console.log("chatter"); module.exports = { apps: [{ name: process.env.NAME, script: "./x.js" }] };'


@needs_node
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ecosystem.config.js", MODULE),
        ("ecosystem.config.cjs", "module.exports = () => ({ apps: [{ name: 'atlas', script: './x.js' }] })"),
        ("ecosystem.config.mjs", "export default { apps: [{ name: 'atlas', script: './x.js' }] }"),
    ],
)
def test_a_module_is_evaluated_whatever_it_prints(
    tmp_path: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME", "atlas")
    told: list[str] = []
    (tmp_path / name).write_text(text)
    asked = Reader(environment={"PATH": str(Path(NODE or "").parent)}, home=tmp_path, user="ada", announce=told.append)
    (program,) = asked.read(tmp_path / name)
    assert program.name == "atlas"
    assert program.words == ("node", str(tmp_path / "x.js"))
    assert "is run with" in told[0]


@needs_node
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("throw new Error('no way')", "node fails on it: no way"),
        ("module.exports = {", "node fails on it"),
        ("process.exit(0)", "ended without a word"),
        ("module.exports = { apps: 'x'.repeat(5e6) }", "exports more than 4 MB"),
    ],
)
def test_a_module_that_fails_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(FileNotUnderstood, match=said):
        read(tmp_path, text, "ecosystem.config.js", PATH=str(Path(NODE or "").parent))


@needs_node
def test_a_module_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("master.services.moving.ecosystem_module.TIME_LIMIT_S", 0.5)
    with pytest.raises(FileNotUnderstood, match="did not end within") as caught:
        read(tmp_path, "while (true);", "ecosystem.config.js", PATH=str(Path(NODE or "").parent))
    assert "JSON.stringify" in caught.value.hint


def test_without_node_it_says_how_to_make_a_json_of_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotUnderstood, match="there is no node") as caught:
        read(tmp_path, MODULE, "ecosystem.config.js", PATH="/nonexistent")
    assert "ecosystem.json" in caught.value.hint
