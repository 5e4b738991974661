"""``fleet reload``: reads the config anew, and applies to the running master what can take effect in it.

Which setting takes effect when is said by its type (``master.configuration.tree``); who takes it, by the container.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from master.configuration.changes import Change, changes, take_over
from master.configuration.checks import unknown_node_names
from master.configuration.loading import load_settings
from master.configuration.reading import ConfigProblem
from master.configuration.settings import Settings
from master.configuration.tree import Effect
from master.services.core.views import ReloadView

log = logging.getLogger(__name__)

Follower = Callable[[Settings], None]
"""Takes the settings that hold from now on; must not wait, nor raise."""


class Reloading:
    """Hold the settings that the master works by, and exchange them for what the config says now.

    Parameters
    ----------
    settings
        Those that the master began with.
    environment
        The process's, which config.py may read.
    known_names
        Returns the names of all nodes.
    """

    def __init__(
        self, settings: Settings, environment: Mapping[str, str], known_names: Callable[[], Collection[str]]
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._known_names = known_names
        self._followers: list[Follower] = []
        self._reloading = asyncio.Lock()

    @property
    def settings(self) -> Settings:
        """The settings as they are in effect; what waits for a restart is not in them."""
        return self._settings

    def follow(self, *followers: Follower) -> None:
        """Have these told of settings that changed, in this order."""
        self._followers += followers

    async def reload(self) -> ReloadView:
        """Read config.py and .env anew, and apply what changed.

        Raises
        ------
        ConfigError
            With every mistake; nothing was changed then.
        """
        async with self._reloading:
            # config.py is the operator's own code, and may take its time.
            found = await asyncio.to_thread(load_settings, self._settings.home, self._environment)
            changed = changes(self._settings, found)
            self._settings = take_over(self._settings, found)
            for follower in self._followers:
                follower(self._settings)
        view = ReloadView(
            applied=_keys(changed, "now"),
            at_node_start=_keys(changed, "node start"),
            needs_restart=_keys(changed, "restart"),
            warnings=tuple(map(str, self.unknown_names())),
        )
        log.info("config reloaded", extra={"applied": view.applied, "needs_restart": view.needs_restart})
        return view

    def unknown_names(self) -> list[ConfigProblem]:
        """Return the names in the config that no node has."""
        return unknown_node_names(self._settings, self._known_names())

    def warn_of_unknown_names(self) -> None:
        """Log the names in the config that no node has."""
        for problem in self.unknown_names():
            log.warning("%s in config.py: %s", problem.key, problem.problem, extra={"hint": problem.fix})


def _keys(changed: Sequence[Change], effect: Effect) -> tuple[str, ...]:
    return tuple(change.key for change in changed if change.effect == effect)
