"""supervisord, docker compose and systemd: their files as programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from master.services.moving.programs import FileNotUnderstood, ImportedProgram
from master.services.moving.reading import Reader

SUPERVISORD = """
[supervisord]
environment=EVERYWHERE="1"
[include]
files = conf.d/*.conf
[program:atlas]
command=%(here)s/venv/bin/python -u bot.py --shard %(process_num)d ; the second one too
directory=%(here)s
process_name=%(program_name)s_%(process_num)02d
numprocs=2
environment=DISCORD_TOKEN="a,b",HOME_OF=%(ENV_HOME)s,PERCENT="100%%"
autostart=false
priority=10
stopwaitsecs=20
stdout_logfile=/var/log/atlas.log
user=bot
[group:site]
programs=web
[eventlistener:crash]
command=crashmail
"""
COMPOSE = """
services:
  bot:
    build: ./atlas
    environment: {DISCORD_TOKEN: "${TOKEN_OF_ATLAS:-none}", DEBUG: true, "FROM_SHELL":}
    env_file: [.env.bot]
    depends_on: {db: {condition: service_started}}
    deploy: {resources: {limits: {memory: 256M, cpus: "0.5"}}, replicas: 2}
    restart: "no"
  web:
    image: node:20
    working_dir: /app/src
    volumes: ["./web:/app:ro", "data:/data"]
    command: ["node", "/app/src/index.js", "$$PATH"]
    environment: ["A=1=2", "FROM_SHELL"]
  db:
    image: postgres:16
"""
DOCKERFILE = """
FROM python:3.12 AS build
CMD ["never"]
FROM python:3.12
WORKDIR /srv
COPY . .
CMD python \\
    bot.py --x
"""
UNIT = """
# a comment
[Unit]
After=network.target db.service
[Service]
Type=simple
User=bot
WorkingDirectory=%h/atlas
ExecStart=-/usr/bin/python3 \\
    bot.py --name %N $WORDS ${WORDS}
Environment="WORDS=a b" 'B=3'
EnvironmentFile=-/etc/atlas.env
Restart=always
RestartSec=5
MemoryMax=300M
MemoryHigh=infinity
LimitNOFILE=2048:4096
ProtectSystem=strict
"""


def reader(folder: Path, **environment: str) -> Reader:
    return Reader(environment={"HOME": "/home/ada", **environment}, home=Path("/home/ada"), user="ada")


def lost(program: ImportedProgram) -> set[str]:
    return {entry.key for entry in program.lost}


def test_supervisord_is_read_as_supervisord_reads_it(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "web.conf").write_text("[program:web]\ncommand=node index.js\ndirectory=%(here)s\n")
    (tmp_path / "supervisord.conf").write_text(SUPERVISORD)
    first, second, crash, web = reader(tmp_path).read(tmp_path / "supervisord.conf")
    assert (first.name, second.name) == ("atlas_00", "atlas_01")
    assert (first.full_name, web.full_name) == ("atlas:atlas_00", "site:web")
    assert second.words == (f"{tmp_path}/venv/bin/python", "-u", "bot.py", "--shard", "1")
    assert first.environment == {
        "EVERYWHERE": "1",
        "DISCORD_TOKEN": "a,b",
        "HOME_OF": "/home/ada",
        "PERCENT": "100%",
    }
    assert (first.folder, first.start, first.options) == (str(tmp_path), False, {"PRIORITY": 10})
    assert lost(first) == {"stopwaitsecs", "stdout_logfile", "user"}
    assert "eventlistener" in crash.trouble
    assert (web.folder, web.tags) == (str(tmp_path / "conf.d"), ("site",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[program:x]\ndirectory=/\n", "program:x.command: is missing"),
        ("[program:x]\ncommand=a '\n", "program:x.command: is no command line"),
        ("[program:x]\ncommand=%(ENV_NOWHERE)s\n", "names the variable 'ENV_NOWHERE', which is not set here"),
        ("[program:x]\ncommand=date +%H\n", "has a % that begins no"),
        ("[program:x]\ncommand=a\nenvironment=A B\n", "program:x.environment: is no list of variables"),
        ("[program:x]\ncommand=a\nnumprocs=many\n", "program:x.numprocs: is no number"),
        ("command=a\n", "line 1: is no INI file"),
        ("[supervisord]\n", "has no [program:NAME] section"),
    ],
)
def test_a_mistake_of_supervisords_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.conf").write_text(text)
    with pytest.raises(FileNotUnderstood) as caught:
        reader(tmp_path).read(tmp_path / "x.conf")
    assert said in caught.value.message


def test_a_service_is_found_again_in_the_folder_that_its_image_is_built_from(tmp_path: Path) -> None:
    (tmp_path / "atlas").mkdir()
    (tmp_path / "atlas" / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "docker-compose.yml").write_text(COMPOSE)
    bot, web, db = reader(tmp_path, FROM_SHELL="yes").read(tmp_path / "docker-compose.yml")
    assert (bot.words, bot.folder) == (("python", "bot.py", "--x"), str(tmp_path / "atlas"))
    assert bot.environment == {"DISCORD_TOKEN": "none", "DEBUG": "true", "FROM_SHELL": "yes"}
    assert bot.environment_files == (str(tmp_path / ".env.bot"),)
    assert bot.options == {"MEMORY_HARD_LIMIT_BYTES": 256 * 2**20}
    assert bot.after == ("db",)
    assert lost(bot) == {"deploy.resources.limits.cpus", "restart", "replicas", "image"}
    assert (web.words, web.folder) == (("node", f"{tmp_path}/web/src/index.js", "$PATH"), str(tmp_path / "web" / "src"))
    assert web.environment == {"A": "1=2", "FROM_SHELL": "yes"}
    assert "volumes" in lost(web)
    assert "inside the image 'postgres:16'" in db.trouble


def test_compose_takes_variables_from_the_env_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TOKEN_OF_ATLAS=from the file\n")
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    assert reader(tmp_path).read(tmp_path / "compose.yaml")[0].environment["DISCORD_TOKEN"] == "from the file"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services: [a]", "services: is no table of keys but a list"),
        ("services: {a: {environment: {X: '${X:?give it}'}}}", "services.a.environment.X: needs the variable 'X'"),
        ('services: {a: {command: "\'"}}', "services.a.command: is no command line"),
        ("services: {a: 1}", "services.a: is no table of keys but a number"),
    ],
)
def test_a_mistake_of_a_compose_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.yml").write_text(text)
    with pytest.raises(FileNotUnderstood) as caught:
        reader(tmp_path).read(tmp_path / "x.yml")
    assert said in caught.value.message


def test_a_unit_is_read_with_its_drop_ins(tmp_path: Path) -> None:
    (tmp_path / "atlas.service").write_text(UNIT)
    (tmp_path / "atlas.service.d").mkdir()
    (tmp_path / "atlas.service.d" / "override.conf").write_text(
        "[Service]\nEnvironment=C=4\nMemoryMax=\nMemoryMax=400M\n"
    )
    (program,) = reader(tmp_path).read(tmp_path / "atlas.service")
    assert (program.name, program.folder) == ("atlas", "/home/ada/atlas")
    assert program.words == ("/usr/bin/python3", "bot.py", "--name", "atlas", "a", "b", "a b")
    assert program.environment == {"WORDS": "a b", "B": "3", "C": "4"}
    assert program.environment_files == ("/etc/atlas.env",)
    assert program.options == {"MEMORY_HARD_LIMIT_BYTES": 400 * 2**20, "OPEN_FILES_LIMIT": 2048}
    assert program.after == ("db",)
    assert lost(program) == {"User", "RestartSec", "ProtectSystem"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.service", "[Service]\nExecStart=a\nType=oneshot\n", "runs once and ends"),
        ("a.service", "[Service]\nExecStart=a\nType=forking\n", "has to stay in the foreground"),
        ("a@.service", "[Service]\nExecStart=a\n", "is a template"),
    ],
)
def test_a_unit_that_no_node_can_be_says_why(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    (program,) = reader(tmp_path).read(tmp_path / name)
    assert said in program.trouble


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[Service]\nRestart=no\n", "Service.ExecStart: is missing"),
        ("[Service]\nExecStart=a %z\n", "has the specifier %z"),
        ("nonsense\n", "line 1: is neither"),
    ],
)
def test_a_mistake_of_a_unit_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.service").write_text(text)
    with pytest.raises(FileNotUnderstood) as caught:
        reader(tmp_path).read(tmp_path / "a.service")
    assert said in caught.value.message
