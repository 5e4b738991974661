"""The settings that ``master.configuration.loading`` reads from config.py and .env: one small Struct per concern.

A setting is one line here and one line in config.example.py. Its type has its bounds, and says when a change takes
effect (``tree``). Everything in ``master`` may import this module; it reads no files and no environment variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from handshake.redaction import Secret
from master.configuration.tree import AT_NODE_START, AT_RESTART, NOT_IN_CONFIG, NOW, checked_as, key, left_out

ENV_NAME = ".env"
"""The file of secrets in a fleet's home."""
ANY_DRIVER = "auto"
"""DATABASE['DRIVER']: use an installed driver."""
TEMPLATE_PATH = Path(__file__).resolve().parents[2] / "child_template"
"""The HandshakeBot that comes with Fleetmaster."""

Transport = Literal["auto", "local", "channel"]

Snowflake = Annotated[
    int,
    Meta(ge=10**14, le=2**63 - 1, description="a Discord id: 17 to 20 digits (Developer Mode, Copy ID)"),
    checked_as("id"),
]
"""A Discord id; 0 means none."""
Emoji = Annotated[str, Meta(description="an emoji, or <:name:id> for one of your server's")]
Colour = Annotated[int, Meta(ge=0, le=0xFFFFFF, description="a colour from 0x000000 to 0xFFFFFF")]
NodeName = Annotated[str, checked_as("node name"), Meta(description="the name of a node")]
FolderOrFile = Annotated[Path, Meta(description="the path of a folder or a file, as text")]
CommandLine = Annotated[str, checked_as("command line"), Meta(description="a command line, such as 'node index.js'")]
Pattern = Annotated[str, checked_as("pattern"), Meta(description="a pattern (RE2)")]
TimeoutS = Annotated[float, Meta(ge=0.01, le=600)]
Days = Annotated[int, Meta(ge=0, le=36_500)]
MemoryBytes = Annotated[int, Meta(ge=0, le=2**40)]
OpenFiles = Annotated[int, Meta(ge=64, le=10**6)]
CpuWeight = Annotated[int, Meta(ge=1, le=10_000)]


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the ledger is. ``url`` is a SQLAlchemy URL; it may hold a password, so it is a secret."""

    url: Annotated[Secret[str], left_out(""), Meta(description="sqlite:///state/ledger.db")]
    """With ``server``, built from the fields below; without both, a file in the state folder."""
    server: str | None = None
    database: str = "DISCORDBOT"
    user: str | None = None
    password: Secret[str] | None = None
    driver: str = ANY_DRIVER
    trusted_connection: bool = False
    encrypt: bool = True
    trust_certificate: bool = False
    connect_timeout_s: TimeoutS = 10.0
    statement_timeout_s: TimeoutS = 15.0


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who the master is and where its nodes live."""

    bots_base_path: Annotated[Path, left_out("bots")]
    template_path: Annotated[Path, left_out(TEMPLATE_PATH)]
    guild_id: Snowflake = 0
    master_secret: Annotated[Secret[bytes], checked_as("master secret")]
    master_token: Annotated[Secret[str] | None, checked_as("bot token")] = None
    """None: no Discord connection; supervision and the command line still work."""
    kept_keys: Annotated[Mapping[str, Secret[bytes]], NOT_IN_CONFIG] = field(default_factory=dict)
    """Keys of earlier secrets that stay in use after a rotation, by purpose."""
    previous_secret: Annotated[Secret[bytes] | None, NOT_IN_CONFIG] = None
    """Set while running nodes may still use its keys."""
    next_secret: Annotated[Secret[bytes] | None, NOT_IN_CONFIG] = None
    """Set when a rotation was interrupted."""
    more_guilds: frozenset[Snowflake] = frozenset()
    """Other servers in which the slash commands are there."""

    @property
    def guild_ids(self) -> tuple[int, ...]:
        """The servers with slash commands, the fleet's own first; empty: all that the master is on."""
        return (self.guild_id, *sorted(self.more_guilds - {self.guild_id})) if self.guild_id else ()


class ChannelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Channel ids; 0 means that the channel is not used."""

    verify: Snowflake = 0
    patch: Snowflake = 0
    log: Annotated[Snowflake, NOW] = 0


class EmojiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Emojis of node states in Discord; unicode or ``<:name:id>``."""

    ready: Emoji = "🟢"
    starting: Emoji = "🟡"
    degraded: Emoji = "🟠"
    stopped: Emoji = "⚪"
    failed: Emoji = "🔴"
    success: Emoji = "✅"
    error: Emoji = "❌"


class ColourSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Embed colours, 0xRRGGBB."""

    success: Colour = 0x2ECC71
    error: Colour = 0xE74C3C
    warning: Colour = 0xF1C40F
    information: Colour = 0x3498DB


class PeopleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a permission on Discord: any of these users, and anyone with any of these roles."""

    user_ids: Annotated[frozenset[Snowflake], key("USERS")] = frozenset()
    role_ids: Annotated[frozenset[Snowflake], key("ROLES")] = frozenset()


class SupervisionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How nodes are started, watched and restarted; all durations in seconds, sizes in bytes."""

    pulse_interval_s: Annotated[float, Meta(ge=0.1, le=3600)] = 9.0
    missed_pulses: Annotated[int, Meta(ge=1, le=100)] = 3
    ready_timeout_s: Annotated[float, Meta(ge=0.5, le=3600)] = 90.0
    grace_s: Annotated[float, Meta(ge=0.1, le=300)] = 10.0
    backoff_initial_s: Annotated[float, Meta(ge=0.01, le=3600)] = 1.0
    backoff_factor: Annotated[float, Meta(ge=1, le=10)] = 2.0
    backoff_cap_s: Annotated[float, Meta(ge=0.01, le=86_400)] = 60.0
    backoff_jitter: Annotated[float, Meta(ge=0, le=0.9)] = 0.2
    steady_after_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 10.0
    """A node that was ready for this long before it exited is restarted at once, within the daily limit."""
    healthy_after_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 120.0
    quarantine_exits: Annotated[int, Meta(ge=1, le=1000)] = 6
    quarantine_window_s: Annotated[float, Meta(ge=1, le=86_400)] = 120.0
    quarantine_retry_s: Annotated[float, Meta(ge=1, le=86_400)] = 900.0
    concurrent_starts: Annotated[int, Meta(ge=1, le=64)] = 4
    log_max_bytes: Annotated[int, Meta(ge=10_000, le=10**9)] = 1_000_000
    log_files: Annotated[int, Meta(ge=1, le=50)] = 3
    memory_limit_bytes: MemoryBytes = 0
    """0: no limit. Above it the node is restarted gracefully, with the reason recorded."""
    memory_hard_limit_bytes: Annotated[MemoryBytes, AT_NODE_START] = 0
    """0: no limit. Enforced by the kernel: with the node's cgroup, or else with RLIMIT_DATA."""
    open_files_limit: Annotated[OpenFiles, AT_NODE_START] = 4096
    cpu_weight: Annotated[CpuWeight, AT_NODE_START] = 100
    """1 to 10,000, as in cgroup v2; without a cgroup, values below 100 become a niceness."""
    log_rate_bytes_s: Annotated[int, Meta(ge=0, le=10**9), AT_NODE_START] = 65_536
    """Sustained rate at which a node may write to its logs; 0: no limit."""
    isolated: Annotated[bool, AT_NODE_START] = True
    """Whether nodes may open only their own folder, Python and the system's programs; needs a kernel with Landlock."""
    merge_memory: Annotated[bool, AT_RESTART] = True
    """Let the kernel merge equal pages of nodes (KSM); needs a kernel with KSM and the permission to turn it on."""


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Overrides for one node; None: as for the whole fleet."""

    priority: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    after: tuple[NodeName, ...] = ()
    memory_limit_bytes: Annotated[MemoryBytes | None, NOW] = None
    memory_hard_limit_bytes: MemoryBytes | None = None
    open_files_limit: OpenFiles | None = None
    cpu_weight: CpuWeight | None = None
    plain: bool = False
    """Do not fork this node from the zygote."""
    isolated: bool | None = None
    readable: tuple[FolderOrFile, ...] = ()
    """What it may read and run although it is isolated."""
    writable: tuple[FolderOrFile, ...] = ()
    """What it may change, too."""
    command: CommandLine | None = None
    """Its program and arguments, where that is not Python and its entry file. Split as a shell does; none runs it."""
    interpreter: CommandLine | None = None
    """What runs its entry file, where that is not its own virtual environment's Python, or the master's."""
    args: CommandLine | None = None
    """Arguments after its entry file."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables, by name."""
    env_file: FolderOrFile | None = None
    """A file of further variables, as in .env; those of ``env`` win."""
    cron_restart: Annotated[Annotated[str, checked_as("schedule")] | None, NOW] = None
    """When it is restarted, as a cron expression in the box's time zone."""
    watch: Annotated[tuple[str, ...], NOW] = ()
    """While developing: files and folders of its folder whose change restarts it; those with ``!`` do not."""
    ready_when: Annotated[str, checked_as("readiness")] | None = None
    """A sign that it is ready, for a program that does not speak the protocol."""


class NodeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Resource limits of one node; the fields are those of the two classes above."""

    memory_limit_bytes: int
    memory_hard_limit_bytes: int
    open_files_limit: int
    cpu_weight: int


class HandshakeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The protocol between nodes and master."""

    transport: Annotated[Transport, AT_NODE_START] = "auto"
    channel_pulse_interval_s: Annotated[float, Meta(ge=5, le=3600), NOW] = 240.0
    clock_skew_s: Annotated[float, Meta(ge=0, le=600)] = 60.0
    """Needs a restart: the sessions of running nodes were begun with it."""
    key_handover_s: Annotated[float, Meta(ge=1, le=3600)] = 60.0
    """After a rotation: how long a running node may take to get its new key before it is replaced."""


class RetentionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Retention of events in days; 0: for ever. The audit log is never pruned."""

    handshake_events: Days = 90
    process_events: Days = 90
    error_events: Days = 180
    patch_tracking: Days = 365
    solution_runs: Days = 365
    pulse_snapshots: Days = 30

    def days_of(self, table: str) -> int:
        """Return the retention of a table; groups of errors stay as long as the errors."""
        return int(getattr(self, "error_events" if table == "error_groups" else table))


ModuleName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z",
        description="the name of a module, as in import",
    ),
]
PinnedPackage = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?=="
        r"[A-Za-z0-9][A-Za-z0-9._!+-]*( --hash=sha256:[0-9a-f]{64})*\Z",
        description="one exact version, such as 'aiosqlite==0.21.0', with ' --hash=sha256:...' if you have it",
    ),
]


class HealingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How errors of nodes are recognised, and what may be done about them by itself."""

    enabled: bool = True
    """False: errors are grouped and told, and nothing is done about them."""
    detect_only_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 86_400.0
    """How long a new solution of the operator's says what it would do before it acts."""
    most_repairs_an_hour: Annotated[int, Meta(ge=1, le=1_000)] = 12
    """On one node, by all solutions together."""
    packages: Mapping[ModuleName, PinnedPackage] = field(default_factory=dict)
    """What may be installed for a node, by the name of the module that is missing."""
    sentry_port: Annotated[int, Meta(ge=0, le=65_535), AT_RESTART] = 0
    """Port on the loopback address that takes what sentry-sdk sends; 0: none."""


class PatchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How patches are rolled out where they do not say it themselves."""

    canary: Annotated[int, Meta(ge=0, le=100)] = 1
    """Nodes that get a patch first; 0: none."""
    waves: tuple[Annotated[int, Meta(ge=1, le=100)], ...] = (25, 100)
    """Percent of the nodes that have it after each wave that follows the canary; the last is 100."""
    soak_s: Annotated[float, Meta(ge=0, le=604_800)] = 300.0
    """How long a wave is watched before the next one begins."""
    most_soak_s: Annotated[float, Meta(ge=0, le=604_800)] = 3_600.0
    """How long it is watched at most while nothing happens that says anything; then an operator is asked."""
    most_failed: Annotated[int, Meta(ge=0, le=1_000)] = 0
    """How many nodes may fail before the patch is bad."""
    answer_within_s: Annotated[float, Meta(ge=1, le=3_600)] = 60.0
    """A node that says nothing for so long has failed."""
    at_once: Annotated[int, Meta(ge=1, le=1_000)] = 25
    """How many nodes of a wave take it at the same time where it needs no restart; a restart takes turns as always."""
    back_at_once: Annotated[int, Meta(ge=1, le=1_000)] = 5
    """How many nodes go back at the same time."""
    approvals: Annotated[int, Meta(ge=1, le=5)] = 1
    """Operators who have to approve a patch; 2: the two-person rule."""
    memory_slope_mb_h: Annotated[float, Meta(ge=1, le=100_000)] = 50.0
    """A patched node whose memory grows this much faster than before has a leak."""


class DiscordSettings(msgspec.Struct, frozen=True, kw_only=True):
    """API endpoints: both None for Discord itself; otherwise the sandbox or another compatible server."""

    api_base: (
        Annotated[str, Meta(pattern="^https?://", description="http(s)://HOST/api/v10, or None for Discord itself")]
        | None
    ) = None
    gateway_url: (
        Annotated[str, Meta(pattern="^wss?://", description="ws(s)://HOST/, or None for Discord itself")] | None
    ) = None


class LicenceTier(msgspec.Struct, frozen=True, kw_only=True):
    """A licence tier: for how long, for what, and what its end does. In config.py also just its days."""

    name: str
    days: Days = 0
    """0: for ever."""
    nodes: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """Nodes on which one licence may be in use at a time; 0: as many as there are."""
    people: Annotated[int, Meta(ge=1, le=10_000)] = 1
    """People who may redeem one code."""
    features: tuple[
        Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.-]{0,39}\Z", description="a short name, 'exports'")], ...
    ] = ()
    """What it is for, by names that nodes ask for."""
    role_id: Snowflake = 0
    """The role that its holder has on the server."""
    on_expiry: Literal["restrict", "revoke", "keep"] = "restrict"
    """At its end and the grace: `restrict` takes features and role until it is renewed, `revoke` ends it for good,
    `keep` leaves both, and only says that it has expired."""
    grace_days: Days = 0
    """How long it goes on to hold after its end."""
    transfers_a_month: Annotated[int, Meta(ge=0, le=1_000)] = 1
    """How often a holder may pass it on in 30 days."""


class ShopSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook that sells licences. The shops' secrets are in .env: STRIPE_WEBHOOK_SECRET, KOFI_VERIFICATION_TOKEN."""

    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """On the loopback address, behind the operator's own web server; 0: none."""
    products: Mapping[
        Annotated[str, Meta(pattern=r"^.{1,120}\Z", description="a shop's product or price")],
        Annotated[str, Meta(pattern=r"^.{1,40}\Z", description="a tier of LICENCES")],
    ] = field(default_factory=dict)
    """The tier that each product of a shop sells."""
    stripe_secret: Annotated[Secret[str] | None, NOT_IN_CONFIG] = None
    """STRIPE_WEBHOOK_SECRET in .env; None: nothing is taken from Stripe."""
    kofi_token: Annotated[Secret[str] | None, NOT_IN_CONFIG] = None
    """KOFI_VERIFICATION_TOKEN in .env; None: nothing is taken from Ko-fi."""


class GiveawaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Giveaways."""

    edit_every_s: Annotated[float, Meta(ge=2, le=3_600)] = 15.0
    """The count of entries on the message is edited at most so often."""
    most_open: Annotated[int, Meta(ge=1, le=1_000)] = 25
    """That are open or scheduled at a time, on one server."""
    claim_hours: Annotated[float, Meta(ge=0, le=720)] = 48.0
    """How long winners have to claim a prize that cannot be sent to them, unless the giveaway says otherwise."""


class TicketRoleLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many tickets a role's members may have. In config.py by the role's id, also just the open ones."""

    role_id: Snowflake
    most_open: Annotated[int, Meta(ge=0, le=50)] | None = None
    """Instead of the category's ``most_open_each``, which None stands for; 0: they open none."""
    most_a_day: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    """Instead of the category's, which None stands for."""


