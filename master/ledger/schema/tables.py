"""The tables, defined once for SQLite and SQL Server; the migrations in sql/ create them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    TypeDecorator,
    Unicode,
    UnicodeText,
    text,
)
from sqlalchemy.dialects.sqlite import DATETIME as SQLITE_DATETIME
from sqlalchemy.types import TypeEngine


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware UTC timestamp with millisecond precision.

    DATETIME2(3) on SQL Server: a string bound into DATETIMEOFFSET is refused by some T-SQL servers, and reading one
    needs an output converter (SQL-SERVER-FACTS). ISO text on SQLite, which sorts.

    Bound as ISO text over ODBC: pyodbc cuts a datetime to whole seconds where the driver finds no type for it, and the
    audit log's HMACs cover the milliseconds.
    """

    impl = SQLITE_DATETIME
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the dialect's own type."""
        # SQLAlchemy leaves these two constructors untyped.
        if dialect.name == "mssql":
            # Imported here: on SQLite the other dialect would cost 2 MB.
            from sqlalchemy.dialects.mssql import DATETIME2

            return dialect.type_descriptor(DATETIME2(3))  # type: ignore[no-untyped-call]
        return dialect.type_descriptor(SQLITE_DATETIME())  # type: ignore[no-untyped-call]

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        """Convert an aware datetime to naive UTC; a naive one is an error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime has no time zone")
        utc = value.astimezone(UTC).replace(tzinfo=None)
        utc = utc.replace(microsecond=utc.microsecond // 1000 * 1000)
        return utc.isoformat(timespec="milliseconds") if dialect.driver == "pyodbc" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert naive UTC to an aware datetime."""
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

SINCE = "since"
"""In a column's ``info``: the revision that added it. It has a default, with which older archives are restored."""
_ulid = Unicode(26)
_ALIVE = text("lifecycle <> 'removed'")
_ALIVE_BOT = text("lifecycle <> 'removed' AND bot_user_id <> 0")

