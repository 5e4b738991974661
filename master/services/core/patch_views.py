"""Views of patches: what there is, how far each is, and which of them each node has. Imports nothing heavy."""

from __future__ import annotations

import msgspec


class PatchView(msgspec.Struct, frozen=True, kw_only=True):
    """One patch, in a list."""

    id: str
    name: str
    version: int
    channel: str
    author: str
    key: str
    """The name of the key that signed it; its id if it has none."""
    state: str
    """received, approved, rolling, soaking, asking, paused, done, rolling_back, rolled_back, aborted, failed."""
    wave: str = ""
    """``canary``, ``wave 1 of 2``; empty before the roll-out."""
    counts: dict[str, int] = {}
    """How many nodes are in which state."""
    reason: str = ""
    """Why it is in its state, in one line."""
    since: float = 0.0
    """Unix time in seconds, of its state."""
    watched_since: float = 0.0
    """Unix time in seconds; later by as long as it was paused. 0: no wave is watched yet."""
    changed_by: str = ""
    received_at: float = 0.0
    received_from: str = ""
    finished_at: float | None = None
    channel_id: int | None = None
    message_id: int | None = None
    """Its message in PATCH_CHANNEL."""
    approved_by: tuple[str, ...] = ()
    approvals: int = 1
    """How many have to approve it."""
    wanted_by: str = ""
    """Who asked for its roll-out, which begins with the last approval; empty: nobody yet."""
    restarts: bool = False
    """Whether nodes restart for it."""
    urgent: bool = False
    template: str = ""
    """What became of it on the template; empty while nothing did."""

    @property
    def label(self) -> str:
        """Return its name and version, as in ``ranks 4``."""
        return f"{self.name} {self.version}"

    @property
    def approvals_missing(self) -> int:
        """Return how many operators still have to approve it."""
        return max(0, self.approvals - len(self.approved_by))


class PatchNodeView(msgspec.Struct, frozen=True, kw_only=True):
    """One patch on one node."""

    node: str
    """Its name."""
    state: str
    """waiting, ordered, received, staged, applied, healthy, good, failed, rolling_back, rolled_back, rollback_failed,
    skipped, absent."""
    wave: int = 0
    """0: the canary."""
    release: int | None = None
    """The number of the release that it runs; None while it is not known."""
    detail: str = ""
    """Of a failure the reason, with the end of its traceback."""
    since: float = 0.0
    """Unix time in seconds."""
    ms: int | None = None
    """From the order to its present state, while this master saw both."""


class PatchPlanView(msgspec.Struct, frozen=True, kw_only=True):
    """How a patch is rolled out."""

    canary: int
    waves: tuple[int, ...]
    soak_s: float
    most_soak_s: float
    most_failed: int
    at_once: int
    back_at_once: int


class PatchDetails(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one patch."""

    patch: PatchView
    note: str
    files: tuple[str, ...]
    removed: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    """In words: ``tag music``, ``template 1.4``; empty: every node."""
    expires_at: float = 0.0
    sha256: str = ""
    bundle_bytes: int = 0
    plan: PatchPlanView
    nodes: tuple[PatchNodeView, ...] = ()
    """Bad ones first, then by wave and name."""


class NodeReleaseView(msgspec.Struct, frozen=True, kw_only=True):
    """Which patch a node has, or is getting."""

    node: str
    patch: str = ""
    """``ranks 4``; empty: what it was before any patch."""
    patch_id: str = ""
    state: str = ""
    release: int | None = None
    detail: str = ""


class PatchesView(msgspec.Struct, frozen=True, kw_only=True):
    """All patches, the newest first, and the version state of every node."""

    patches: tuple[PatchView, ...] = ()
    nodes: tuple[NodeReleaseView, ...] = ()
