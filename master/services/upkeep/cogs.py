"""The master's cogs: each is loaded by itself, tried again when that fails, and can be switched off.

What a cog is, only the host knows (:class:`CogHost`, a connection's bot); this keeps what is known of them for as long
as the master lives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol

import msgspec

from handshake.files import read_regular
from master.durable import replace_file
from master.errors import ExitCode
from master.events import AlertLevel
from master.services.core.alerts import Alerts
from master.services.core.cog_views import CogState, CogView
from master.services.core.errors import ServiceError
from master.supervision.clock import Clock
from master.wording import duration

log = logging.getLogger(__name__)

REQUIRED = {
    "fleet": "it has /fleet cogs, which would enable it again",
    "listener": "nodes that have nothing but VERIFY_CHANNEL could not prove themselves",
}
"""Cogs that cannot be disabled, and why."""
RETRY_FIRST_S, RETRY_CAP_S = 10.0, 900.0
START_WITHIN_S = 3.0
"""How long the connection waits for cogs to be loaded; who takes longer comes later."""
SETTLE_WITHIN_S = 1.5
"""Discord wants an answer to a press within three seconds."""
TOLD_AT = (1, 10, 100, 1_000)
"""At how many errors while it runs an alert tells of a cog."""
_MAX_BYTES = 1 << 16


class CogBroken(ServiceError):
    """A cog could not be loaded.

    Parameters
    ----------
    why
        The exception and its message.
    old_runs
        Whether the one from before a reload runs on.
    trace
        Where it happened, for a log.
    """

    code: ClassVar[str] = "cog_broken"

    def __init__(self, name: str, why: str, *, old_runs: bool = False, trace: str = "") -> None:
        hint = "the old one runs on" if old_runs else "it is tried again by itself; `fleet cogs` shows when"
        super().__init__(f"the cog {name} could not be loaded: {why}", hint=hint)
        self.name = name
        self.why = why
        self.old_runs = old_runs
        self.trace = trace


class NoSuchCog(ServiceError):
    """The master has no cog of that name."""

    code: ClassVar[str] = "no_such_cog"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class CogRefused(ServiceError):
    """The cog cannot be disabled, or is disabled, or there is no connection to load it for."""

    code: ClassVar[str] = "cog_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class CogHost(Protocol):
    """Loads cogs into the bot of one connection."""

    def names(self) -> Iterable[str]:
        """Return the names of all cogs that there are."""
        ...

    async def load(self, name: str) -> None:
        """Load a cog, whole or not at all.

        Raises
        ------
        CogBroken
        """
        ...

    async def unload(self, name: str) -> None:
        """Take a cog out, with its listeners, commands and tasks."""
        ...

    async def reload(self, name: str) -> None:
        """Load a cog's code anew; raises ``CogBroken``, and the old one runs on where that is possible."""
        ...

    def commands(self, name: str) -> tuple[str, ...]:
        """Return the slash commands of a cog, also of one that was loaded once."""
        ...

    async def register(self) -> None:
        """Have Discord show the commands of the cogs that are there."""
        ...


class Disabled(msgspec.Struct, frozen=True):
    """When an operator disabled a cog, and who."""

    at: datetime
    by: str


class _OnDisk(msgspec.Struct, frozen=True):
    disabled: dict[str, Disabled] = {}


