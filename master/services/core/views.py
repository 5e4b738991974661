"""What the services answer with: frozen, JSON-able structs that every face renders in its own way.

Imports nothing heavy, so that the command line can decode them without loading the master.
"""

from __future__ import annotations

import msgspec

from master.errors import ExitCode


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One node as the operator sees it: the ledger's word and the supervisor's in one row."""

    id: str
    name: str
    state: str
    """A ``master.supervision.states.NodeState`` value."""
    desired: str
    """``running`` or ``stopped``."""
    readiness: str
    """``handshake`` or ``process``."""
    folder: str
    bot_user_id: str
    """A snowflake, as text: JSON numbers lose its last digits in many readers."""
    tags: tuple[str, ...] = ()
    pid: int | None = None
    uptime_s: float | None = None
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    pss_bytes: int | None = None
    """Its share of memory: pages shared with the zygote are counted in parts. Read every few minutes."""
    open_files: int | None = None
    connections: int | None = None
    threads: int | None = None
    restarts: int = 0
    last_pulse_s_ago: float | None = None
    latency_ms: float | None = None
    guilds: int | None = None
    cogs_failed: tuple[str, ...] = ()
    """By the node's own word; it is degraded while there are any, and runs on."""
    version: str = ""
    flag_reason: str = ""
    """Why the node was flagged (a refused message in its name); empty when it is not."""
    last_exit: str = ""
    next_start_in_s: float | None = None
    detail: str = ""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """What a node used, slot by slot, oldest first; a slot in which it did not run is zero."""

    slot_s: float
    cpu_percent: tuple[float, ...]
    rss_mb: tuple[float, ...]


class NodeHistoryView(msgspec.Struct, frozen=True, kw_only=True):
    """One node's last five minutes by the second, last day by the minute, and what the ledger has of its last week."""

    node: NodeStatus
    seconds: Series
    minutes: Series
    week: Series
    """Of snapshots every five minutes, memory alone; empty while the ledger is away."""


class StrayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A process below BOTS_BASE_PATH that the master did not start, such as a bot started by hand."""

    pid: int
    folder: str
    command: str
    started_at: float
    """Unix time in seconds."""


class MasterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The master itself."""

    pid: int
    version: str
    uptime_s: float
    cpu_percent: float
    cpu_seconds: float
    """CPU used since it started, user and system."""
    rss_bytes: int
    discord: str
    """``off``, ``connecting``, ``ready`` or ``refused: ...``."""
    ledger: str
    """``sqlite`` or ``mssql``, and ``away`` behind it while it cannot be reached."""
    merged_bytes: int | None = None
    """What the kernel saves on this box by keeping equal pages once; None when nothing is to be merged."""
    old_keys: int | None = None
    """While MASTER_SECRET is being replaced: how many nodes still run with a key of the previous one."""
    home: str


class RotationView(msgspec.Struct, frozen=True, kw_only=True):
    """A replaced MASTER_SECRET."""

    nodes: int
    """Whose tokens are sealed anew, and which get new keys."""


class ReloadView(msgspec.Struct, frozen=True, kw_only=True):
    """What came of `fleet reload`: the settings that are other ones now, by their keys in config.py."""

    applied: tuple[str, ...] = ()
    """In effect now."""
    at_node_start: tuple[str, ...] = ()
    """In effect for each node when it starts next."""
    needs_restart: tuple[str, ...] = ()
    """In effect when the master starts next; named again by each reload until then."""
    warnings: tuple[str, ...] = ()
    """Names that no node has; the config is taken all the same."""


class FleetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Everything ``fleet status`` and ``/runbots`` show."""

    at: float
    """Unix time in seconds."""
    master: MasterStatus
    nodes: tuple[NodeStatus, ...]
    strays: tuple[StrayStatus, ...] = ()


class ActionResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one action on one node."""

    node: str
    ok: bool
    state: str = ""
    """The node's state afterwards."""
    detail: str = ""
    """What was wrong; empty when it went well."""
    hint: str = ""
    code: str = ""
    """The error's stable code; empty when it went well."""
    exit_code: int = ExitCode.OK


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A node that was just registered or duplicated."""

    node_id: str
    name: str
    folder: str
    bot_user_id: str
    licence: str
    """The licence code, shown this once: the ledger keeps only a keyed hash of it."""
    invite_url: str
    state: str = ""
    seconds: float = 0.0

    def __repr__(self) -> str:
        return f"Registered(node_id={self.node_id!r}, name={self.name!r}, licence=...)"


class LogPaths(msgspec.Struct, frozen=True, kw_only=True):
    """Where one node's output is kept."""

    node: str
    stdout_path: str
    stderr_path: str


class FleetEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, as ``fleet events`` and the demo stream them."""

    at: float
    """Unix time in seconds."""
    kind: str
    """A process event kind, ``verified``, ``refused``, ``error``, ``registered``, ``duplicated``, ``alert``."""
    node: str = ""
    """The node's name; empty when the event is about no node."""
    detail: str = ""
    pid: int | None = None


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the audit log."""

    sequence: int
    at: float
    """Unix time in seconds."""
    actor: str
    face: str
    action: str
    node_id: str | None = None
    outcome: str
    detail: str = ""


class LedgerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger holds."""

    dialect: str
    revision: str
    rows: dict[str, int]
    uncounted: tuple[str, ...] = ()
    """Tables with that many rows or more."""
    bytes: int | None = None
    """Size of the file; None for a server's."""
    writes: int = 0
    groups: int = 0
    """Transactions that the writes shared."""
    failures: int = 0
    dropped: int = 0
    away_since: float | None = None
    """Since when the database does not answer; None while it does."""
    away_why: str = ""
    waiting: int = 0
    """Writes that wait on disk for it."""
    waiting_bytes: int = 0
    given_up: dict[str, int] = {}
    """What a full spool dropped: snapshots first, then history, never what concerns security."""


class Soundness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the ledger is as it was written."""

    ok: bool
    faults: tuple[str, ...] = ()
    audit_rows: int = 0


class BackupView(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was made."""

    path: str
    bytes: int
    rows: int
    revision: str


class RestoreView(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger that was put back."""

    created_at: float
    rows: int
    tables: dict[str, int]
    kept: str = ""
    """Where the ledger that was there before is; empty when there was none."""


class MigrationView(msgspec.Struct, frozen=True, kw_only=True):
    """A schema that was migrated."""

    revision: str
    kept: str = ""
    """Where the copy from before is; empty when nothing had to be done, or on a server."""
