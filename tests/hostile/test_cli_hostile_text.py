"""Hostile text in every field that a node, a log, a person or Discord fills: nothing of it acts, and JSON keeps it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pty
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from handshake.messages import ErrorReport, Heartbeat, ShutdownNotice
from master.bot.embeds import error_embed, registered_embed, reload_embed
from master.bot.node_lines import node_lines
from master.cogs.error_monitor import _description
from master.cogs.fleet import audit_line
from master.configuration.settings import EmojiSettings, Settings
from master.control.protocol import Answer
from master.control.server import ControlServer
from master.errors import FleetError
from master.events import AlertLevel, AlertRaised
from master.journal import KeyValueFormatter
from master.operations import OPERATIONS, nodes
from master.operations.parameters import NamesParams
from master.services.core.actors import Actor
from master.services.core.errors import NotAuthorised
from master.services.core.views import ActionResult, AuditView, FleetEvent, NodeStatus, Registered, ReloadView
from master.services.onboarding.saga import CloneRequest
from tests.hostile.conversations import Conversation, Told, dying_master, typed
from tests.hostile.effort import rounds
from tests.hostile.hostile_texts import HOSTILE, UNSAFE, filled
from tests.services.conftest import OPERATOR, House
from tests.services.trust.test_verification import Caller

pytestmark = pytest.mark.timeout(3600 if os.environ.get("FLEET_FUZZ") else 120)

SHOWN: dict[str, tuple[str, Any]] = {
    "status --strays": ("status", None),
    "top": ("status", None),
    "history atlas": ("history", None),
    "start atlas": ("start", ActionResult),
    "restart --rolling --all": ("roll", ActionResult),
    "dup atlas": ("dup", FleetEvent),
    "register atlas": ("register", FleetEvent),
    "events": ("events", FleetEvent),
    "reload": ("reload", None),
    "patch keys list": ("patch_keys", None),
    "patch keys add -": ("patch_key_add", None),
    "patch keys revoke ada --yes": ("patch_key_revoke", None),
    "audit show": ("audit", None),
    "audit verify": ("audit_verify", None),
    "ledger status": ("ledger_status", None),
    "backup": ("backup", None),
}
"""What is typed, the operation whose result it shows, and what that sends meanwhile."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))
    (tmp_path / "state").mkdir()
    return tmp_path


def line_of(answer: Answer) -> bytes:
    return msgspec.json.encode(answer) + b"\n"


def is_safe(told: Told, what: object) -> None:
    told.check(what)
    found = UNSAFE.search(told.out + told.err)
    assert found is None, (what, found, told)


@pytest.mark.parametrize("command", SHOWN)
def test_nothing_foreign_acts_in_the_terminal_and_json_keeps_it(home: Path, command: str) -> None:
    name, event = SHOWN[command]
    chance = random.Random(command)  # noqa: S311 - repeatable
    for number in range(rounds(12)):
        result = filled(OPERATIONS[name].result, chance)
        events = [] if event is None else [filled(event, chance) for _ in range(2)]
        said = b"".join(line_of(Answer(kind="event", data=item)) for item in events)
        said += line_of(Answer(kind="result", data=result))
        as_json = command != "top" and number % 2 == 1
        arguments = [*command.split(), *(["--json"] if as_json else [])]
        with dying_master(home / "state" / "control.sock", Conversation([said]), after=1 << 40, death="hang up"):
            told = typed(arguments, stdin="token")
        is_safe(told, (arguments, said))
        if as_json and command != "events":
            assert json.loads(told.out) == json.loads(msgspec.json.encode(result))
        elif as_json:
            assert [json.loads(row) for row in told.out.splitlines()] == json.loads(msgspec.json.encode(events))


@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_that_quotes_is_shown_as_it_is(home: Path, as_json: bool) -> None:
    for text in HOSTILE:
        said = line_of(Answer(kind="error", code="refused", message=text, hint=text, exit_code=4))
        with dying_master(home / "state" / "control.sock", Conversation([said]), after=1 << 40, death="hang up"):
            told = typed(["status", *(["--json"] if as_json else [])])
        is_safe(told, text)
        assert told.code == 4


