"""The demo's environment: set-up, and clean-up in every case."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from handshake.sockets import short_path
from master.configuration.settings import TEMPLATE_PATH
from master.control.client import ControlClient
from master.control.key import known_key
from master.control.protocol import Request
from master.demonstration.owner import PREFIX, Owner, kill_below
from master.errors import FleetError
from master.operations.parameters import NamesParams, RegisterParams, StatusParams
from master.security.derivation import new_master_secret
from master.services.core.views import ActionResult, FleetEvent, FleetStatus, NodeStatus, Registered
from sandbox import BotHandle, ChannelHandle, GuildHandle, Person, Sandbox
from sandbox.intents import MESSAGE_CONTENT
from sandbox.permissions import EVERYONE_DEFAULT, MANAGE_CHANNELS, MANAGE_ROLES, VIEW_AUDIT_LOG

NAMES = (
    "atlas",
    "borealis",
    "cassini",
    "dione",
    "europa",
    "fornax",
    "galatea",
    "hydra",
    "io",
    "juno",
    "kepler",
    "lyra",
    "mimas",
    "nereid",
    "orion",
    "pandora",
    "quasar",
    "rigel",
    "sirius",
    "titan",
    "umbriel",
    "vega",
    "wezen",
    "xenia",
    "yildun",
    "zosma",
)

_CONFIG = '''\
"""The demo's temporary fleet."""

import os

