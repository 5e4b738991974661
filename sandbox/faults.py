"""Fault injection for REST and gateway."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from sandbox.gateway import Gateway
from sandbox.records import BotAccount


@dataclass(slots=True)
class _Rule:
    remaining: int
    method: str | None
    path_contains: str
    status: int = 0
    retry_after_s: float = 0.0
    is_global: bool = False
    delay_s: float = 0.0


@dataclass(slots=True)
class _HangUp:
    remaining: int
    method: str | None
    path_contains: str
    carried_out: bool


class Faults:
    """Injects faults into REST and gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._rules: list[_Rule] = []
        self._hang_ups: list[_HangUp] = []

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
        self._rules.append(
            _Rule(count, method, path_contains, status=status, retry_after_s=retry_after_s, is_global=is_global)
        )

    def hang_up(
        self, *, count: int = 1, method: str | None = None, path_contains: str = "", carried_out: bool = False
    ) -> None:
        """Break the connection of the next ``count`` fitting requests instead of answering.

        Parameters
        ----------
        carried_out
            Break it when the request is done already: who asked cannot know that.
        """
        self._hang_ups.append(_HangUp(count, method, path_contains, carried_out))

    def hangs_up(self, method: str, path: str, *, carried_out: bool) -> bool:
        """Tell whether to break this request's connection, before or after it is carried out."""
        for rule in self._hang_ups:
            if rule.carried_out is carried_out and _fits(rule, method, path):
                rule.remaining -= 1
                return True
        return False

    def delay(self, seconds: float, *, count: int = 1, method: str | None = None, path_contains: str = "") -> None:
        """Delay the next ``count`` matching requests."""
        self._rules.append(_Rule(count, method, path_contains, delay_s=seconds))

    async def strike(self, method: str, path: str) -> tuple[int, dict[str, Any], dict[str, str]] | None:
        """Apply the rules to a request; returns the response that replaces the real one, if any."""
        for rule in self._rules:
            if not _fits(rule, method, path):
                continue
            rule.remaining -= 1
            if rule.delay_s:
                await asyncio.sleep(rule.delay_s)
                continue
            if rule.status == 429:
                body = {"message": "You are being rate limited.", "retry_after": rule.retry_after_s}
                headers = {"Retry-After": str(rule.retry_after_s)}
                headers |= {"X-RateLimit-Global": "true"} if rule.is_global else {"X-RateLimit-Scope": "shared"}
                return 429, {**body, "global": rule.is_global}, headers
            return rule.status, {"message": f"{rule.status}: Server Error", "code": 0}, {}
        self._rules = [rule for rule in self._rules if rule.remaining > 0]
        return None

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


def _fits(rule: _Rule | _HangUp, method: str, path: str) -> bool:
    return rule.remaining > 0 and rule.method in (None, method) and rule.path_contains in path
