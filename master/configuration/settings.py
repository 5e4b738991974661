"""The frozen settings that ``master.configuration.loading`` reads from config.py and .env, one small struct a concern.

Everything in ``master`` may import this module; nothing in here reads a file or the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from handshake.redaction import Secret

ENV_NAME = ".env"
"""The file of secrets in a fleet's home."""
ANY_DRIVER = "auto"
"""DATABASE['DRIVER']: take what the machine has."""

Transport = Literal["auto", "local", "channel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Where the ledger is. ``url`` is a SQLAlchemy URL; it may hold a password, so it is a secret."""

    url: Secret[str]
    connect_timeout_s: float = 10.0
    statement_timeout_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings:
    """Who the master is and where its nodes live."""

    bots_base_path: Path
    template_path: Path
    guild_id: int
    master_secret: Secret[bytes]
    master_token: Secret[str] | None = None
    """None: no Discord; supervision and the command line still work."""
    kept_keys: Mapping[str, Secret[bytes]] = field(default_factory=dict)
    """Keys of earlier secrets that outlive their rotation, by purpose."""
    previous_secret: Secret[bytes] | None = None
    """Set while running nodes may hold keys of it."""
    next_secret: Secret[bytes] | None = None
    """Set when a rotation was interrupted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """Channel ids; 0 means that the channel is not used."""

    verify: int = 0
    patch: int = 0
    log: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmojiSettings:
    """What stands before a node's state in Discord; unicode or ``<:name:id>``."""

    ready: str = "🟢"
    starting: str = "🟡"
    degraded: str = "🟠"
    stopped: str = "⚪"
    failed: str = "🔴"
    success: str = "✅"
    error: str = "❌"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourSettings:
    """Embed colours, 0xRRGGBB."""

    success: int = 0x2ECC71
    error: int = 0xE74C3C
    warning: int = 0xF1C40F
    information: int = 0x3498DB


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """Who may steer the fleet from Discord: any of these users, or anyone with any of these roles."""

    user_ids: frozenset[int] = frozenset()
    role_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisionSettings:
    """How nodes are started, watched and restarted; all durations in seconds, sizes in bytes."""

    pulse_interval_s: float = 9.0
    missed_pulses: int = 3
    ready_timeout_s: float = 90.0
    grace_s: float = 10.0
    backoff_initial_s: float = 1.0
    backoff_factor: float = 2.0
    backoff_cap_s: float = 60.0
    backoff_jitter: float = 0.2
    steady_after_s: float = 10.0
    """Ready for this long before its exit: no crash loop; started again at once, within the daily ceiling."""
    healthy_after_s: float = 120.0
    quarantine_exits: int = 6
    quarantine_window_s: float = 120.0
    quarantine_retry_s: float = 900.0
    concurrent_starts: int = 4
    log_max_bytes: int = 1_000_000
    log_files: int = 3
    memory_limit_bytes: int = 0
    """0: no limit. Above it the node is restarted gracefully, with the reason recorded."""
    memory_hard_limit_bytes: int = 0
    """0: no limit. The kernel holds the node to it: by its cgroup, or else by RLIMIT_DATA."""
    open_files_limit: int = 4096
    cpu_weight: int = 100
    """1 to 10,000, as cgroup v2 counts; without a cgroup what is below 100 becomes a niceness."""
    log_rate_bytes_s: int = 65_536
    """What a node may write to its logs for long; 0: no limit."""
    merge_memory: bool = True
    """Let the kernel merge equal pages of nodes (KSM); needs Linux with it, and somebody who may turn it on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What is different for one node; None: as for the whole fleet."""

    priority: int | None = None
    after: tuple[str, ...] = ()
    memory_limit_bytes: int | None = None
    memory_hard_limit_bytes: int | None = None
    open_files_limit: int | None = None
    cpu_weight: int | None = None
    plain: bool = False
    """Never forked from the zygote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLimits:
    """What one node may use; the fields are those of the two classes above."""

    memory_limit_bytes: int
    memory_hard_limit_bytes: int
    open_files_limit: int
    cpu_weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeSettings:
    """How nodes and master talk."""

    transport: Transport = "auto"
    channel_pulse_interval_s: float = 240.0
    clock_skew_s: float = 60.0
    key_handover_s: float = 60.0
    """After a rotation: how long a running node has to come for its new key before it is replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """How many days events are kept; 0: for ever. The audit log is never pruned."""

    handshake_events: int = 90
    process_events: int = 90
    error_events: int = 180
    patch_tracking: int = 365
    solution_runs: int = 365
    pulse_snapshots: int = 30

    def days_of(self, table: str) -> int:
        """Return the days of a table."""
        return int(getattr(self, table))


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscordSettings:
    """Which Discord: both None for Discord itself, the sandbox's or another compatible server's otherwise."""

    api_base: str | None = None
    gateway_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenceTier:
    """One licence tier: its days of validity (0: for ever)."""

    name: str
    days: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a master needs to know, validated."""

    home: Path
    """The folder that holds config.py and .env."""
    state_dir: Path
    """Ledger file, sockets, lock, logs; mode 0700."""
    database: DatabaseSettings
    identity: IdentitySettings
    channels: ChannelSettings = field(default_factory=ChannelSettings)
    emojis: EmojiSettings = field(default_factory=EmojiSettings)
    colours: ColourSettings = field(default_factory=ColourSettings)
    operators: OperatorSettings = field(default_factory=OperatorSettings)
    viewers: OperatorSettings = field(default_factory=OperatorSettings)
    moderators: OperatorSettings = field(default_factory=OperatorSettings)
    supervision: SupervisionSettings = field(default_factory=SupervisionSettings)
    handshake: HandshakeSettings = field(default_factory=HandshakeSettings)
    discord: DiscordSettings = field(default_factory=DiscordSettings)
    licence_tiers: tuple[LicenceTier, ...] = (LicenceTier(name="standard"),)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    nodes: Mapping[str, NodeSettings] = field(default_factory=dict)
    """By the node's name in lower case."""

    def node(self, name: str) -> NodeSettings:
        """Return what is different for a node."""
        return self.nodes.get(name.casefold(), NodeSettings())

    def limits_of(self, name: str) -> NodeLimits:
        """Return what a node may use: its own figures, and the fleet's where it has none."""
        own, fleet = self.node(name), self.supervision
        found = {limit.name: getattr(own, limit.name) for limit in fields(NodeLimits)}
        return NodeLimits(**{key: getattr(fleet, key) if value is None else value for key, value in found.items()})

    @property
    def logs_dir(self) -> Path:
        """Where the nodes' output is kept."""
        return self.state_dir / "logs"

    @property
    def control_socket_path(self) -> Path:
        """The operator's socket."""
        return self.state_dir / "control.sock"

    @property
    def node_socket_path(self) -> Path:
        """The nodes' socket (local transport)."""
        return self.state_dir / "nodes.sock"

    @property
    def backups_dir(self) -> Path:
        """Where `fleet backup` puts its files."""
        return self.state_dir / "backups"

    @property
    def spool_dir(self) -> Path:
        """Where writes wait while the database is away."""
        return self.state_dir / "spool"

    @property
    def ledger_cache_path(self) -> Path:
        """What supervision needs of the ledger, for a start while the database is away."""
        return self.state_dir / "memory.bin"

    @property
    def runs_dir(self) -> Path:
        """Which process is which node's."""
        return self.state_dir / "runs"

    @property
    def sessions_dir(self) -> Path:
        """The nodes' gateway sessions."""
        return self.state_dir / "sessions"

    @property
    def identifies_dir(self) -> Path:
        """The IDENTIFYs that each bot has spent today."""
        return self.state_dir / "identifies"

    @property
    def merging_path(self) -> Path:
        """Says that the kernel's merging of memory was turned on by us."""
        return self.state_dir / "merging"

    @property
    def lock_path(self) -> Path:
        """Held by the one master that owns this state folder."""
        return self.state_dir / "master.lock"
