"""Views: what services return, as frozen JSON-serialisable structs. Each face renders them itself.

Imports nothing heavy: the command line decodes them without loading the master.
"""

from __future__ import annotations

import msgspec

from master.errors import ExitCode


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One node as the operator sees it: data of the ledger and of the supervisor."""

    id: str
    name: str
    state: str
    """A ``master.supervision.states.NodeState`` value."""
    offline_since: float | None = None
    """Unix time since when it is without Discord; None while it is connected, or does not say."""
    desired: str
    """``running`` or ``stopped``."""
    readiness: str
    """``handshake`` or ``process``."""
    folder: str
    bot_user_id: str
    """A snowflake as text: many JSON readers lose its last digits in a number. ``0``: a program without a token."""
    tags: tuple[str, ...] = ()
    pid: int | None = None
    uptime_s: float | None = None
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    pss_bytes: int | None = None
    """Proportional set size: pages shared with the zygote are divided among the sharers. Read every few minutes."""
    open_files: int | None = None
    connections: int | None = None
    threads: int | None = None
    restarts: int = 0
    last_pulse_s_ago: float | None = None
    latency_ms: float | None = None
    guilds: int | None = None
    cogs_failed: tuple[str, ...] = ()
    """As the node reports; it keeps running, and is degraded while there are any."""
    version: str = ""
    flag_reason: str = ""
    """Why the node was flagged (a refused message in its name); empty if it is not flagged."""
    licence_revoked: bool = False
    """It starts no more until ``fleet reinstate``."""
    last_exit: str = ""
    todo: str = ""
    """What the operator has to do before it can run again; empty if there is nothing."""
    next_start_in_s: float | None = None
    detail: str = ""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Usage of a node in time slots, oldest first; zero for a slot in which it did not run."""

    slot_s: float
    cpu_percent: tuple[float, ...]
    rss_mb: tuple[float, ...]


class NodeHistoryView(msgspec.Struct, frozen=True, kw_only=True):
    """Usage history of one node: five minutes by the second, a day by the minute, a week from the ledger."""

    node: NodeStatus
    seconds: Series
    minutes: Series
    week: Series
    """From snapshots every five minutes, memory only; empty while the ledger is away."""


class StrayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A process below BOTS_BASE_PATH that the master did not start, such as a bot started by hand."""

    pid: int
    folder: str
    command: str
    started_at: float
    """Unix time in seconds."""


class MasterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Status of the master itself."""

    pid: int
    version: str
    uptime_s: float
    cpu_percent: float
    cpu_seconds: float
    """CPU used since it started, user and system."""
    rss_bytes: int
    discord: str
    """The master's own connection: ``off``, ``connecting``, ``ready``, ``offline`` or ``refused: ...``."""
    offline_since: float | None = None
    """Unix time since when this box, or the master's own connection, is without Discord; None while all is well."""
    offline_why: str = ""
    commands: str = ""
    """Why the slash commands are not registered with Discord; empty if they are."""
    troubles: tuple[str, ...] = ()
    """What is wrong with the master's own files, in sentences: a socket that is gone, a ledger that is away."""
    mailboxes: tuple[str, ...] = ()
    """What is watched, with its state: ``support ready``, ``billing backoff: ...``; empty if nothing is."""
    sentry: str = ""
    """Whether the intake for sentry-sdk listens: ``listening on 127.0.0.1:PORT``, or why not; empty if it is off."""
    ledger: str
    """``sqlite`` or ``mssql``, followed by ``away`` while it cannot be reached."""
    merged_bytes: int | None = None
    """Memory that the kernel saves by merging equal pages (KSM); None if merging is off."""
    old_keys: int | None = None
    """During a rotation of MASTER_SECRET: number of nodes that still run with a key of the previous one."""
    box: tuple[str, ...] = ()
    """What is wrong with the box, such as ``disk full``."""
    isolation: str = ""
    """What keeps nodes from the files of the fleet: ``landlock ABI 7``; ``none`` or ``off`` with the reason."""
    start_trouble: str = ""
    """Why nodes start as plain processes now; empty while the zygote forks them."""
    home: str
    ending: bool = False
    """Whether it was asked to stop; said to who only asks whether it is there."""
    waits_for: tuple[str, ...] = ()
    """What an ending master waits for: operations, nodes, tasks; said with ``ending``."""
    ends_within_s: float | None = None
    """After how many seconds it ends by force; said with ``ending``."""


