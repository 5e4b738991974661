"""Operations that add nodes to the fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from master.operations.operation import Audit, Call, operation
from master.operations.parameters import DuplicateParams, RegisterParams
from master.services.core.permissions import Permission
from master.services.core.views import FleetEvent, Registered

if TYPE_CHECKING:
    from master.services.container import Services


@operation("register", parameters=RegisterParams, result=Registered, permission=Permission.OPERATE, audit=Audit.ONE_ROW)
async def register(call: Call[Services], parameters: RegisterParams) -> Registered:
    """Add a bot to the fleet: from an existing folder, or with a new one from the template."""
    from handshake.redaction import Secret
    from master.services.core.errors import FolderRefused, LinkRefused, TokenRefused
    from master.services.onboarding.saga import RegisterRequest

    if parameters.no_token and parameters.token:
        raise TokenRefused("a token was given, and none is wanted", hint="leave out the token, or no_token")
    if not parameters.folder and parameters.link:
        raise LinkRefused(
            "a node from the template speaks the protocol: there is nothing to link", hint="name a folder"
        )
    if not parameters.folder and (parameters.no_token or parameters.options or parameters.environment):
        raise FolderRefused(
            "a node from the template is a Discord bot of its own kind",
            hint="name a folder; or register it first, and change it with `fleet edit`",
        )
    if not parameters.folder:
        call.entry.action = duplicate.audit_name
        return await _clone(call, parameters, "")
    request = RegisterRequest(
        name=parameters.name,
        token=None if parameters.no_token else Secret(parameters.token),
        folder=parameters.folder,
        entry=parameters.entry,
        readiness=parameters.readiness,
        link=parameters.link,
        token_env=parameters.token_env,
        options=parameters.options,
        environment=parameters.environment,
        tier=parameters.tier,
        tags=parameters.tags,
        start=parameters.start,
    )
    onboarding = call.services.onboarding
    return await _with_steps(call, parameters.name, lambda tell: onboarding.register(call.entry, request, tell))


@operation(
    "dup",
    parameters=DuplicateParams,
    result=Registered,
    permission=Permission.OPERATE,
    audit=Audit.ONE_ROW,
    audit_name="duplicate",
)
async def duplicate(call: Call[Services], parameters: DuplicateParams) -> Registered:
    """Make a new node from the template, or from another node."""
    return await _clone(call, parameters, parameters.source)


async def _clone(call: Call[Services], parameters: RegisterParams | DuplicateParams, source: str) -> Registered:
    from handshake.redaction import Secret
    from master.services.onboarding.saga import CloneRequest

    request = CloneRequest(
        name=parameters.name,
        token=Secret(parameters.token),
        source=source,
        tier=parameters.tier,
        tags=parameters.tags,
        start=parameters.start,
    )
    onboarding = call.services.onboarding
    return await _with_steps(call, parameters.name, lambda tell: onboarding.clone(call.entry, request, tell))


async def _with_steps(
    call: Call[Services], node: str, begin: Callable[[Callable[[str], None]], Awaitable[Registered]]
) -> Registered:
    """Run a saga, and send each step to the caller as it begins."""
    steps: asyncio.Queue[str] = asyncio.Queue()

    async def forward() -> None:
        while True:
            step = await steps.get()
            at = call.services.clock.now().timestamp()
            await call.tell(FleetEvent(at=at, kind="step", node=node, detail=step))

    forwarding = asyncio.create_task(forward())
    try:
        return await begin(steps.put_nowait)
    finally:
        forwarding.cancel()
        await asyncio.gather(forwarding, return_exceptions=True)