@dataclass(slots=True)
class _Cog:
    """What is known of one cog."""

    name: str
    state: CogState = CogState.WAITING
    why: str = ""
    tries: int = 0
    next_try_at: float | None = None
    told: bool = False
    """Whether an alert told that it failed, and none that it is back."""
    failures: int = 0
    last_failure: str = ""
    last_failure_at: float | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Cogs:
    """Have cogs loaded, tried again, switched off and on.

    Parameters
    ----------
    names
        All cogs that there are.
    path
        Where is kept which of them are disabled.
    """

    def __init__(self, names: Iterable[str], path: Path, alerts: Alerts, clock: Clock) -> None:
        self._path = path
        self._alerts = alerts
        self._clock = clock
        self._disabled = _read(path)
        self._cogs: dict[str, _Cog] = {}
        self._host: CogHost | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._learn(names)

    def _learn(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._cogs:
                # One that has become required since is loaded.
                is_off = name in self._disabled and name not in REQUIRED
                self._cogs[name] = _Cog(name, CogState.DISABLED if is_off else CogState.WAITING)

    # A connection comes and goes

    async def attach(self, host: CogHost) -> None:
        """Load all cogs side by side; returns once they are loaded, or after a few seconds, and goes on meanwhile."""
        self._host = host
        self._learn(host.names())
        wanted = [cog for cog in self._cogs.values() if cog.state is not CogState.DISABLED]
        for cog in wanted:
            cog.state = CogState.LOADING
        loading = [self._begin(cog, host) for cog in wanted]
        if loading:
            _, late = await asyncio.wait(loading, timeout=START_WITHIN_S)
            for task in late:
                task.add_done_callback(lambda _task: self._register_soon(host))

    async def detach(self, host: CogHost) -> None:
        """Note that a connection's bot is gone, and its cogs with it."""
        if self._host is not host:
            return
        self._host = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for cog in self._cogs.values():
            if cog.state is not CogState.DISABLED:
                cog.state, cog.next_try_at = CogState.WAITING, None

    async def run(self) -> None:
        """Try those again that failed, when it is their time; until cancelled."""
        while True:
            now = self._clock.monotonic()
            due = [cog for cog in self._cogs.values() if cog.next_try_at is not None and cog.next_try_at <= now]
            host = self._host
            if host is not None and due:
                tasks = [self._begin(cog, host) for cog in due]
                await asyncio.wait(tasks)
                if any(cog.state is CogState.LOADED for cog in due):
                    await host.register()
                continue
            waits = [cog.next_try_at - now for cog in self._cogs.values() if cog.next_try_at is not None]
            self._changed.clear()
            try:
                async with asyncio.timeout(min(waits) if waits and host is not None else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _begin(self, cog: _Cog, host: CogHost) -> asyncio.Task[None]:
        return self._keep(asyncio.create_task(self._load(cog, host), name=f"cog {cog.name}"))

    def _register_soon(self, host: CogHost) -> None:
        if self._host is host:
            self._keep(asyncio.create_task(host.register(), name="command registration"))

    def _keep(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the work on a cog failed", extra={"task": task.get_name()}, exc_info=error)

    async def _load(self, cog: _Cog, host: CogHost) -> None:
        async with cog.lock:
            if self._host is not host or cog.state in (CogState.LOADED, CogState.DISABLED):
                return
            try:
                await self._try(cog, host)
            except CogBroken as error:
                log.error(
                    "a cog could not be loaded",
                    extra={"cog": cog.name, "why": error.why, "tries": cog.tries},
                    exc_info=error.__cause__ if cog.tries == 1 else None,
                )

    async def _try(self, cog: _Cog, host: CogHost) -> None:
        """Load a cog, and note how it went; its lock is held."""
        cog.state, cog.next_try_at = CogState.LOADING, None
        try:
            await host.load(cog.name)
        except CogBroken as error:
            self._failed(cog, error)
            raise
        cog.state, cog.why, cog.tries = CogState.LOADED, "", 0
        if cog.told:
            cog.told = False
            self._alerts.raise_alert(
                AlertLevel.SUCCESS, f"The cog {cog.name} is loaded again", key=f"cog:{cog.name}:back"
            )

    def _failed(self, cog: _Cog, error: CogBroken) -> None:
        cog.tries += 1
        delay_s = min(RETRY_FIRST_S * 2.0 ** min(cog.tries - 1, 20), RETRY_CAP_S)
        cog.state, cog.why, cog.next_try_at = CogState.FAILED, error.why, self._clock.monotonic() + delay_s
        self._changed.set()
        if cog.told:
            return
        cog.told = True
        host = self._host
        commands = ", ".join(f"/{name}" for name in (host.commands(cog.name) if host is not None else ()))
        text = f"{error.why}\nAll others run. It is tried again after {duration(delay_s)}, then more rarely."
        if commands:
            text += f"\n{commands}: stays listed in Discord, and answers that it is not there now."
        self._alerts.raise_alert(
            AlertLevel.ERROR,
            f"The cog {cog.name} could not be loaded",
            key=f"cog:{cog.name}:failed",
            text=text,
            quote=error.trace,
        )

    # What operators ask for

    def listing(self) -> list[CogView]:
        """Return all cogs: those in trouble first, then by name."""
        ordered = sorted(self._cogs.values(), key=lambda cog: (not _is_troubled(cog), cog.name))
        return [self._view(cog) for cog in ordered]

    def _view(self, cog: _Cog) -> CogView:
        why = cog.why
        if cog.state is CogState.DISABLED and (noted := self._disabled.get(cog.name)) is not None:
            why = f"disabled by {noted.by}, {noted.at:%Y-%m-%d %H:%M} UTC"
        next_try_s = None if cog.next_try_at is None else max(0.0, cog.next_try_at - self._clock.monotonic())
        return CogView(
            name=cog.name,
            state=cog.state,
            commands=self._host.commands(cog.name) if self._host is not None else (),
            required=REQUIRED.get(cog.name, ""),
            why=why,
            tries=cog.tries,
            next_try_in_s=None if next_try_s is None else round(next_try_s, 1),
            failures=cog.failures,
            last_failure=cog.last_failure,
            last_failure_at=cog.last_failure_at,
        )

    async def reload(self, name: str) -> CogView:
        """Load a cog's code anew, or try one again that failed.

        Raises
        ------
        NoSuchCog
        CogRefused
            It is disabled, or the master is not logged in to Discord.
        CogBroken
        """
        cog, host = self._find(name), self._host
        if host is None:
            raise CogRefused(
                "the master is not logged in to Discord", hint="cogs are loaded once it is; `fleet status` shows it"
            )
        async with cog.lock:
            if cog.state is CogState.DISABLED:
                raise CogRefused(f"the cog {cog.name} is disabled", hint=f"fleet cogs enable {cog.name}")
            if cog.state is CogState.LOADED:
                await self._replace(cog, host)
            else:
                await self._try(cog, host)
        await host.register()
        return self._view(cog)

    async def _replace(self, cog: _Cog, host: CogHost) -> None:
        # Its commands are kept at Discord meanwhile.
        cog.state = CogState.LOADING
        try:
            await host.reload(cog.name)
        except CogBroken as error:
            if error.old_runs:
                cog.state = CogState.LOADED
            else:
                self._failed(cog, error)
            raise
        cog.state = CogState.LOADED
        cog.failures, cog.last_failure, cog.last_failure_at = 0, "", None

    async def disable(self, name: str, *, actor: str) -> CogView:
        """Switch a cog off, until it is enabled again; Discord does not show its commands any more.

        Raises
        ------
        NoSuchCog
        CogRefused
            It is required, or the state folder cannot be written.
        """
        cog = self._find(name)
        if cog.name in REQUIRED:
            raise CogRefused(f"the cog {cog.name} cannot be disabled: {REQUIRED[cog.name]}")
        async with cog.lock:
            if cog.state is not CogState.DISABLED:
                self._write({**self._disabled, cog.name: Disabled(self._clock.now(), actor)})
                was_loaded, host = cog.state is CogState.LOADED, self._host
                cog.state, cog.next_try_at, cog.told, cog.tries = CogState.DISABLED, None, False, 0
                if host is not None and was_loaded:
                    await host.unload(cog.name)
        if self._host is not None:
            await self._host.register()
        return self._view(cog)

    async def enable(self, name: str) -> CogView:
        """Switch a cog on again.

        Raises
        ------
        NoSuchCog
        CogRefused
            The state folder cannot be written.
        CogBroken
            It is enabled, and could not be loaded.
        """
        cog = self._find(name)
        async with cog.lock:
            if cog.state is CogState.DISABLED:
                self._write({other: noted for other, noted in self._disabled.items() if other != cog.name})
                cog.state, cog.why = CogState.WAITING, ""
                if self._host is not None:
                    await self._try(cog, self._host)
        if self._host is not None:
            await self._host.register()
        return self._view(cog)

    def _find(self, name: str) -> _Cog:
        try:
            return self._cogs[name]
        except KeyError:
            hint = f"there are: {', '.join(sorted(self._cogs))}" if self._cogs else "this master has no MASTER_TOKEN"
            raise NoSuchCog(f"the master has no cog called {name!r}", hint=hint) from None

    def _write(self, disabled: dict[str, Disabled]) -> None:
        try:
            replace_file(self._path, msgspec.json.encode(_OnDisk(disabled)))
        except OSError as error:
            why = error.strerror or str(error)
            raise CogRefused(f"it could not be remembered, so nothing was done: {why}", hint=str(self._path)) from error
        self._disabled = disabled

    # What goes wrong, and what is said of it

    def note_failure(self, name: str, error: BaseException) -> None:
        """Count an unexpected error of a cog that is loaded."""
        cog = self._cogs.get(name)
        if cog is None:
            return
        cog.failures += 1
        cog.last_failure = f"{type(error).__name__}: {error}"[:300]
        cog.last_failure_at = self._clock.now().timestamp()
        if cog.failures in TOLD_AT[1:]:
            self._alerts.raise_alert(
                AlertLevel.WARNING,
                f"The cog {name} fails again and again",
                key=f"cog:{name}:failing:{cog.failures}",
                text=f"{cog.failures} unexpected errors since it was loaded, the last: {cog.last_failure}\n"
                f"`fleet logs --master` has each. `fleet cogs reload {name}` loads it anew, "
                f"`fleet cogs disable {name}` switches it off.",
            )

    def names(self) -> list[str]:
        """Return the names of all cogs."""
        return list(self._cogs)

    def troubles(self) -> tuple[str, ...]:
        """Return what is wrong now, in sentences."""
        failed = [cog for cog in self._cogs.values() if cog.state is CogState.FAILED]
        return tuple(f"the cog {cog.name} is not loaded (`fleet cogs`): {cog.why}" for cog in failed)

    def unloaded(self) -> list[str]:
        """Return the cogs whose commands Discord goes on showing although they are not there now."""
        gone = (CogState.FAILED, CogState.LOADING, CogState.WAITING)
        return [cog.name for cog in self._cogs.values() if cog.state in gone]

    def absence_of(self, command: str) -> tuple[str, str] | None:
        """Return why a command is not there now, and what to do; None if that is not for its cog."""
        host = self._host
        if host is None:
            return None
        for cog in self._cogs.values():
            if cog.state is not CogState.LOADED and command in host.commands(cog.name):
                return _absence(cog)
        return None

    def absence_of_press(self) -> tuple[str, str] | None:
        """Return why nobody answers a button, if that may be for want of a cog."""
        gone = [cog for cog in self._cogs.values() if cog.state in (CogState.FAILED, CogState.DISABLED)]
        if not gone:
            return None
        names = ", ".join(cog.name for cog in gone)
        return (
            "nobody here answers this button now",
            f"Nothing was done. These parts of the master are not there: {names}. Or it is too old.",
        )

    async def settled(self) -> None:
        """Wait a moment while a cog is being loaded: a press that comes just then is answered by it."""
        busy = [cog for cog in self._cogs.values() if cog.lock.locked()]
        if not busy:
            return
        try:
            async with asyncio.timeout(SETTLE_WITHIN_S):
                for cog in busy:
                    async with cog.lock:
                        pass
        except TimeoutError:
            log.info("a press came while cogs were being loaded", extra={"cogs": ", ".join(cog.name for cog in busy)})


def _is_troubled(cog: _Cog) -> bool:
    return cog.state is CogState.FAILED or cog.failures > 0


def _absence(cog: _Cog) -> tuple[str, str]:
    if cog.state is CogState.DISABLED:
        return "this command is switched off", f"Operators switch it on with `/fleet cogs enable {cog.name}`."
    if cog.state is CogState.FAILED:
        return (
            "this command is not there now",
            "Its part of the master could not be loaded, and is tried again. `/fleet cogs list` tells operators why.",
        )
    return "this command is being loaded", "Try again in a moment."


def _read(path: Path) -> dict[str, Disabled]:
    """Return what is disabled; nothing if there is no file that can be read."""
    try:
        return msgspec.json.decode(read_regular(path, _MAX_BYTES), type=_OnDisk).disabled
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        log.warning("which cogs are disabled cannot be read: all are loaded", extra={"why": str(error)})
        return {}