nodes = Table(
    "nodes",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("name", Unicode(40), nullable=False),
    Column("name_key", Unicode(40), nullable=False),  # the case-folded name: both databases compare it alike
    Column("folder", Unicode(255), nullable=False),
    Column("entry", Unicode(255), nullable=False),
    Column("bot_user_id", BigInteger, nullable=False),
    Column("desired_state", Unicode(16), nullable=False),
    Column("lifecycle", Unicode(16), nullable=False),
    Column("readiness", Unicode(16), nullable=False),
    Column("key_epoch", Integer, nullable=False),
    Column("template_version", Unicode(32), nullable=False),
    Column("tags", Unicode(400), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("flagged_at", UtcDateTime),
    Column("flag_reason", Unicode(40), nullable=False),
    Column("pid", Integer),
    Column("pid_started_at", Float(53)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # Empty: the master's own box.
    Column("host", Unicode(64), nullable=False, server_default="", info={SINCE: "0004"}),
    # JSON; as wide as an ordinary column may be.
    Column("options", Unicode(4000), nullable=False, server_default="", info={SINCE: "0005"}),
    CheckConstraint("desired_state IN ('running', 'stopped')", name="desired_state"),
    CheckConstraint("lifecycle IN ('provisioning', 'active', 'removed')", name="lifecycle"),
    CheckConstraint("readiness IN ('handshake', 'process')", name="readiness"),
    CheckConstraint("key_epoch >= 1", name="key_epoch"),
)
# For SQL Server the migrations define the same; naming that dialect here would load it, 2 MB, on SQLite too.
Index("ux_nodes_name_key_alive", nodes.c.name_key, unique=True, sqlite_where=_ALIVE)
# Programs without a token have no bot. Folders may be shared: two programs of one checkout are two nodes.
Index("ux_nodes_bot_user_id_alive", nodes.c.bot_user_id, unique=True, sqlite_where=_ALIVE_BOT)

node_tokens = Table(
    "node_tokens",
    metadata,
    Column("node_id", _ulid, ForeignKey("nodes.id"), primary_key=True),
    Column("sealed", LargeBinary(512), nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

licenses = Table(
    "licenses",
    metadata,
    Column("id", Unicode(32), primary_key=True),
    Column("node_id", _ulid, ForeignKey("nodes.id"), index=True),
    Column("tier", Unicode(40), nullable=False),
    Column("state", Unicode(16), nullable=False),
    Column("code_hash", LargeBinary(32), nullable=False, unique=True),
    Column("issued_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("activated_at", UtcDateTime),
    # Of a person; of a node's own licence both are NULL.
    Column("holder_id", BigInteger, info={SINCE: "0008"}),
    Column("guild_id", BigInteger, info={SINCE: "0008"}),
    # Who or what issued it, and for what: an actor, `giveaway:...`, `shop:...`.
    Column("origin", Unicode(120), nullable=False, server_default="", info={SINCE: "0008"}),
    Column("note", Unicode(200), nullable=False, server_default="", info={SINCE: "0008"}),
    # Days before its end of the last warning; NULL: none yet.
    Column("warned_days", Integer, info={SINCE: "0008"}),
    Column("changed_at", UtcDateTime, info={SINCE: "0008"}),
    Column("changed_by", Unicode(120), nullable=False, server_default="", info={SINCE: "0008"}),
    CheckConstraint("state IN ('issued', 'active', 'suspended', 'revoked', 'expired')", name="state"),
)
Index("ix_licenses_holder_id", licenses.c.holder_id)
Index("ix_licenses_state_expires_at", licenses.c.state, licenses.c.expires_at)

licence_uses = Table(
    "licence_uses",
    metadata,
    # Where a licence is in use: a node's id, or a person's.
    Column("licence_id", Unicode(32), ForeignKey("licenses.id"), primary_key=True),
    Column("kind", Unicode(8), primary_key=True),
    Column("subject", Unicode(26), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Index("ix_licence_uses_kind_subject", "kind", "subject"),
    CheckConstraint("kind IN ('node', 'person')", name="kind"),
    info={SINCE: "0008"},
)

licence_events = Table(
    "licence_events",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("licence_id", Unicode(32), ForeignKey("licenses.id"), nullable=False),
    Column("what", Unicode(16), nullable=False),
    Column("actor", Unicode(120), nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Index("ix_licence_events_licence_id_at", "licence_id", "at"),
    CheckConstraint(
        "what IN ('issued', 'redeemed', 'renewed', 'suspended', 'reinstated', 'revoked', 'transferred', 'expired', "
        "'warned', 'role')",
        name="what",
    ),
    info={SINCE: "0008"},
)

shop_events = Table(
    "shop_events",
    metadata,
    # What a shop told, once: it tells again until it is answered.
    Column("source", Unicode(16), primary_key=True),
    Column("event_id", Unicode(120), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    # What the shop calls the buyer or the subscription: a renewal finds its licence by it.
    Column("reference", Unicode(120), nullable=False),
    Column("licence_id", Unicode(32), ForeignKey("licenses.id")),
    Column("outcome", Unicode(16), nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Index("ix_shop_events_source_reference", "source", "reference"),
    CheckConstraint("outcome IN ('taken', 'issued', 'renewed', 'revoked', 'ignored', 'refused')", name="outcome"),
    info={SINCE: "0008"},
)

handshake_events = Table(
    "handshake_events",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("node_id", _ulid, ForeignKey("nodes.id")),
    Column("message_type", Unicode(40), nullable=False),
    Column("outcome", Unicode(40), nullable=False),
    Column("transport", Unicode(16), nullable=False),
    Column("author_id", BigInteger),
    Column("detail", Unicode(400), nullable=False),
    Index("ix_handshake_events_node_id_at", "node_id", "at"),
)

bot_duplications = Table(
    "bot_duplications",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("node_id", _ulid, ForeignKey("nodes.id"), nullable=False, index=True),
    Column("source", Unicode(80), nullable=False),
    Column("requested_by", Unicode(120), nullable=False),
    Column("outcome", Unicode(16), nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Column("finished_at", UtcDateTime),
    CheckConstraint("outcome IN ('running', 'done', 'failed', 'cleaned_up')", name="outcome"),
)

error_events = Table(
    "error_events",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("node_id", _ulid, ForeignKey("nodes.id"), nullable=False),
    Column("source", Unicode(16), nullable=False),
    Column("fingerprint", Unicode(16), nullable=False),
    Column("summary", Unicode(400), nullable=False),
    Column("detail", UnicodeText, nullable=False),
    Column("count", BigInteger, nullable=False),
    Index("ix_error_events_node_id_fingerprint", "node_id", "fingerprint"),
    Index("ix_error_events_fingerprint", "fingerprint", "last_at"),
    Index("ix_error_events_last_at", "last_at"),
    Index("ix_error_events_node_id_last_at", "node_id", "last_at"),
    CheckConstraint("count >= 1", name="count"),
)

process_events = Table(
    "process_events",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("node_id", _ulid, ForeignKey("nodes.id"), nullable=False),
    Column("kind", Unicode(16), nullable=False),
    Column("pid", Integer),
    Column("exit_code", Integer),
    Column("signal", SmallInteger),
    Column("detail", Unicode(400), nullable=False),
    Index("ix_process_events_node_id_at", "node_id", "at"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Unicode(120), nullable=False),
    Column("face", Unicode(16), nullable=False),
    Column("action", Unicode(40), nullable=False),
    # No foreign key: the row must outlive the node it is about.
    Column("node_id", _ulid, index=True),
    Column("outcome", Unicode(16), nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Column("chain", LargeBinary(32), nullable=False),
    CheckConstraint("outcome IN ('done', 'refused', 'failed')", name="outcome"),
)

pulse_snapshots = Table(
    "pulse_snapshots",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("node_id", _ulid, ForeignKey("nodes.id"), nullable=False),
    Column("state", Unicode(16), nullable=False),
    Column("latency_ms", Integer),
    Column("guilds", Integer, nullable=False),
    Column("memory_bytes", BigInteger),
    Index("ix_pulse_snapshots_node_id_at", "node_id", "at"),
)

applied_writes = Table(
    "applied_writes",
    metadata,
    # One run of a master: its writes are numbered from 1.
    Column("session_id", _ulid, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    CheckConstraint("sequence >= 1", name="sequence"),
)

patches = Table(
    "patches",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("name", Unicode(40), nullable=False),
    # The patch channel within which versions rise; not a channel of Discord.
    Column("channel", Unicode(40), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("key_id", Unicode(64), nullable=False),
    Column("author", Unicode(120), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("received_from", Unicode(120), nullable=False),
    Column("bundle_hash", LargeBinary(32), nullable=False, unique=True),
    Column("bundle_bytes", BigInteger, nullable=False),
    Column("document", UnicodeText, nullable=False),
    Column("state", Unicode(16), nullable=False),
    # The plan that its roll-out follows, as JSON: waves, soak, thresholds.
    Column("rollout_plan", Unicode(4000), nullable=False),
    Column("wave", Integer, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("changed_by", Unicode(120), nullable=False),
    Column("reason", Unicode(400), nullable=False),
    Column("message_channel_id", BigInteger),
    Column("message_id", BigInteger),
    Column("finished_at", UtcDateTime),
    Index("ix_patches_state", "state"),
    Index("ix_patches_received_at", "received_at"),
    CheckConstraint(
        "state IN ('received', 'approved', 'rolling', 'soaking', 'asking', 'paused', 'done', 'rolling_back', "
        "'rolled_back', 'aborted', 'failed')",
        name="state",
    ),
)

patch_nodes = Table(
    "patch_nodes",
    metadata,
    Column("patch_id", _ulid, ForeignKey("patches.id"), primary_key=True),
    Column("node_id", _ulid, ForeignKey("nodes.id"), primary_key=True),
    Column("wave", Integer, nullable=False),
    Column("state", Unicode(16), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    # The release that it made of the node, and the one before.
    Column("release_after", Integer),
    Column("release_before", Integer),
    # What was true of the node before it was patched, as JSON.
    Column("baseline", UnicodeText, nullable=False),
    Column("detail", UnicodeText, nullable=False),
    Index("ix_patch_nodes_node_id", "node_id"),
    CheckConstraint(
        "state IN ('waiting', 'ordered', 'received', 'staged', 'applied', 'healthy', 'good', 'failed', "
        "'rolling_back', 'rolled_back', 'rollback_failed', 'skipped', 'absent')",
        name="state",
    ),
    info={SINCE: "0007"},
)

patch_keys = Table(
    "patch_keys",
    metadata,
    # As ssh-keygen -l prints it: SHA256:...
    Column("id", Unicode(64), primary_key=True),
    Column("name", Unicode(80), nullable=False),
    Column("kind", Unicode(40), nullable=False),
    Column("public", Unicode(1000), nullable=False),
    Column("added_at", UtcDateTime, nullable=False),
    Column("added_by", Unicode(120), nullable=False),
    Column("revoked_at", UtcDateTime),
    Column("revoked_by", Unicode(120), nullable=False),
    Column("why", Unicode(400), nullable=False),
    info={SINCE: "0007"},
)

patch_versions = Table(
    "patch_versions",
    metadata,
    # The highest version that was accepted of a key; what is not above it is a rollback, or a replay.
    Column("key_id", Unicode(64), primary_key=True),
    Column("channel", Unicode(40), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    info={SINCE: "0007"},
)

patch_tracking = Table(
    "patch_tracking",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("patch_id", _ulid, ForeignKey("patches.id"), nullable=False),
    Column("node_id", _ulid, ForeignKey("nodes.id")),
    # A reaction of a person or bot that came or went, or a signed status of a node.
    Column("kind", Unicode(16), nullable=False),
    Column("user_id", BigInteger),
    Column("emoji", Unicode(64), nullable=False),
    Column("status", Unicode(16), nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Index("ix_patch_tracking_patch_id_at", "patch_id", "at"),
    Index("ix_patch_tracking_node_id_at", "node_id", "at"),
    CheckConstraint("kind IN ('reaction', 'unreaction', 'status')", name="kind"),
)

generations = Table(
    "generations",
    metadata,
    Column("id", _ulid, primary_key=True),
    # 'node', 'template', 'patch' or 'solution', and which one: a node's id, a name.
    Column("kind", Unicode(16), nullable=False),
    Column("subject", Unicode(80), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("cause", Unicode(16), nullable=False),
    Column("parent", Unicode(26), nullable=False),
    Column("actor", Unicode(120), nullable=False),
    Column("detail", Unicode(400), nullable=False),
    # What it was: the signed manifest, as JSON.
    Column("manifest", UnicodeText, nullable=False),
    Column("signature", LargeBinary(32), nullable=False),
    Index("ux_generations_kind_subject_generation", "kind", "subject", "generation", unique=True),
    CheckConstraint("kind IN ('node', 'template', 'patch', 'solution')", name="kind"),
    CheckConstraint("generation >= 1", name="generation"),
    info={SINCE: "0007"},
)

facts = Table(
    "facts",
    metadata,
    # What there is one of in a fleet, such as its id.
    Column("name", Unicode(40), primary_key=True),
    Column("value", Unicode(400), nullable=False),
    info={SINCE: "0007"},
)

solution_runs = Table(
    "solution_runs",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("node_id", _ulid, ForeignKey("nodes.id"), nullable=False),
    Column("solution_id", Unicode(64), nullable=False),
    Column("content_hash", Unicode(16), nullable=False),
    Column("fingerprint", Unicode(16), nullable=False),
    Column("seen_in", Unicode(16), nullable=False),
    Column("line", Unicode(400), nullable=False),
    Column("action", Unicode(40), nullable=False),
    Column("outcome", Unicode(16), nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Column("actor", Unicode(120), nullable=False),
    Column("ready_ms", BigInteger),
    Column("finished_at", UtcDateTime),
    Index("ix_solution_runs_node_id_at", "node_id", "at"),
    Index("ix_solution_runs_solution_id_at", "solution_id", "at"),
    Index("ix_solution_runs_outcome", "outcome"),
    CheckConstraint(
        "outcome IN ('running', 'watching', 'helped', 'did_not_help', 'failed', 'skipped', 'interrupted', "
        "'detected', 'asked', 'declined', 'told')",
        name="outcome",
    ),
)

solutions = Table(
    "solutions",
    metadata,
    Column("solution_id", Unicode(64), primary_key=True),
    Column("mode", Unicode(16), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("first_at", UtcDateTime, nullable=False),
    Column("content_hash", Unicode(16), nullable=False),
    Column("why", Unicode(400), nullable=False),
    Column("changed_by", Unicode(120), nullable=False),
    CheckConstraint("mode IN ('detecting', 'on', 'off', 'suspended')", name="mode"),
    info={SINCE: "0006"},
)

solution_versions = Table(
    "solution_versions",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("solution_id", Unicode(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Unicode(120), nullable=False),
    Column("why", Unicode(400), nullable=False),
    Column("content", UnicodeText, nullable=False),
    Index("ux_solution_versions_solution_id_version", "solution_id", "version", unique=True),
    CheckConstraint("version >= 1", name="version"),
    info={SINCE: "0006"},
)

error_groups = Table(
    "error_groups",
    metadata,
    Column("fingerprint", Unicode(16), primary_key=True),
    Column("kind", Unicode(16), nullable=False),
    Column("title", Unicode(400), nullable=False),
    Column("state", Unicode(16), nullable=False),
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("sample", UnicodeText, nullable=False),
    Column("muted_until", UtcDateTime),
    Column("changed_at", UtcDateTime),
    Column("changed_by", Unicode(120), nullable=False),
    Index("ix_error_groups_last_at", "last_at"),
    CheckConstraint("count >= 1", name="count"),
    CheckConstraint("kind IN ('exception', 'exit', 'line', 'state')", name="kind"),
    CheckConstraint("state IN ('new', 'known', 'regressed', 'resolved', 'muted')", name="state"),
    info={SINCE: "0006"},
)

tickets = Table(
    "tickets",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("guild_id", BigInteger, nullable=False),
    Column("node_id", _ulid, ForeignKey("nodes.id"), nullable=False),
    Column("category", Unicode(40), nullable=False),
    Column("state", Unicode(16), nullable=False),
    # NULL while it waits in the queue, and once its channel is deleted.
    Column("channel_id", BigInteger),
    Column("is_thread", Boolean, nullable=False),
    Column("author_id", BigInteger, nullable=False),
    Column("claimed_by", BigInteger),
    Column("priority", Unicode(8), nullable=False),
    Column("topic", Unicode(200), nullable=False),
    # The form's answers; JSON.
    Column("answers", UnicodeText, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("warned_at", UtcDateTime),
    Column("closed_at", UtcDateTime),
    Column("closed_by", BigInteger),
    Column("reason", Unicode(400), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("ix_tickets_node_id_state", "node_id", "state"),
    Index("ix_tickets_guild_id_number", "guild_id", "number"),
    Index("ix_tickets_channel_id", "channel_id"),
    Index("ix_tickets_state_last_at", "state", "last_at"),
    CheckConstraint("state IN ('queued', 'opening', 'open', 'closing', 'closed', 'deleted')", name="state"),
    CheckConstraint("priority IN ('low', 'normal', 'high', 'urgent')", name="priority"),
    info={SINCE: "0008"},
)

ticket_permissions = Table(
    "ticket_permissions",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("ticket_id", _ulid, ForeignKey("tickets.id"), nullable=False),
    Column("channel_id", BigInteger, nullable=False),
    # A user or a role.
    Column("subject_id", BigInteger, nullable=False),
    Column("subject_kind", Unicode(8), nullable=False),
    # A name: what it is in bits is in the code, and in the audit log.
    Column("permission_set", Unicode(16), nullable=False),
    Column("state", Unicode(16), nullable=False),
    Column("asked_by", Unicode(120), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    # NULL: as long as the ticket is open.
    Column("until", UtcDateTime),
    Column("decided_by", Unicode(120), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Index("ix_ticket_permissions_channel_id_subject_id", "channel_id", "subject_id"),
    Index("ix_ticket_permissions_state_until", "state", "until"),
    CheckConstraint("subject_kind IN ('user', 'role')", name="subject_kind"),
    CheckConstraint(
        "state IN ('asking', 'granting', 'granted', 'revoking', 'revoked', 'refused', 'failed')", name="state"
    ),
    info={SINCE: "0008"},
)

giveaways = Table(
    "giveaways",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("guild_id", BigInteger, nullable=False),
    Column("channel_id", BigInteger, nullable=False),
    Column("message_id", BigInteger),
    Column("prize", Unicode(200), nullable=False),
    Column("description", Unicode(1000), nullable=False),
    Column("winners", Integer, nullable=False),
    # Who may enter, and with how many entries; JSON.
    Column("rules", Unicode(4000), nullable=False),
    # The tier of the licence that winners get; empty: none.
    Column("prize_tier", Unicode(40), nullable=False),
    # How long winners have to claim, in seconds; 0: they need not.
    Column("claim_s", Integer, nullable=False),
    Column("started_by", BigInteger, nullable=False),
    Column("starts_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("state", Unicode(16), nullable=False),
    # The draw can be checked afterwards: its seed is committed to before the end, and shown after it.
    Column("seed_hash", LargeBinary(32), nullable=False),
    Column("sealed_seed", LargeBinary(128), nullable=False),
    Column("seed", LargeBinary(32)),
    Column("entries_hash", LargeBinary(32)),
    # How many draws there were, and how many of them were told: what is in between is told by whoever runs next.
    Column("draws", Integer, nullable=False),
    Column("told_draws", Integer, nullable=False),
    Column("drawn_at", UtcDateTime),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("changed_by", Unicode(120), nullable=False),
    Column("reason", Unicode(400), nullable=False),
    Index("ix_giveaways_state_ends_at", "state", "ends_at"),
    Index("ix_giveaways_guild_id_ends_at", "guild_id", "ends_at"),
    CheckConstraint("state IN ('scheduled', 'open', 'drawing', 'drawn', 'cancelled')", name="state"),
    CheckConstraint("winners >= 1", name="winners"),
    info={SINCE: "0008"},
)

giveaway_entries = Table(
    "giveaway_entries",
    metadata,
    Column("giveaway_id", _ulid, ForeignKey("giveaways.id"), primary_key=True),
    Column("user_id", BigInteger, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("weight", Integer, nullable=False),
    CheckConstraint("weight >= 1", name="weight"),
    info={SINCE: "0008"},
)

giveaway_winners = Table(
    "giveaway_winners",
    metadata,
    Column("giveaway_id", _ulid, ForeignKey("giveaways.id"), primary_key=True),
    # 0 for the draw, then one more for each that draws again.
    Column("draw", Integer, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("user_id", BigInteger, nullable=False),
    Column("state", Unicode(16), nullable=False),
    Column("claim_until", UtcDateTime),
    Column("licence_id", Unicode(32), ForeignKey("licenses.id")),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Index("ix_giveaway_winners_state_claim_until", "state", "claim_until"),
    CheckConstraint("state IN ('drawn', 'told', 'claimed', 'unclaimed', 'left', 'replaced')", name="state"),
    info={SINCE: "0008"},
)

gmail_watch = Table(
    "gmail_watch",
    metadata,
    Column("id", _ulid, primary_key=True),
    # Its name in MAILBOXES.
    Column("name", Unicode(40), nullable=False, unique=True),
    # The password or the refresh token.
    Column("sealed_secret", LargeBinary(8192)),
    # UIDs say nothing about a mailbox whose UIDVALIDITY is another; NULL until it was opened once.
    Column("uid_validity", BigInteger),
    Column("uid_next", BigInteger),
    # What came before is not acted on, whatever becomes of the UIDs.
    Column("since", UtcDateTime),
    Column("last_mail_at", UtcDateTime),
    Column("is_paused", Boolean, nullable=False),
    Column("state", Unicode(16), nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    CheckConstraint("state IN ('stopped', 'starting', 'ready', 'degraded', 'backoff', 'quarantined')", name="state"),
    info={SINCE: "0010"},
)

mails = Table(
    "mails",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("mailbox", Unicode(40), nullable=False),
    Column("uid_validity", BigInteger, nullable=False),
    Column("uid", BigInteger, nullable=False),
    # Of its Message-ID, or of its header where it has none: the same mail under another UID.
    Column("mail_hash", LargeBinary(32), nullable=False),
    Column("message_id", Unicode(400), nullable=False),
    Column("sender", Unicode(320), nullable=False),
    Column("subject", Unicode(400), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("is_trusted", Boolean, nullable=False),
    # What actions need of it, JSON; empty once they are done.
    Column("content", UnicodeText, nullable=False),
    Column("state", Unicode(16), nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("uq_mails_mailbox_mail_hash", "mailbox", "mail_hash", unique=True),
    Index("ix_mails_mailbox_uid", "mailbox", "uid_validity", "uid"),
    Index("ix_mails_state", "state"),
    CheckConstraint("state IN ('seen', 'acting', 'done', 'failed', 'ignored')", name="state"),
    info={SINCE: "0010"},
)

mail_actions = Table(
    "mail_actions",
    metadata,
    Column("mail_id", _ulid, ForeignKey("mails.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("rule", Unicode(40), nullable=False),
    Column("action", Unicode(16), nullable=False),
    # The rule as it was when the mail came; JSON.
    Column("plan", UnicodeText, nullable=False),
    Column("state", Unicode(16), nullable=False),
    # What it made: a message, a ticket, a licence, a run.
    Column("result", Unicode(120), nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("ix_mail_actions_state", "state"),
    CheckConstraint("state IN ('planned', 'doing', 'done', 'failed', 'asked')", name="state"),
    info={SINCE: "0010"},
)

mail_threads = Table(
    "mail_threads",
    metadata,
    # Who wrote the mail that opened the ticket, and where the thread is.
    Column("ticket_id", _ulid, ForeignKey("tickets.id"), primary_key=True),
    Column("mailbox", Unicode(40), nullable=False),
    Column("address", Unicode(320), nullable=False),
    Column("subject", Unicode(400), nullable=False),
    Column("last_message_id", Unicode(400), nullable=False),
    # Message-IDs, oldest first; JSON.
    Column("message_ids", UnicodeText, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    info={SINCE: "0010"},
)

mail_answers = Table(
    "mail_answers",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("ticket_id", _ulid, ForeignKey("tickets.id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("text", UnicodeText, nullable=False),
    Column("written_by", Unicode(120), nullable=False),
    Column("message_id", Unicode(400), nullable=False),
    Column("state", Unicode(16), nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("ix_mail_answers_ticket_id", "ticket_id"),
    Index("ix_mail_answers_state", "state"),
    CheckConstraint("state IN ('waiting', 'sending', 'sent', 'failed', 'asked')", name="state"),
    info={SINCE: "0010"},
)

wanted_channels = Table(
    "wanted_channels",
    metadata,
    # What the fleet has a channel for: 'LOG', 'tickets/support', 'tree/welcome'; its id changes when it is made anew.
    Column("key", Unicode(100), primary_key=True),
    Column("guild_id", BigInteger, nullable=False),
    Column("channel_id", BigInteger, nullable=False),
    # How it was when it was seen last; JSON.
    Column("seen", UnicodeText, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("ix_wanted_channels_channel_id", "channel_id"),
    info={SINCE: "0010"},
)

channel_moves = Table(
    "channel_moves",
    metadata,
    # A channel that was made anew has another id: what config.py, nodes and messages name by the old one is found.
    Column("old_id", BigInteger, primary_key=True, autoincrement=False),
    Column("new_id", BigInteger, nullable=False),
    Column("key", Unicode(100), nullable=False),
    Column("guild_id", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    info={SINCE: "0010"},
)

channel_repairs = Table(
    "channel_repairs",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("guild_id", BigInteger, nullable=False),
    Column("key", Unicode(100), nullable=False),
    Column("channel_id", BigInteger, nullable=False),
    Column("drift", Unicode(16), nullable=False),
    # What was wanted, and what was found; JSON.
    Column("wanted", UnicodeText, nullable=False),
    Column("found", UnicodeText, nullable=False),
    # Who did it, by the server's audit log; NULL where that does not say.
    Column("culprit_id", BigInteger),
    Column("culprit", Unicode(120), nullable=False),
    Column("state", Unicode(16), nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("changed_by", Unicode(120), nullable=False),
    Index("ix_channel_repairs_key_at", "key", "at"),
    Index("ix_channel_repairs_state", "state"),
    CheckConstraint(
        "drift IN ('gone', 'renamed', 'moved', 'topic', 'permissions', 'order', 'panel', 'pin')", name="drift"
    ),
    CheckConstraint(
        "state IN ('found', 'repairing', 'repaired', 'asked', 'left', 'failed', 'undoing', 'undone')", name="state"
    ),
    info={SINCE: "0010"},
)

channel_panels = Table(
    "channel_panels",
    metadata,
    # A message that has to be in a channel: its key in the wanted tree.
    Column("key", Unicode(100), primary_key=True),
    Column("channel_id", BigInteger, nullable=False),
    Column("message_id", BigInteger, nullable=False),
    Column("content_hash", LargeBinary(32), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    info={SINCE: "0010"},
)

announcements = Table(
    "announcements",
    metadata,
    Column("id", _ulid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    # A cron line; empty: once. Each time is a row of its own, which names this one.
    Column("schedule", Unicode(120), nullable=False),
    Column("parent_id", _ulid),
    Column("title", Unicode(200), nullable=False),
    Column("text", UnicodeText, nullable=False),
    Column("state", Unicode(16), nullable=False),
    Column("written_by", Unicode(120), nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("ix_announcements_state_due_at", "state", "due_at"),
    CheckConstraint("state IN ('scheduled', 'sending', 'sent', 'cancelled', 'failed')", name="state"),
    info={SINCE: "0010"},
)

announcement_places = Table(
    "announcement_places",
    metadata,
    Column("announcement_id", _ulid, ForeignKey("announcements.id"), primary_key=True),
    # Its name in ANNOUNCE.
    Column("place", Unicode(40), primary_key=True),
    Column("state", Unicode(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", UtcDateTime),
    Column("url", Unicode(400), nullable=False),
    Column("detail", Unicode(400), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    CheckConstraint("state IN ('waiting', 'sending', 'sent', 'asked', 'given_up')", name="state"),
    info={SINCE: "0010"},
)
