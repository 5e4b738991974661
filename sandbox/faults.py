"""Fault injection for REST and gateway: errors, hang-ups, nonsense, outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web

from sandbox.gateway import Frame, Gateway
from sandbox.records import BotAccount

Change = Callable[[bytes], bytes]
"""Returns what is sent instead of an answer's body."""


@dataclass(slots=True, kw_only=True)
class _Rule:
    remaining: int
    method: str | None
    path_contains: str


@dataclass(slots=True, kw_only=True)
class _Answer(_Rule):
    status: int = 0
    retry_after_s: float = 0.0
    is_global: bool = False
    delay_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class _HangUp(_Rule):
    carried_out: bool


@dataclass(slots=True, kw_only=True)
class _Raw(_Rule):
    status: int
    body: bytes
    content_type: str
    headers: dict[str, str]


@dataclass(slots=True, kw_only=True)
class _Spoilt(_Rule):
    change: Change | None
    """None: half of the answer is sent, then the connection is broken."""


R = TypeVar("R", bound=_Rule)


class Faults:
    """Injects faults into REST and gateway.

    Parameters
    ----------
    go_away, come_back
        Stop listening and break all connections; listen again on the same port.
    """

    def __init__(
        self, gateway: Gateway, go_away: Callable[[], Awaitable[None]], come_back: Callable[[], Awaitable[None]]
    ) -> None:
        self._gateway = gateway
        self._go_away, self._come_back = go_away, come_back
        self._answers: list[_Answer] = []
        self._hang_ups: list[_HangUp] = []
        self._raw: list[_Raw] = []
        self._spoilt: list[_Spoilt] = []
        self.instead: Callable[[web.Request], Awaitable[web.StreamResponse | None]] | None = None
        """Decides for each request what is answered instead of carrying it out; None to carry it out."""

    # REST

    def answer_next(
        self,
        status: int,
        *,
        count: int = 1,
        method: str | None = None,
        path_contains: str = "",
        retry_after_s: float = 0.5,
        is_global: bool = False,
    ) -> None:
        """Answer the next ``count`` fitting requests with 429, 500, 502 or the like."""
        self._answers.append(
            _Answer(
                remaining=count,
                method=method,
                path_contains=path_contains,
                status=status,
                retry_after_s=retry_after_s,
                is_global=is_global,
            )
        )

    def answer_raw(
        self,
        body: bytes,
        *,
        status: int = 200,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        count: int = 1,
        method: str | None = None,
        path_contains: str = "",
    ) -> None:
        """Answer the next ``count`` fitting requests as a proxy may: HTML, cut JSON, anything. None is carried out."""
        self._raw.append(
            _Raw(
                remaining=count,
                method=method,
                path_contains=path_contains,
                status=status,
                body=body,
                content_type=content_type,
                headers=headers or {},
            )
        )

    def spoil(self, change: Change, *, count: int = 1, method: str | None = None, path_contains: str = "") -> None:
        """Carry out the next ``count`` fitting requests, and change the bodies of their answers."""
        self._spoilt.append(_Spoilt(remaining=count, method=method, path_contains=path_contains, change=change))

    def cut_off(self, *, count: int = 1, method: str | None = None, path_contains: str = "") -> None:
        """Carry out the next ``count`` fitting requests, and break the connection in the middle of their answers."""
        self._spoilt.append(_Spoilt(remaining=count, method=method, path_contains=path_contains, change=None))

    def hang_up(
        self, *, count: int = 1, method: str | None = None, path_contains: str = "", carried_out: bool = False
    ) -> None:
        """Break the connection of the next ``count`` fitting requests instead of answering.

        Parameters
        ----------
        carried_out
            Break it when the request is done already: who asked cannot know that.
        """
        self._hang_ups.append(
            _HangUp(remaining=count, method=method, path_contains=path_contains, carried_out=carried_out)
        )

    def delay(self, seconds: float, *, count: int = 1, method: str | None = None, path_contains: str = "") -> None:
        """Delay the next ``count`` matching requests."""
        self._answers.append(_Answer(remaining=count, method=method, path_contains=path_contains, delay_s=seconds))

    async def strike(self, method: str, path: str) -> tuple[int, dict[str, Any], dict[str, str]] | None:
        """Apply the rules to a request; returns the response that replaces the real one, if any."""
        while (rule := _next(self._answers, method, path)) is not None:
            if rule.delay_s:
                await asyncio.sleep(rule.delay_s)
                continue
            if rule.status == 429:
                body = {"message": "You are being rate limited.", "retry_after": rule.retry_after_s}
                headers = {"Retry-After": str(rule.retry_after_s)}
                headers |= {"X-RateLimit-Global": "true"} if rule.is_global else {"X-RateLimit-Scope": "shared"}
                return 429, {**body, "global": rule.is_global}, headers
            return rule.status, {"message": f"{rule.status}: Server Error", "code": 0}, {}
        return None

    async def before(self, request: web.Request) -> web.StreamResponse | None:
        """Return what is answered instead of carrying a request out; None to carry it out."""
        if self._hangs_up(request, carried_out=False):
            return hung_up(request)
        raw = _next(self._raw, request.method, request.path)
        if raw is None:
            return None if self.instead is None else await self.instead(request)
        headers = {"Content-Type": raw.content_type, "Via": "1.1 sandbox", **raw.headers}
        return web.Response(status=raw.status, body=raw.body, headers=headers)

    async def after(self, request: web.Request, answer: web.Response) -> web.StreamResponse:
        """Return what is sent for an answer."""
        if self._hangs_up(request, carried_out=True):
            return hung_up(request)
        spoilt = _next(self._spoilt, request.method, request.path)
        if spoilt is None:
            return answer
        body = answer.body if isinstance(answer.body, bytes) else b""
        if spoilt.change is None:
            return await cut_off(request, answer, body)
        answer.body = spoilt.change(body)
        return answer

    def _hangs_up(self, request: web.Request, *, carried_out: bool) -> bool:
        rules = [rule for rule in self._hang_ups if rule.carried_out is carried_out]
        return _next(rules, request.method, request.path) is not None

    # Gateway

    async def drop_connections(self, account: BotAccount | None = None, *, code: int = 1006) -> int:
        """Close gateway connections, without a close frame for 1006; returns how many."""
        return await self._gateway.drop(account, code)

    async def ask_reconnect(self, account: BotAccount) -> None:
        """Send opcode 7."""
        await self._gateway.ask_reconnect(account)

    async def invalidate_session(self, account: BotAccount, *, resumable: bool = False) -> None:
        """Send opcode 9."""
        await self._gateway.invalidate(account, resumable=resumable)

    def forget_sessions(self, account: BotAccount) -> None:
        """Keep a bot's sessions connected, but refuse to resume them."""
        self._gateway.forget_sessions(account)

    def refuse_identify(self, account: BotAccount, code: int, *, count: int = 1) -> None:
        """Close the bot's next connections at their IDENTIFY with a code such as 4004 or 4014."""
        self._gateway.refuse_identify(account, code, count)

    def withhold_heartbeat_acks(self, account: BotAccount, *, withhold: bool = True) -> None:
        """Stop acknowledging a bot's heartbeats."""
        self._gateway.withhold_acks(account, withhold=withhold)

    def refuse_gateway(self, *, count: int = 1, status: int | None = None) -> None:
        """Refuse the next ``count`` WebSockets with a status, or break their connections when it is None."""
        self._gateway.refusals.extend([status] * count)

    def spoil_frames(self, change: Callable[[bytes], Frame] | None) -> None:
        """Change every payload that the gateway sends: other bytes, a raw frame, or a close code. None ends it."""
        self._gateway.change = change

    def send_frame(self, account: BotAccount, frame: Frame) -> None:
        """Send a payload to a bot's connections, however wrong it is."""
        self._gateway.send_frame(account, frame)

    # Both

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Be unreachable: break all connections and refuse new ones until the context ends."""
        await self._go_away()
        try:
            yield
        finally:
            await self._come_back()


def _next(rules: list[R], method: str, path: str) -> R | None:
    """Return the first rule that fits a request, counted as used."""
    for rule in rules:
        if rule.remaining > 0 and rule.method in (None, method) and rule.path_contains in path:
            rule.remaining -= 1
            return rule
    return None


def hung_up(request: web.Request) -> web.Response:
    """Break a request's connection; returns what nobody reads."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def cut_off(request: web.Request, answer: web.Response, body: bytes) -> web.StreamResponse:
    """Send the first half of an answer, and break the connection."""
    headers = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
    half = web.StreamResponse(status=answer.status, headers=headers)
    half.content_length = max(len(body), 2)
    await half.prepare(request)
    await half.write(body[: len(body) // 2] or b"{")
    if request.transport is not None:
        # Not abort(): what is written arrives first.
        request.transport.close()
    return half