class TicketCategory(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of ticket."""

    channel_id: Snowflake = 0
    """The category below which its channels are made; with threads the channel in which they are."""
    threads: bool = False
    """Private threads instead of channels: they do not count to the server's 500."""
    staff_roles: frozenset[Snowflake] = frozenset()
    log_channel_id: Snowflake = 0
    """Where transcripts go."""
    nodes: frozenset[NodeName] = frozenset()
    """Nodes that may open such tickets; none named: all."""
    questions: tuple[
        Annotated[str, Meta(pattern=r"^.{1,45}\Z", description="a question, at most 45 characters")], ...
    ] = ()
    """The form's, at most five."""
    most_open_each: Annotated[int, Meta(ge=1, le=50)] = 1
    """Open tickets of one person."""
    most_a_day: Annotated[int, Meta(ge=1, le=1_000)] = 5
    """Tickets that one person opens in a day."""
    limits_by_role: Annotated[
        tuple[TicketRoleLimits, ...],
        Meta(description="a dict of limits by a role's id, {ROLE_ID: 3} or {ROLE_ID: {'MOST_OPEN': 3}}"),
    ] = ()
    """Of one's roles that are named here the highest limit counts; who has none of them has the two above."""
    stale_hours: Annotated[float, Meta(ge=0, le=8_760)] = 48.0
    """A ticket in which nothing was written for so long is warned of; 0: never."""
    close_hours: Annotated[float, Meta(ge=0, le=8_760)] = 24.0
    """How long after the warning it is closed; 0: never."""


class TicketSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Tickets, and what nodes may ask for in them."""

    categories: Mapping[str, TicketCategory] = field(default_factory=dict)
    """By a short name, such as 'support'."""
    ask_for: frozenset[Literal["participant", "observer", "staff"]] = frozenset({"staff"})
    """Permission sets that a person has to approve each time."""
    most_hours: Annotated[float, Meta(ge=0.1, le=8_760)] = 168.0
    """The longest time for which a node gets somebody into a ticket."""
    requests_a_minute: Annotated[int, Meta(ge=1, le=10_000)] = 500
    """Of one node. From its opening to its end a ticket takes seven, so that a full category of 50 has room in it."""


class SelffixSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The repair of the server's channels: of CHANNELS, of TICKETS, and of channels.toml beside config.py."""

    mode: Literal["off", "ask", "repair"] = "repair"
    """What drift does: nothing; a question in LOG_CHANNEL; it is put right and told."""
    debounce_s: Annotated[float, Meta(ge=0.1, le=3_600)] = 30.0
    """How long a change has to rest before it is looked at: people move several things at once."""
    most_an_hour: Annotated[int, Meta(ge=1, le=100)] = 3
    """A thing that was repaired so often within an hour is asked about instead."""


class MailRule(msgspec.Struct, frozen=True, kw_only=True):
    """What is done about a mail that fits: all that is said of it has to.

    Patterns are RE2, upper and lower case alike.
    """

    sender: Pattern = ""
    """Of the address in From."""
    subject: Pattern = ""
    list_id: Pattern = ""
    """Of List-Id."""
    body: Pattern = ""
    """Of the text."""
    action: Literal["post", "ticket", "licence", "solution", "notify", "ignore"] = "post"
    trusted: bool = True
    """Only if one's own mail server vouches for the sender, by DKIM or SPF: `licence` and `solution` need that."""
    channel_id: Snowflake = 0
    """For `post`."""
    category: str = ""
    """A ticket's, of TICKETS; for `ticket`."""
    tier: str = ""
    """Of LICENCES; for `licence`."""
    renew: bool = False
    """For `licence`: the one that the mail names by its id is renewed, none is issued."""
    solution: str = ""
    """For `solution`: its id."""
    node: str = ""
    """For `solution`: the node that it acts on."""


class MailboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox that is watched. Its password is none of config.py's business: `fleet mailbox password NAME`."""

    host: str
    """The IMAP server's."""
    user: str
    port: Annotated[int, Meta(ge=1, le=65_535)] = 993
    security: Literal["tls", "starttls", "none"] = "tls"
    """`none` is for a server on this very box."""
    login: Literal["password", "xoauth2"] = "password"
    folder: str = "INBOX"
    authserv_id: str = ""
    """How one's own mail server calls itself in Authentication-Results; empty: no sender is vouched for."""
    channel_id: Snowflake = 0
    """Where `post` posts if the rule names no channel; 0: LOG_CHANNEL."""
    smtp_host: str = ""
    """Through which tickets are answered; empty: they are not."""
    smtp_port: Annotated[int, Meta(ge=1, le=65_535)] = 465
    smtp_security: Literal["tls", "starttls", "none"] = "tls"
    rules: Mapping[str, MailRule] = field(default_factory=dict)
    """By a short name, tried in their order; the first that fits counts."""


class AnnouncePlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where announcements go: a channel, or else an address.

    The address is in .env, as ANNOUNCE_<NAME>: one of apprise's, or devto://KEY.
    """

    channel_id: Snowflake = 0
    """A text, announcement or forum channel of any server in which the master is."""
    url: Annotated[Secret[str] | None, NOT_IN_CONFIG] = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a master, validated."""

    home: Annotated[Path, NOT_IN_CONFIG]
    """The folder that holds config.py and .env."""
    state_dir: Annotated[Path, left_out("state")]
    """Ledger file, sockets, lock, logs; mode 0700."""
    database: DatabaseSettings
    identity: IdentitySettings
    channels: ChannelSettings = field(default_factory=ChannelSettings)
    emojis: Annotated[EmojiSettings, NOW] = field(default_factory=EmojiSettings)
    colours: Annotated[ColourSettings, key("COLORS"), NOW] = field(default_factory=ColourSettings)
    operators: Annotated[PeopleSettings, NOW] = field(default_factory=PeopleSettings)
    """Who may operate the fleet."""
    viewers: Annotated[PeopleSettings, NOW] = field(default_factory=PeopleSettings)
    """Who may view the fleet."""
    moderators: Annotated[PeopleSettings, NOW] = field(default_factory=PeopleSettings)
    """Who may moderate: tickets, giveaways."""
    supervision: Annotated[SupervisionSettings, NOW] = field(default_factory=SupervisionSettings)
    handshake: HandshakeSettings = field(default_factory=HandshakeSettings)
    discord: DiscordSettings = field(default_factory=DiscordSettings)
    licence_tiers: Annotated[
        tuple[LicenceTier, ...],
        key("LICENCES"),
        Meta(min_length=1, description="a dict of tiers by name, {'standard': 0, 'pro': {'DAYS': 365}}"),
        NOW,
    ] = (LicenceTier(name="standard"),)
    retention: Annotated[RetentionSettings, NOW] = field(default_factory=RetentionSettings)
    healing: Annotated[HealingSettings, NOW] = field(default_factory=HealingSettings)
    patches: Annotated[PatchSettings, NOW] = field(default_factory=PatchSettings)
    shop: ShopSettings = field(default_factory=ShopSettings)
    giveaways: Annotated[GiveawaySettings, NOW] = field(default_factory=GiveawaySettings)
    tickets: Annotated[TicketSettings, NOW] = field(default_factory=TicketSettings)
    selffix: Annotated[SelffixSettings, NOW] = field(default_factory=SelffixSettings)
    mailboxes: Mapping[str, MailboxSettings] = field(default_factory=dict)
    """By a short name, such as 'support'."""
    announce: Annotated[Mapping[str, AnnouncePlace], NOW] = field(default_factory=dict)
    """By a short name, such as 'news'."""
    nodes: Annotated[Mapping[str, NodeSettings], AT_NODE_START] = field(default_factory=dict)
    """By the node's name in lower case."""

    def node(self, name: str) -> NodeSettings:
        """Return what NODES says of a node; ``node_options.settings_of`` adds what it was registered with."""
        return self.nodes.get(name.casefold(), NodeSettings())

    def limits_of(self, own: NodeSettings) -> NodeLimits:
        """Return the limits of a node with these overrides: its own, or else the fleet's values."""
        fleet = self.supervision
        found = {name: getattr(own, name) for name in NodeLimits.__struct_fields__}
        return NodeLimits(**{key: getattr(fleet, key) if value is None else value for key, value in found.items()})

    def is_isolated(self, own: NodeSettings) -> bool:
        """Tell whether a node with these overrides is isolated, where the kernel can do that."""
        return self.supervision.isolated if own.isolated is None else own.isolated

    @property
    def private_paths(self) -> tuple[Path, ...]:
        """What an isolated node never opens, but for its own folder and the libraries."""
        scheme, _, ledger = self.database.url.reveal().partition("sqlite:///")
        elsewhere = (Path(ledger),) if ledger and not scheme else ()
        return self.home, self.state_dir, self.identity.bots_base_path, *elsewhere

    @property
    def secret_paths(self) -> tuple[Path, ...]:
        """What no node may be given, whatever is said of it: the fleet's secrets, and the variables of other nodes."""
        scheme, _, ledger = self.database.url.reveal().partition("sqlite:///")
        elsewhere = (Path(ledger),) if ledger and not scheme else ()
        return self.home / ENV_NAME, self.home / "config.py", self.state_dir, self.environments_dir, *elsewhere

    @property
    def solutions_dir(self) -> Path:
        """The operator's own solutions, a file each."""
        return self.home / "solutions"

    @property
    def channels_path(self) -> Path:
        """The server's wanted channels, beyond those that config.py names."""
        return self.home / "channels.toml"

    @property
    def patches_dir(self) -> Path:
        """The bundles of patches that were accepted, by their digest."""
        return self.state_dir / "patches"

    @property
    def environments_dir(self) -> Path:
        """Files of variables that nodes were registered with."""
        return self.home / "env"

    @property
    def logs_dir(self) -> Path:
        """Log files of the nodes."""
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
        """The ledger cache, for a start while the database is away."""
        return self.state_dir / "memory.bin"

    @property
    def outbox_path(self) -> Path:
        """Alerts that wait for Discord."""
        return self.state_dir / "alerts.json"

    @property
    def audit_head_path(self) -> Path:
        """The audit log's last row, remembered outside of the ledger."""
        return self.state_dir / "audit-head"

    @property
    def runs_dir(self) -> Path:
        """Records of the nodes' processes."""
        return self.state_dir / "runs"

    @property
    def sessions_dir(self) -> Path:
        """The nodes' gateway sessions."""
        return self.state_dir / "sessions"

    @property
    def temporary_dir(self) -> Path:
        """Temporary files of isolated nodes, a folder for each."""
        return self.state_dir / "tmp"

    @property
    def homes_dir(self) -> Path:
        """What isolated nodes have for a home, a folder for each: caches and settings of libraries and programs."""
        return self.state_dir / "homes"

    @property
    def packages_dir(self) -> Path:
        """Packages that were installed for nodes, a folder for each."""
        return self.state_dir / "packages"

    @property
    def identifies_dir(self) -> Path:
        """IDENTIFY budgets of the bots."""
        return self.state_dir / "identifies"

    @property
    def changes_dir(self) -> Path:
        """Notes of changed nodes whose files have to follow."""
        return self.state_dir / "changes"

    @property
    def removed_dir(self) -> Path:
        """Archives of removed nodes."""
        return self.state_dir / "removed"

    @property
    def registered_commands_path(self) -> Path:
        """The slash commands that were registered last."""
        return self.state_dir / "commands.json"

    @property
    def disabled_cogs_path(self) -> Path:
        """Which cogs of the master are disabled."""
        return self.state_dir / "cogs.json"

    @property
    def channel_moves_path(self) -> Path:
        """Which channel took the place of which."""
        return self.state_dir / "channel-moves.json"

    @property
    def merging_path(self) -> Path:
        """Marks that the master turned the kernel's memory merging on."""
        return self.state_dir / "merging"

    @property
    def lock_path(self) -> Path:
        """Lock file of the master that owns this state folder."""
        return self.state_dir / "master.lock"
