"""Views of ``describe`` and ``why``: all that is known of one node, and what happened to it.

Imports nothing heavy: the command line decodes them without loading the master.
"""

from __future__ import annotations

import msgspec

from master.services.core.views import NodeStatus

UNWATCHED = "unwatched"
"""The state of a node whose process runs while no master does."""


class LicenceView(msgspec.Struct, frozen=True, kw_only=True):
    """A node's licence; times in Unix seconds."""

    tier: str
    state: str
    issued_at: float
    expires_at: float | None = None
    """None: never."""


class ExitView(msgspec.Struct, frozen=True, kw_only=True):
    """How a node's process ended last."""

    at: float
    """Unix time in seconds."""
    text: str
    """What it means, as what follows the node's name."""
    todo: str = ""
    """What to do; empty if there is nothing to do."""


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that is in force for a node."""

    key: str
    value: str
    source: str
    """``config.py`` (NODES), ``registration``, ``fleet`` (SUPERVISION in config.py) or ``default``."""


class ErrorView(msgspec.Struct, frozen=True, kw_only=True):
    """An error that a node reported, or that ended it."""

    last_at: float
    """Unix time in seconds."""
    summary: str
    count: int
    fingerprint: str = ""
    """Of its group: `fleet errors show` takes it."""


class PathsView(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node's files are; empty for what it does not have."""

    folder: str
    entry: str
    stdout: str
    stderr: str
    environment: str = ""
    """Its own virtual environment."""
    env_file: str = ""


class NodeDescription(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one node."""

    at: float
    """Unix time in seconds."""
    status: NodeStatus
    has_master: bool
    """Whether a master runs; without one only what is on disk is known."""
    state_since: float | None = None
    bot_name: str = ""
    """Its name at Discord; empty if Discord was not asked, or did not answer."""
    invite_url: str = ""
    tier: str = ""
    licence: LicenceView | None = None
    registered_at: float
    command: str
    last_exit: ExitView | None = None
    errors: tuple[ErrorView, ...] = ()
    """The latest, newest first."""
    memory_limit_bytes: int = 0
    """0: none."""
    memory_hard_limit_bytes: int = 0
    open_files_limit: int = 0
    cpu_weight: int = 0
    release: str = ""
    """Which patch it runs: ``ranks 4 (release 2, good)``; empty if none."""
    paths: PathsView
    settings: tuple[SettingView, ...] = ()
    lines: tuple[str, ...] = ()
    """The last lines of its log."""
    trouble: str = ""
    """Why something is missing, such as a ledger that is away."""


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a node, once or again and again."""

    at: float
    """When it happened last; Unix time in seconds."""
    first_at: float
    count: int = 1
    kind: str
    """The process event's, or ``error``, ``refused``, ``action``."""
    text: str
    """What follows the node's name."""
    outcome: str = ""
    """What came of it: restarted, ready again."""
    actor: str = ""
    """The operator who did it, as ``face:identity``."""
    lines: tuple[str, ...] = ()
    """What the node wrote last before."""
    todo: str = ""
    fingerprint: str = ""
    """Of the error's group: `fleet errors show` takes it."""


class NodeTimeline(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a node, and what is the matter with it now."""

    node: str
    at: float
    """Unix time in seconds."""
    since: float
    """What happened before was left out."""
    state: str
    entries: tuple[TimelineEntry, ...]
    """The newest last."""
    left_out: int = 0
    """Older entries since then that there was no room for."""
    matter: str
    """What is the matter now, in one sentence."""
    todo: str = ""
    """What to do next; empty if there is nothing to do."""
    trouble: str = ""
    """Why something is missing, such as a ledger that is away."""
