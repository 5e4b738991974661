"""What a node was registered with: stored as NODES has it, checked as NODES is, and overruled by it."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from handshake.redaction import Secret
from master.configuration.node_options import OptionsRefused, decode_options, encode_options, settings_of
from master.configuration.settings import DatabaseSettings, IdentitySettings, NodeSettings, Settings

HOME = Path("/srv/fleet")


def settings_with(**nodes: NodeSettings) -> Settings:
    return Settings(
        home=HOME,
        state_dir=HOME / "state",
        database=DatabaseSettings(url=Secret("sqlite:///:memory:")),
        identity=IdentitySettings(
            bots_base_path=HOME / "bots", template_path=HOME / "template", master_secret=Secret(b"x" * 32)
        ),
        nodes=nodes,
    )


def test_options_are_read_back_as_settings() -> None:
    given = {
        "COMMAND": "node 'my bot.js'",
        "MEMORY_LIMIT_BYTES": 5_000_000,
        "WATCH": ["."],
        "ENV_FILE": "env/web.env",
        "CRON_RESTART": "0  5 * * *",
        "READY_WHEN": "port:8080",
        "PLAIN": True,
        "ARGS": None,
    }
    text = encode_options(given, HOME)
    assert decode_options(text) == {key: value for key, value in given.items() if value is not None}
    assert settings_of(settings_with(), "web", text) == NodeSettings(
        command="node 'my bot.js'",
        memory_limit_bytes=5_000_000,
        watch=(".",),
        env_file=HOME / "env" / "web.env",
        cron_restart="0 5 * * *",
        ready_when="port:8080",
        plain=True,
    )


def test_no_options_are_no_text() -> None:
    assert encode_options({"ARGS": None}, HOME) == ""
    assert settings_of(settings_with(), "web", "") == NodeSettings()


def test_what_the_config_says_of_a_node_wins() -> None:
    text = encode_options({"ARGS": "--old", "CPU_WEIGHT": 50}, HOME)
    configured = NodeSettings(args="--new", priority=5)
    found = settings_of(settings_with(web=configured), "Web", text)
    assert found == replace(configured, cpu_weight=50)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"COMAND": "x"}, "COMAND"),
        ({"COMMAND": "node 'index.js"}, "quotation"),
        ({"CPU_WEIGHT": 0}, "CPU_WEIGHT"),
        ({"CRON_RESTART": "daily"}, "schedule"),
        ({"READY_WHEN": "http://example.org/"}, "readiness"),
        ({"READY_WHEN": "port:0"}, "readiness"),
        ({"READY_WHEN": "log:"}, "readiness"),
        ({"ENV": {"PASSWORD": "hunter2"}}, "ENV"),
        ({"ARGS": "x" * 2_001}, "command line"),
        ({"WATCH": ["x" * 4_000]}, "4"),
    ],
)
def test_what_is_not_valid_is_refused_and_says_what(options: dict[str, object], told: str) -> None:
    with pytest.raises(OptionsRefused) as error:
        encode_options(options, HOME)
    assert told in f"{error.value.message} {error.value.hint}"
    assert "hunter2" not in f"{error.value.message} {error.value.hint}"
