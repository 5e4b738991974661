"""``fleet reload``: read the config again, and apply what can change in a running master.

A setting's type says when it takes effect (``master.configuration.tree``); the container registers the followers.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from master.configuration.changes import Change, changes, take_over
from master.configuration.checks import unknown_node_names
from master.configuration.home import CONFIG_NAME
from master.configuration.loading import ConfigError, load_settings
from master.configuration.reading import ConfigProblem
from master.configuration.settings import Settings
from master.configuration.tree import Effect
from master.services.core.views import ReloadView

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 10.0

Follower = Callable[[Settings], None]
"""Applies new settings; must not block or raise."""


class Reloading:
    """Hold the settings in effect, and replace them on reload.

    Parameters
    ----------
    settings
        The settings that the master started with.
    environment
        The process's environment, which config.py may read.
    known_names
        Returns the names of all nodes.
    """

    def __init__(
        self, settings: Settings, environment: Mapping[str, str], known_names: Callable[[], Collection[str]]
    ) -> None:
        self._settings = settings
        """As config.py has them."""
        self._in_force = settings, settings
        """As config.py has them, and what became of that."""
        self._environment = environment
        self._known_names = known_names
        self._followers: list[Follower] = []
        self._reloading = asyncio.Lock()
        self._reading: Future[Settings] | None = None
        self.adjust: Callable[[Settings], Settings] = lambda settings: settings
        """Puts into the settings what took the place of what config.py names: channels that were made anew."""

    @property
    def settings(self) -> Settings:
        """The settings in effect, without changes that need a restart."""
        written, in_force = self._in_force
        if written is not self._settings:
            self._in_force = self._settings, self.adjust(self._settings)
            return self._in_force[1]
        return in_force

    @property
    def written(self) -> Settings:
        """The settings as config.py has them, without changes that need a restart."""
        return self._settings

    def take_effect(self) -> None:
        """Have everybody follow the settings as they are now."""
        in_force = self.adjust(self._settings)
        self._in_force = self._settings, in_force
        for follower in self._followers:
            follower(in_force)

    def follow(self, *followers: Follower) -> None:
        """Call these with changed settings, in this order."""
        self._followers += followers

    async def reload(self) -> ReloadView:
        """Read config.py and .env again, and apply what changed.

        Raises
        ------
        ConfigError
            Has every mistake; nothing was changed.
        """
        async with self._reloading:
            found = await self._read()
            changed = changes(self._settings, found)
            self._settings = take_over(self._settings, found)
            self.take_effect()
        view = ReloadView(
            applied=_keys(changed, "now"),
            at_node_start=_keys(changed, "node start"),
            needs_restart=_keys(changed, "restart"),
            warnings=tuple(map(str, self.unknown_names())),
        )
        log.info("config reloaded", extra={"applied": view.applied, "needs_restart": view.needs_restart})
        return view

    async def check_restart(self) -> None:
        """Check that a master that starts now would read the config, and find the fleet that this one has.

        Raises
        ------
        ConfigError
            It would not start, or config.py was changed in what needs a restart, such as DATABASE.
        """
        async with self._reloading:
            changed = _keys(changes(self._settings, await self._read()), "restart")
        if changed:
            fix = "`fleet down --keep-nodes`, then `fleet up`, and then this again; or take the change back"
            problems = [
                ConfigProblem(key, "was changed, and needs a restart of the master first", fix) for key in changed
            ]
            raise ConfigError(self._settings.home / CONFIG_NAME, problems)

    async def _read(self) -> Settings:
        """Read the config in a thread: config.py is the operator's own code, and may block, even for ever.

        Raises
        ------
        ConfigError
        """
        if self._reading is not None and not self._reading.done():
            # Two at once would each put back the environment that the other has set.
            raise self._refusal("still runs since the last reload", "wait for its end, or restart the master")
        self._reading = _read_apart(self._settings.home, self._environment)
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await asyncio.wrap_future(self._reading)
        except TimeoutError:
            raise self._refusal(
                f"did not end within {READ_TIMEOUT_S:g} s", "it must not wait for anything; nothing was changed"
            ) from None

    def _refusal(self, problem: str, fix: str) -> ConfigError:
        return ConfigError(self._settings.home / CONFIG_NAME, [ConfigProblem(CONFIG_NAME, problem, fix)])

    def unknown_names(self) -> list[ConfigProblem]:
        """Return the names in the config that no node has."""
        return unknown_node_names(self._settings, self._known_names())

    def warn_of_unknown_names(self) -> None:
        """Log the names in the config that no node has."""
        for problem in self.unknown_names():
            log.warning("%s in config.py: %s", problem.key, problem.problem, extra={"hint": problem.fix})


def _read_apart(home: Path, environment: Mapping[str, str]) -> Future[Settings]:
    """Load the settings in a daemon thread: unlike an executor's, it does not keep the process from ending."""
    future: Future[Settings] = Future()
    future.set_running_or_notify_cancel()  # from now on it cannot be cancelled: it is done when the thread is

    def read() -> None:
        try:
            future.set_result(load_settings(home, environment))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=read, name=CONFIG_NAME, daemon=True).start()
    return future


def _keys(changed: Sequence[Change], effect: Effect) -> tuple[str, ...]:
    return tuple(change.key for change in changed if change.effect == effect)
