"""``fleet reload``: read the config again, and apply what can change in a running master.

A setting's type says when it takes effect (``master.configuration.tree``); the container registers the followers.
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
        self._environment = environment
        self._known_names = known_names
        self._followers: list[Follower] = []
        self._reloading = asyncio.Lock()

    @property
    def settings(self) -> Settings:
        """The settings in effect, without changes that need a restart."""
        return self._settings

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
            # config.py is the operator's own code, and may block.
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