IDENTITY = {{
    "GUILD_ID": {guild_id},
    "TEMPLATE_PATH": {template!r},
    "MASTER_SECRET": os.environ["MASTER_SECRET"],
    "MASTER_TOKEN": os.environ["MASTER_TOKEN"],
}}
CHANNELS = {{"VERIFY": {verify_id}, "PATCH": {patch_id}, "LOG": {log_id}}}
OPERATORS = {{"USERS": [{operator_id}]}}
SUPERVISION = {{"PULSE_INTERVAL_S": {pulse_s}, "MERGE_MEMORY": {merge_memory}}}
HANDSHAKE = {{"TRANSPORT": "{transport}", "CHANNEL_PULSE_INTERVAL_S": {channel_pulse_s}}}
SELFFIX = {{"DEBOUNCE_S": 0.2}}
DISCORD = {{"API_BASE": "{api_base}", "GATEWAY_URL": "{gateway_url}"}}
'''

MASTER_START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0


class StageError(FleetError):
    """The demo could not continue."""

    code = "demo_failed"


@dataclass(frozen=True, slots=True)
class Master:
    """The master's process."""

    process: asyncio.subprocess.Process
    log_path: Path


class Stage:
    """A sandbox in this process, and a real master with real nodes in their own, in a temporary folder.

    Parameters
    ----------
    keep
        A folder to use as the home instead; it is kept.
    pulse_s
        The nodes' pulse interval; short, so that people can watch it.
    transport
        ``auto``, ``local`` or ``channel``.
    channel_pulse_s
        The pulse interval of nodes that have nothing but VERIFY_CHANNEL.
    ledger
        A SQLite ledger to copy as the initial one; None: the master creates one.
    merge_memory
        Turn on kernel same-page merging where permitted. It affects the whole box, so it is off by default.
    program
        The module that is run as the master.
    """

    def __init__(
        self,
        *,
        keep: Path | None = None,
        pulse_s: float = 2.0,
        transport: str = "auto",
        channel_pulse_s: float = 5.0,
        ledger: Path | None = None,
        merge_memory: bool = False,
        program: str = "master",
    ) -> None:
        self._keep = keep
        self._program = program
        self._merge_memory = merge_memory
        self._ledger = ledger
        self._transport = transport
        self._channel_pulse_s = channel_pulse_s
        self._pulse_s = pulse_s
        self._owner = Owner()
        self.sandbox = Sandbox()
        self.home = Path()
        self.master: Master | None = None
        self.bots: dict[str, BotHandle] = {}
        self.operator: Person
        self.guild: GuildHandle
        self.verify: ChannelHandle
        self.patch: ChannelHandle
        self.log: ChannelHandle
        self.master_bot: BotHandle

    async def __aenter__(self) -> Self:
        await self.sandbox.start()
        try:
            self._set_up()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    def _set_up(self) -> None:
        self.operator = self.sandbox.create_human("ada")
        self.guild = self.sandbox.create_guild("Fleet HQ", owner=self.operator)
        self.verify = self.guild.create_channel("verify")
        self.patch, self.log = self.guild.create_channel("patch"), self.guild.create_channel("fleet-log")
        self.office = self.guild.create_channel("operators")
        bits = EVERYONE_DEFAULT | MANAGE_CHANNELS | MANAGE_ROLES | VIEW_AUDIT_LOG
        self.master_bot = self.create_bot("Fleetmaster", privileged_intents=MESSAGE_CONTENT, bits=bits)
        if self._keep is not None:
            if self._keep.exists() and any(self._keep.iterdir()):
                raise StageError(f"{self._keep} is not empty", hint="name a new folder for --keep")
            self._keep.mkdir(parents=True, exist_ok=True)
            self.home = self._keep.resolve()
        else:
            self.home = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._owner.claim(self.home)
        config = _CONFIG.format(
            guild_id=self.guild.id,
            template=str(self._copy_template()),
            verify_id=self.verify.id,
            patch_id=self.patch.id,
            log_id=self.log.id,
            operator_id=self.operator.id,
            pulse_s=self._pulse_s,
            merge_memory=self._merge_memory,
            transport=self._transport,
            channel_pulse_s=self._channel_pulse_s,
            api_base=self.sandbox.api_base,
            gateway_url=self.sandbox.gateway_url,
        )
        (self.home / "config.py").write_text(config, "utf-8")
        if self._ledger is not None:
            (self.home / "state").mkdir(mode=0o700)
            shutil.copy(self._ledger, self.home / "state" / "ledger.db")
        descriptor = os.open(self.home / ".env", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(f"MASTER_SECRET={new_master_secret()}\nMASTER_TOKEN={self.master_bot.token}\n")

    def _copy_template(self) -> Path:
        """Copy the template into the home: a patch that is for all is for it too."""
        template = self.home / "template"
        shutil.copytree(TEMPLATE_PATH, template, ignore=shutil.ignore_patterns("__pycache__"))
        return template

    def create_bot(self, name: str, *, privileged_intents: int = 0, bits: int = EVERYONE_DEFAULT) -> BotHandle:
        """Create an application and invite its bot."""
        bot = self.sandbox.create_bot(name, privileged_intents=privileged_intents, owner=self.operator)
        self.guild.add_bot(bot, bits=bits)
        self.bots[name] = bot
        return bot

    async def start_master(self) -> None:
        """Start a master, as ``fleet run`` does after checking the config, and wait for its socket.

        Raises
        ------
        StageError
        """
        log_path = self.home / "master.log"
        with log_path.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._program,
                "--home",
                str(self.home),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"MALLOC_ARENA_MAX": "1", **os.environ},
            )
        self.master = Master(process, log_path)
        ready = asyncio.ensure_future(self._wait_until_answering())
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait({ready, ended}, timeout=MASTER_START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise StageError(f"the master ended with {process.returncode} before it was up", hint=self.log_tail())
            if not ready.done():
                raise StageError("the master did not come up", hint=self.log_tail())
            await ready
        finally:
            for waiting in (ready, ended):
                waiting.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)

    async def _wait_until_answering(self) -> None:
        """Wait until the master answers calls and is connected to Discord."""
        while True:
            try:
                status = await self.status()
            except FleetError:
                status = None
            if status is not None and status.master.discord not in ("connecting", "off"):
                return  # ready, or refused for good
            await asyncio.sleep(0.02)

    @property
    def client(self) -> ControlClient:
        """A client of the master's socket."""
        return ControlClient(self.home / "state" / "control.sock")

    async def status(self) -> FleetStatus:
        """Return the master's full status."""
        return await asyncio.to_thread(self.client.call, "status", StatusParams(), answer=FleetStatus, timeout_s=10.0)

    async def node(self, name: str) -> NodeStatus:
        """Return one node.

        Raises
        ------
        StageError
        """
        for node in (await self.status()).nodes:
            if node.name == name:
                return node
        raise StageError(f"the master knows no {name}")

    async def register(self, name: str) -> Registered:
        """Create a bot, invite it, and register it through the control socket."""
        self.create_bot(name)
        return await self.duplicate(name)

    async def duplicate(self, name: str) -> Registered:
        """Register an existing bot."""
        params = RegisterParams(name=name, token=self.bots[name].token)
        return await asyncio.to_thread(self.client.call, "register", params, answer=Registered, timeout_s=60.0)

    async def act(self, verb: str, names: Sequence[str]) -> list[ActionResult]:
        """Apply an action to many nodes, like ``fleet start``."""
        params = NamesParams(names=tuple(names))
        return await asyncio.to_thread(self.client.call, verb, params, answer=list[ActionResult], timeout_s=300.0)

    def listen(self) -> EventTap:
        """Return a subscription to the master's events."""
        return EventTap(self.home / "state" / "control.sock")

    def log_tail(self, lines: int = 12) -> str:
        """Return the end of the master's log."""
        if self.master is None or not self.master.log_path.exists():
            return ""
        return "\n".join(self.master.log_path.read_text("utf-8", "replace").splitlines()[-lines:])

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_master()
        await self.sandbox.close()
        if not self.kept and self.home != Path():
            await asyncio.to_thread(shutil.rmtree, self.home, ignore_errors=True)
        self._owner.release()

    @property
    def kept(self) -> bool:
        """Tell whether the home stays when the stage is left."""
        return self._keep is not None

    async def _stop_master(self) -> None:
        """Stop the master and its nodes gracefully, or by force if that fails."""
        if self.master is None:
            return
        process = self.master.process
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await asyncio.to_thread(kill_below, self.home)


class EventTap:
    """A subscription to the master's events: records them, and waits for one without polling."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reading: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.events: list[FleetEvent] = []

    async def __aenter__(self) -> Self:
        with short_path(self._path) as name:
            reader, self._writer = await asyncio.open_unix_connection(name, limit=1 << 20)
        request = Request("events", key=known_key(self._path.parent))
        self._writer.write(msgspec.json.encode(request) + b"\n")
        await self._writer.drain()
        self._reading = asyncio.create_task(self._read(reader))
        return self

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            data: Any = msgspec.json.decode(line).get("data")
            if data is not None:
                self.events.append(msgspec.convert(data, FleetEvent))
                self._changed.set()
                self._changed = asyncio.Event()

    async def wait_for(
        self, kind: str, node: str | None, *, detail: str = "", since: int = 0, timeout_s: float = 30.0
    ) -> FleetEvent:
        """Wait for an event of that kind and node whose detail contains ``detail``, from index ``since`` on.

        Parameters
        ----------
        node
            The name of a node; None: whichever it is.

        Raises
        ------
        StageError
        """

        async def wait() -> FleetEvent:
            while True:
                for event in self.events[since:]:
                    if event.kind == kind and node in (None, event.node) and detail in event.detail:
                        return event
                await self._changed.wait()

        try:
            async with asyncio.timeout(timeout_s):
                return await wait()
        except TimeoutError:
            raise StageError(f"{node or detail}: no event {kind!r} within {timeout_s:g} s") from None

    async def __aexit__(self, *_: object) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()