def test_what_is_typed_is_shown_as_it_is(home: Path) -> None:
    for text in (*HOSTILE, "\udcff"):
        if "\0" in text:
            continue  # no argument can have it
        for arguments in (
            ["start", text],
            ["logs", text],
            [text],
            ["start", f"--{text}"],
            ["dup", "x", "--from", text],
        ):
            is_safe(typed(arguments), arguments)


def test_logs_without_a_master_show_controls_and_lose_colours(home: Path) -> None:
    folder = home / "state" / "logs"
    folder.mkdir()
    raw = "\n".join(text.replace("\n", " ") for text in HOSTILE).encode() + b"\n\x1b[31mred\x1b[0m\n\xff\xfe\n"
    (folder / "atlas.err.log").write_bytes(raw)
    (folder / "atlas.out.log").write_bytes(b"")
    told = typed(["logs", "atlas", "-n", "1000"])
    is_safe(told, "logs")
    assert told.out.splitlines()[-2] == "atlas │ red"
    assert "\\x1b]52;c;ZXZpbA==\\x07" in told.out
    assert "[/]" in told.out
    as_json = typed(["logs", "atlas", "-n", "1000", "--json"])
    is_safe(as_json, "logs --json")
    shown = [line["text"] for line in json.loads(as_json.out)[0]["lines"]]
    assert shown == raw.decode("utf-8", "replace").removesuffix("\n").split("\n")


def test_a_log_that_a_node_made_a_fifo_keeps_nobody_waiting(home: Path) -> None:
    folder = home / "state" / "logs"
    folder.mkdir()
    os.mkfifo(folder / "atlas.err.log")
    told = typed(["logs", "atlas"])
    assert (told.code, "no regular file" in told.err) == (3, True)