class RotationView(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a rotation of MASTER_SECRET."""

    nodes: int
    """Number of nodes whose tokens were sealed again and that get new keys."""


class ReloadView(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `fleet reload`: the changed settings, by their keys in config.py."""

    applied: tuple[str, ...] = ()
    """In effect now."""
    at_node_start: tuple[str, ...] = ()
    """In effect at each node's next start."""
    needs_restart: tuple[str, ...] = ()
    """In effect at the master's next start; listed again by each reload until then."""
    warnings: tuple[str, ...] = ()
    """Names without a node; the config is applied anyway."""


class FleetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The data of ``fleet status`` and ``/runbots``."""

    at: float
    """Unix time in seconds."""
    master: MasterStatus
    nodes: tuple[NodeStatus, ...]
    strays: tuple[StrayStatus, ...] = ()


class ActionResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one action on one node."""

    node: str
    ok: bool
    state: str = ""
    """The node's state afterwards."""
    detail: str = ""
    """The error; on success empty, or what an operator has to know: not on record yet, or left stopped."""
    hint: str = ""
    code: str = ""
    """The error's stable code; empty on success."""
    exit_code: int = ExitCode.OK


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A node that was just registered or duplicated."""

    node_id: str
    name: str
    folder: str
    bot_user_id: str
    """``0`` for a program without a token."""
    licence: str
    """The licence code; shown only once, since the ledger stores a keyed hash. Empty where nothing asks for it."""
    invite_url: str
    """Empty for a program without a token."""
    state: str = ""
    seconds: float = 0.0
    trouble: str = ""
    """Why it did not start; it is in the fleet all the same."""
    notes: tuple[str, ...] = ()
    """What the operator should know: what a copy does not have, a file of secrets that others can read."""

    def __repr__(self) -> str:
        return f"Registered(node_id={self.node_id!r}, name={self.name!r}, licence=...)"


class RemovalView(msgspec.Struct, frozen=True, kw_only=True):
    """Result of removing one node, or what would happen to it."""

    node: str
    ok: bool
    folder: str = ""
    """Its path."""
    fate: str = ""
    """Of the folder: ``kept``, ``archived`` or ``purged``; empty if the node was not removed."""
    archive: str = ""
    """Path of the archive; empty without one."""
    gone: tuple[str, ...] = ()
    """Paths that are removed with it."""
    back: tuple[str, ...] = ()
    """Commands that take it into the fleet again as it was; empty if its folder does not stay."""
    notes: tuple[str, ...] = ()
    """What the operator has to know: what was left, and why."""
    detail: str = ""
    """The error; empty on success."""
    hint: str = ""
    code: str = ""
    """The error's stable code; empty on success."""
    exit_code: int = ExitCode.OK


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """Result of giving a node another token."""

    node: str
    bot_user_id: str
    bot_name: str
    other_bot: bool
    """Whether it is another bot than before."""
    restarted: bool
    state: str
    """The node's state afterwards."""
    invite_url: str
    notes: tuple[str, ...] = ()
    """What the operator has to know."""


class OptionView(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be set of a node."""

    key: str
    value: str
    """As text; empty for none."""
    source: str
    """Where it comes from: ``node``, ``config.py``, ``fleet`` (SUPERVISION's value) or ``default``."""
    effect: str
    """When a change takes effect: ``now`` or ``node start``."""
    how: str
    """The option of ``fleet edit`` that sets it."""


class OptionsView(msgspec.Struct, frozen=True, kw_only=True):
    """What can be set of a node, and what is."""

    node: str
    options: tuple[OptionView, ...]


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was changed of a node."""

    key: str
    before: str
    after: str
    effect: str
    """When it takes effect: ``now``, ``node start``, or ``never`` while config.py says otherwise."""


class EditView(msgspec.Struct, frozen=True, kw_only=True):
    """Result of changing a node."""

    node: str
    changes: tuple[ChangeView, ...] = ()
    restarted: bool = False
    state: str = ""
    """The node's state afterwards."""
    notes: tuple[str, ...] = ()
    """What the operator has to know."""


class RenameView(msgspec.Struct, frozen=True, kw_only=True):
    """Result of renaming a node."""

    node: str
    """Its name before."""
    new_name: str
    state: str
    """The node's state; its process was not touched."""
    notes: tuple[str, ...] = ()
    """What the operator has to know."""


class LogPaths(msgspec.Struct, frozen=True, kw_only=True):
    """Log files of one node."""

    node: str
    stdout_path: str
    stderr_path: str


class FleetEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event, as ``fleet events`` and the demo stream it."""

    at: float
    """Unix time in seconds."""
    kind: str
    """A process event kind, ``verified``, ``refused``, ``error``, ``registered``, ``duplicated``, ``alert``."""
    node: str = ""
    """The node's name; empty if the event does not concern a node."""
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
    node: str = ""
    """The node's name now, or the one that it had when it was removed; empty if the action was on none."""
    outcome: str
    detail: str = ""


class LedgerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Content and state of the ledger."""

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
    """When the outage began; None while the database answers."""
    away_why: str = ""
    held: int = 0
    """Writes in memory alone, because the disk is full."""
    waiting: int = 0
    """Writes in the spool."""
    waiting_bytes: int = 0
    given_up: dict[str, int] = {}
    """Writes that a full spool dropped: snapshots first, then history, never security events."""


class Soundness(msgspec.Struct, frozen=True, kw_only=True):
    """Result of an integrity check of the ledger."""

    ok: bool
    faults: tuple[str, ...] = ()
    audit_rows: int = 0


class AcknowledgedView(msgspec.Struct, frozen=True, kw_only=True):
    """Result of an acknowledgement of the audit log's alarms."""

    alarms: tuple[str, ...]
    """What was acknowledged."""


class BackupView(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a backup."""

    path: str
    bytes: int
    rows: int
    revision: str


class RestoreView(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a restore or an import."""

    created_at: float
    rows: int
    tables: dict[str, int]
    kept: str = ""
    """Where the previous ledger was kept; empty if there was none."""


class MigrationView(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a migration."""

    revision: str
    kept: str = ""
    """Where the copy of the previous ledger is; empty if nothing was done, or on a server."""
