"""Files of other supervisors with anything in them: each is read, or refused with its name; nothing else happens.

What is read is planned as well. It prints how many were read and how many refused.
"""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from master.services.moving.plan import make_plan
from master.services.moving.programs import FileNotUnderstood
from master.services.moving.reading import Reader
from tests.hostile.effort import rounds

pytestmark = pytest.mark.timeout(3600)

ROUNDS = 300
PLANNED_ONE_IN = 10
"""A plan looks at every process of the box."""

ECOSYSTEM: Any = {
    "apps": [
        {
            **{"name": "a", "script": "bot.py", "cwd": ".", "args": "--x", "interpreter": "python3", "node_args": "-u"},
            **{"env": {"A": 1}, "env_production": {"A": 2}, "instances": 2, "watch": ["."], "autorestart": False},
            **{"max_memory_restart": "1G", "cron_restart": "0 5 * * *", "namespace": "n", "port": 1, "max_restarts": 3},
        }
    ]
}
DUMP: Any = [
    {
        **{"name": "a", "pm_exec_path": "/srv/a/bot.py", "pm_cwd": "/srv/a", "exec_interpreter": "python3"},
        **{"node_args": ["-u"], "args": ["x"], "env": {"A": 1, "PATH": "/bin"}, "status": "online"},
    }
]
COMPOSE: Any = {
    "services": {
        "a": {
            **{"build": {"context": ".", "dockerfile": "Dockerfile"}, "command": ["python", "bot.py"]},
            **{
                "environment": {"A": "${B:-c}"},
                "env_file": [{"path": ".env"}],
                "volumes": ["./a:/a", {"type": "bind"}],
            },
            **{"working_dir": "/a", "deploy": {"resources": {"limits": {"memory": "1G", "cpus": 1}}, "replicas": 2}},
            **{"ulimits": {"nofile": {"soft": 1}}, "depends_on": ["b"], "ports": ["1:1"], "restart": "no", "scale": 2},
        }
    }
}
SUPERVISORD = """[supervisord]
environment=A="1",B=2
[include]
files = more/*.conf
[program:a]
command=python3 bot.py %(process_num)d
directory=%(here)s
numprocs=2
process_name=%(program_name)s_%(process_num)02d
environment=X=%(ENV_HOME)s
priority=1
[group:g]
programs=a
"""
UNIT = """[Unit]
After=b.service
[Service]
ExecStart=-/usr/bin/python3 \\
  bot.py $A ${B} %n
WorkingDirectory=%h
Environment="A=1 2" B=3
EnvironmentFile=-/x
MemoryMax=1G
LimitNOFILE=5
Restart=always
"""
DOCKERFILE = 'FROM a\nWORKDIR /a\nENTRYPOINT ["python"]\nCMD ["bot.py"]\n'
ODD: list[Any] = [
    *(None, True, False, 0, -1, 10**30, 1.5, "", " ", "x", "'", '"', "${", "${X:?}", "$", "%", "%(x)s", "%(here)s"),
    *("\0", "\n", "\x1b[2J", "\u202e", "\ud800", "../..", "/", "~", "~nobody/x", "a" * 5_000, "-" * 100),
    *([], [None], [[]], {}, {"a": {}}, {"": None}, [{}], ["\0"]),
]
PIECES = [
    "[",
    "]",
    "=",
    '"',
    "'",
    "\\",
    "\n",
    "%",
    "$",
    "{",
    "}",
    ":",
    ",",
    "#",
    ";",
    "\0",
    "\x1b",
    "é",
    "\n[program:",
    "%(",
]


def paths_in(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of each part of a document."""
    parts: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list):
        parts = list(enumerate(value))
    return [at, *(path for key, item in parts for path in paths_in(item, (*at, key)))]


def changed(document: Any, rng: random.Random) -> Any:
    """Return a document with some of its parts replaced."""
    document = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        path = rng.choice(paths_in(document))
        if not path:
            return rng.choice(ODD)
        holder = document
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = copy.deepcopy(rng.choice(ODD))
    return document


def damaged(text: str, rng: random.Random) -> str:
    """Return a text with pieces put in and taken out."""
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(text) + 1), rng.choice((0, 0, 1, 5, 30))
        text = text[:at] + rng.choice(PIECES) * rng.choice((1, 1, 3)) + text[at + length :]
    return text


def written(folder: Path, rng: random.Random) -> Path:
    """Write one file that is like those of a supervisor."""
    (folder / "Dockerfile").write_text(damaged(DOCKERFILE, rng), "utf-8")
    name, document = rng.choice(
        [
            *(("ecosystem.json", ECOSYSTEM), ("dump.pm2", DUMP), ("compose.yml", COMPOSE), ("process.yml", ECOSYSTEM)),
            *(("supervisord.conf", SUPERVISORD), ("a.service", UNIT)),
        ]
    )
    is_text = isinstance(document, str)
    text = damaged(document, rng) if is_text else json.dumps(changed(document, rng))
    if not is_text and rng.random() < 0.3:
        text = damaged(text, rng)
    path = folder / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def test_any_file_is_read_or_refused_by_name(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    seed = random.randrange(2**32)  # noqa: S311
    for number in range(rounds(ROUNDS)):
        rng = random.Random(f"{seed}/{number}")  # noqa: S311
        path = written(tmp_path, rng)
        reader = Reader(environment={"HOME": str(tmp_path)}, home=tmp_path, user="ada")
        try:
            programs = reader.read(path)
            if number % PLANNED_ONE_IN == 0:
                make_plan(programs, [], tmp_path, without_token=frozenset())
                counts["planned"] += 1
        except FileNotUnderstood as error:
            counts["refused"] += 1 if str(tmp_path) in error.message else 0
        except Exception as error:
            raise AssertionError(f"seed {seed}/{number}: {path.read_bytes()!r}") from error
        else:
            counts["read"] += 1
    print(f"imports: {dict(counts)}, seed {seed}")
    assert counts["read"] > counts["planned"]
    assert counts["refused"] + counts["read"] == rounds(ROUNDS)
    assert counts["refused"]
