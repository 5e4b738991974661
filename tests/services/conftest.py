"""All services over a real ledger, a real sandbox and real processes, in one process."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from handshake.redaction import Secret
from master.bot.forms import post_form
from master.bot.token_inspector import DiscordTokenInspector
from master.bus import EventBus
from master.configuration.settings import (
    ChannelSettings,
    DatabaseSettings,
    DiscordSettings,
    IdentitySettings,
    LicenceTier,
    PeopleSettings,
    Settings,
    SupervisionSettings,
)
from master.ledger.database import Ledger
from master.operations import onboarding
from master.operations.operation import Operation, Operations, Tell
from master.operations.parameters import DuplicateParams, NamesParams, RegisterParams
from master.security.derivation import check_master_secret, new_master_secret
from master.services.container import DiscordView, Services, build_services
from master.services.core.actors import Actor
from master.services.core.auditing import audit_chain_of
from master.services.core.views import ActionResult, FleetEvent, Registered
from master.services.onboarding.saga import CloneRequest, RegisterRequest
from master.supervision.clock import Clock, SystemClock
from master.supervision.spawner import PlainSpawner, Spawner
from sandbox import BotHandle, Sandbox

OPERATOR = Actor(face="cli", identity="root", name="root", owns_box=True)
STRANGER = Actor(face="discord", identity="42", name="mallory")
MASTER_ID = 777_777_777_777_777_777
QUIET_BOT = "import signal; signal.pause()\n"


@dataclass
class House:
    """A master's services, and what is around them."""

    operations: Operations[Services]
    sandbox: Sandbox
    base: Path
    template: Path

    @property
    def services(self) -> Services:
        return self.operations.services

    async def clone(self, actor: Actor, request: CloneRequest, tell: Callable[[str], None] | None = None) -> Registered:
        wanted = DuplicateParams(
            name=request.name,
            token=request.token.reveal(),
            source=request.source,
            tier=request.tier,
            tags=request.tags,
            start=request.start,
        )
        return await self.operations.run(onboarding.duplicate, actor, wanted, tell=_steps(tell))

    async def register(
        self, actor: Actor, request: RegisterRequest, tell: Callable[[str], None] | None = None
    ) -> Registered:
        wanted = RegisterParams(
            name=request.name,
            token="" if request.token is None else request.token.reveal(),
            no_token=request.token is None,
            options=dict(request.options),
            environment=dict(request.environment),
            folder=request.folder,
            entry=request.entry,
            readiness=request.readiness,
            link=request.link,
            token_env=request.token_env,
            tier=request.tier,
            tags=request.tags,
            start=request.start,
        )
        return await self.operations.run(onboarding.register, actor, wanted, tell=_steps(tell))

    async def act(
        self, actor: Actor, operation: Operation[NamesParams, list[ActionResult], Services], name: str
    ) -> ActionResult:
        (result,) = await self.operations.run(operation, actor, NamesParams(names=(name,)))
        return result

    def token(self, name: str = "bot") -> Secret[str]:
        return Secret(self.bot(name).token)

    def bot(self, name: str = "bot") -> BotHandle:
        return self.sandbox.create_bot(name)

    def folders(self) -> list[str]:
        return sorted(path.name for path in self.base.iterdir()) if self.base.exists() else []


def _steps(tell: Callable[[str], None] | None) -> Tell:
    async def forward(event: FleetEvent) -> None:
        if tell is not None:
            tell(event.detail)

    return forward


def settings_in(folder: Path, sandbox: Sandbox, empty_ledger: Path) -> Settings:
    template = folder / "template"
    (template / "cogs").mkdir(parents=True)
    (template / "bot.py").write_text(QUIET_BOT)
    (template / "VERSION").write_text("9.9\n")
    (template / "cogs" / "one.py").write_text("x = 1\n")
    (template / ".env").write_text("SECRET=never cloned\n")
    state = folder / "state"
    state.mkdir(mode=0o700)
    shutil.copy(empty_ledger, state / "ledger.db")
    return Settings(
        home=folder,
        state_dir=state,
        database=DatabaseSettings(url=Secret(f"sqlite:///{state / 'ledger.db'}")),
        identity=IdentitySettings(
            bots_base_path=folder / "bots",
            template_path=template,
            guild_id=0,
            master_secret=Secret(check_master_secret(new_master_secret())),
        ),
        channels=ChannelSettings(verify=1),
        operators=PeopleSettings(user_ids=frozenset({7}), role_ids=frozenset({8})),
        supervision=SupervisionSettings(grace_s=1.0),
        discord=DiscordSettings(api_base=sandbox.api_base, gateway_url=sandbox.gateway_url),
        licence_tiers=(LicenceTier(name="standard"), LicenceTier(name="trial", days=14)),
    )


@asynccontextmanager
async def open_house(
    settings: Settings,
    sandbox: Sandbox,
    discord: DiscordView | None = None,
    spawner: Spawner | None = None,
    *,
    spool_dir: Path | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[House]:
    bus = EventBus()
    chain = audit_chain_of(settings)
    ledger = await Ledger.open(settings.database, chain=chain, spool_dir=spool_dir, bus=bus)
    services = build_services(
        settings,
        ledger,
        bus=bus,
        spawner=spawner or PlainSpawner(),
        inspector=DiscordTokenInspector(settings.discord.api_base),
        discord=discord or DiscordView(user_id=lambda: MASTER_ID, state=lambda: "off"),
        clock=clock or SystemClock(),
        post_form=post_form,
    )
    lasting = (
        services.supervisor.run,
        services.ready_signs.run,
        services.error_monitor.run,
        services.error_groups.run,
    )
    tasks = [asyncio.create_task(work()) for work in lasting]
    await asyncio.sleep(0)
    try:
        yield House(Operations(services), sandbox, settings.identity.bots_base_path, settings.identity.template_path)
    finally:
        await services.supervisor.stop_all()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await ledger.close()


@pytest.fixture
def house_settings(tmp_path: Path, sandbox: Sandbox, empty_ledger: Path) -> Settings:
    return settings_in(tmp_path, sandbox, empty_ledger)


@pytest.fixture
async def house(house_settings: Settings, sandbox: Sandbox) -> AsyncIterator[House]:
    async with open_house(house_settings, sandbox) as opened:
        yield opened