def test_in_a_terminal_there_are_no_sequences_but_our_own_colours(home: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - repeatable
    status = filled(OPERATIONS["status"].result, chance, tuple(text[:60] for text in HOSTILE))
    said = Conversation([line_of(Answer(kind="result", data=status))])
    leader, follower = pty.openpty()
    with dying_master(home / "state" / "control.sock", said, after=1 << 40, death="hang up"):
        running = subprocess.Popen(
            [sys.executable, "-m", "master.cli", "status"],
            stdin=follower, stdout=follower, stderr=follower, env={**os.environ, "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(follower)
        shown = b""
        try:
            while chunk := os.read(leader, 65_536):
                shown += chunk
        except OSError:
            pass  # the other side is closed: all was read
        assert running.wait(30) == 0
    os.close(leader)
    text = shown.decode()
    assert "\x1b[" in text
    assert UNSAFE.search(re.sub(r"\x1b\[[0-9;]*m|\r\n", "", text)) is None


ESCAPED = re.compile(r"\\[\\*_~|`<>\[\]@#+>-]")
ACTIVE = re.compile(r"[*_~|`<>\[\]@]|^[#>+-]")


def is_inert(shown: str, what: object) -> None:
    """Fail if some markup of Discord's is left that no backslash takes its meaning."""
    for row in shown.split("\n"):
        found = ACTIVE.search(ESCAPED.sub("x", row))
        assert found is None, (what, found, row)
    assert UNSAFE.search(shown) is None, (what, shown)


@pytest.mark.parametrize("text", [*HOSTILE, "half \ud800"], ids=range(len(HOSTILE) + 1))
def test_nothing_foreign_is_markup_on_discord(house_settings: Settings, text: str) -> None:
    settings, emojis = house_settings, EmojiSettings()
    embed = error_embed(settings, FleetError(text, hint=text.replace("`", "")))
    is_inert((embed.title or "").removeprefix(settings.emojis.error + " "), text)
    is_inert(embed.description or "", text)
    row = AuditView(sequence=1, at=1.0, actor=text, face="discord", action="act", outcome="done", detail=text)
    is_inert(audit_line(emojis, row).partition("**act** by ")[2].replace(": ", " ", 1), text)
    alert = AlertRaised(at=None, level=AlertLevel.ERROR, key="x", title=text, text=text, quote=text)  # type: ignore[arg-type]
    said, fence, quoted = _description(alert).partition("\n```py\n")
    is_inert(said, text)
    if fence:
        assert quoted.endswith("\n```")
        assert "`" not in quoted.removesuffix("\n```")
        assert UNSAFE.search(quoted) is None
    node = msgspec.structs.replace(NODE, version=text, detail=text)
    line, _, trouble = node_lines(emojis, [node], 0.0).partition("\n└ ")
    assert line.endswith("**atlas** degraded")
    is_inert(trouble, text)
    made = registered_embed(settings, msgspec.structs.replace(REGISTERED, trouble=text or "-"))
    is_inert(made.fields[0].value or "", text)
    view = reload_embed(settings, ReloadView(warnings=(text,)))
    assert (view.fields[0].value or "").count("`") == 2


NODE = NodeStatus(
    id="1", name="atlas", state="degraded", desired="running", readiness="handshake", folder="atlas", bot_user_id="1"
)
REGISTERED = Registered(
    node_id="1", name="atlas", folder="atlas", bot_user_id="1", licence="FM1", invite_url="https://x"
)


@pytest.mark.parametrize("text", [*HOSTILE, "half \ud800"], ids=range(len(HOSTILE) + 1))
def test_no_line_of_the_masters_log_is_foreign(text: str) -> None:
    record = logging.makeLogRecord(
        {"name": "master", "levelname": "INFO", "msg": "said %s", "args": (text,), "why": text}
    )
    shown = KeyValueFormatter().format(record)
    assert UNSAFE.search(shown) is None
    extra = logging.makeLogRecord({"name": "master", "levelname": "INFO", "msg": "said", "why": text})
    assert "\n" not in KeyValueFormatter().format(extra)


async def test_a_hostile_node_a_hostile_person_and_every_list(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    home = house.services.settings.home
    monkeypatch.setenv("FLEET_HOME", str(home))
    made = await house.clone(OPERATOR, CloneRequest(name="atlas", token=house.token("atlas")))
    caller, server = Caller(house, made), ControlServer(home / "state" / "control.sock", house.operations)
    await server.start()
    following = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "master.cli", "events", "--stderr", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while not house.services.bus._subscriptions:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.01)
    for text in HOSTILE[3 : 3 + rounds(5)]:
        word = text[:100]
        await caller.says(caller.request(version=word, cogs_failed=(word,), python=word, library=word))
        await caller.says(Heartbeat(uptime_s=1.0, state="degraded", cogs_failed=(word,)))
        await caller.says(
            ErrorReport(
                source="command", where=word, exception=word, fingerprint="0123456789abcdef",
                message=text[:400], traceback=text[:4000],
            )
        )  # fmt: skip
        stranger = Actor(face="discord", identity=f"42{text}", name=text)
        with pytest.raises(NotAuthorised):
            await house.operations.run(nodes.stop, stranger, NamesParams(names=(text,)))
        for command in ("status", "status --json"):
            is_safe(await asyncio.to_thread(typed, command.split()), (command, text))
    await caller.says(ShutdownNotice(reason=HOSTILE[4]))
    for command in (
        "top",
        "history atlas",
        "audit show",
        "audit show --json",
        "ledger status",
        "logs",
        "logs --json",
        "ledger verify",
    ):
        told = await asyncio.to_thread(typed, command.split())
        is_safe(told, command)
        assert told.code == 0
    following.send_signal(signal.SIGTERM)
    out, err = await following.communicate()
    told = Told(0, out.decode(), err.decode())
    is_safe(told, "events")
    assert following.returncode == -signal.SIGTERM
    assert "\\x1b]52;c;ZXZpbA==\\x07" in told.out
    await server.close()
