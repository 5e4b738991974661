"""Licences of people, shops, giveaways that can be checked, tickets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from master.ledger.schema.tables import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision: nothing has written to the tables of giveaways and tickets before it."""
    for table in ("giveaway_entries", "ticket_permissions", "giveaways"):
        op.drop_table(table)
    op.add_column("licenses", sa.Column("holder_id", sa.BigInteger(), nullable=True))
    op.add_column("licenses", sa.Column("guild_id", sa.BigInteger(), nullable=True))
    op.add_column("licenses", sa.Column("origin", sa.Unicode(length=120), server_default="", nullable=False))
    op.add_column("licenses", sa.Column("note", sa.Unicode(length=200), server_default="", nullable=False))
    op.add_column("licenses", sa.Column("warned_days", sa.Integer(), nullable=True))
    op.add_column("licenses", sa.Column("changed_at", UtcDateTime(), nullable=True))
    op.add_column("licenses", sa.Column("changed_by", sa.Unicode(length=120), server_default="", nullable=False))
    op.create_index("ix_licenses_state_expires_at", "licenses", ["state", "expires_at"])
    op.create_table(
        "licence_uses",
        sa.Column("licence_id", sa.Unicode(length=32), nullable=False),
        sa.Column("kind", sa.Unicode(length=8), nullable=False),
        sa.Column("subject", sa.Unicode(length=26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("kind IN ('node', 'person')", name=op.f("ck_licence_uses_kind")),
        sa.ForeignKeyConstraint(["licence_id"], ["licenses.id"], name=op.f("fk_licence_uses_licence_id")),
        sa.PrimaryKeyConstraint("licence_id", "kind", "subject", name=op.f("pk_licence_uses")),
    )
    op.create_index("ix_licence_uses_kind_subject", "licence_uses", ["kind", "subject"])
    op.create_table(
        "licence_events",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("licence_id", sa.Unicode(length=32), nullable=False),
        sa.Column("what", sa.Unicode(length=16), nullable=False),
        sa.Column("actor", sa.Unicode(length=120), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.CheckConstraint(
            "what IN ('issued', 'redeemed', 'renewed', 'suspended', 'reinstated', "
            "'revoked', 'transferred', 'expired', 'warned', 'role')",
            name=op.f("ck_licence_events_what"),
        ),
        sa.ForeignKeyConstraint(["licence_id"], ["licenses.id"], name=op.f("fk_licence_events_licence_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_licence_events")),
    )
    op.create_index("ix_licence_events_licence_id_at", "licence_events", ["licence_id", "at"])
    op.create_table(
        "shop_events",
        sa.Column("source", sa.Unicode(length=16), nullable=False),
        sa.Column("event_id", sa.Unicode(length=120), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("reference", sa.Unicode(length=120), nullable=False),
        sa.Column("licence_id", sa.Unicode(length=32), nullable=True),
        sa.Column("outcome", sa.Unicode(length=16), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('taken', 'issued', 'renewed', 'revoked', 'ignored', 'refused')",
            name=op.f("ck_shop_events_outcome"),
        ),
        sa.ForeignKeyConstraint(["licence_id"], ["licenses.id"], name=op.f("fk_shop_events_licence_id")),
        sa.PrimaryKeyConstraint("source", "event_id", name=op.f("pk_shop_events")),
    )
    op.create_index("ix_shop_events_source_reference", "shop_events", ["source", "reference"])
    op.create_table(
        "tickets",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("node_id", sa.Unicode(length=26), nullable=False),
        sa.Column("category", sa.Unicode(length=40), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=True),
        sa.Column("is_thread", sa.Boolean(), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        sa.Column("claimed_by", sa.BigInteger(), nullable=True),
        sa.Column("priority", sa.Unicode(length=8), nullable=False),
        sa.Column("topic", sa.Unicode(length=200), nullable=False),
        sa.Column("answers", sa.UnicodeText(), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.Column("warned_at", UtcDateTime(), nullable=True),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.Column("closed_by", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Unicode(length=400), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("priority IN ('low', 'normal', 'high', 'urgent')", name=op.f("ck_tickets_priority")),
        sa.CheckConstraint(
            "state IN ('queued', 'opening', 'open', 'closing', 'closed', 'deleted')", name=op.f("ck_tickets_state")
        ),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_tickets_node_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tickets")),
    )
    op.create_index("ix_tickets_channel_id", "tickets", ["channel_id"])
    op.create_index("ix_tickets_guild_id_number", "tickets", ["guild_id", "number"])
    op.create_index("ix_tickets_node_id_state", "tickets", ["node_id", "state"])
    op.create_index("ix_tickets_state_last_at", "tickets", ["state", "last_at"])
    op.create_table(
        "ticket_permissions",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("ticket_id", sa.Unicode(length=26), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("subject_kind", sa.Unicode(length=8), nullable=False),
        sa.Column("permission_set", sa.Unicode(length=16), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("asked_by", sa.Unicode(length=120), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=True),
        sa.Column("decided_by", sa.Unicode(length=120), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.CheckConstraint(
            "state IN ('asking', 'granting', 'granted', 'revoking', 'revoked', 'refused', 'failed')",
            name=op.f("ck_ticket_permissions_state"),
        ),
        sa.CheckConstraint("subject_kind IN ('user', 'role')", name=op.f("ck_ticket_permissions_subject_kind")),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name=op.f("fk_ticket_permissions_ticket_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ticket_permissions")),
    )
    op.create_index("ix_ticket_permissions_channel_id_subject_id", "ticket_permissions", ["channel_id", "subject_id"])
    op.create_index("ix_ticket_permissions_state_until", "ticket_permissions", ["state", "until"])
    op.create_table(
        "giveaways",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("prize", sa.Unicode(length=200), nullable=False),
        sa.Column("description", sa.Unicode(length=1000), nullable=False),
        sa.Column("winners", sa.Integer(), nullable=False),
        sa.Column("rules", sa.Unicode(length=4000), nullable=False),
        sa.Column("prize_tier", sa.Unicode(length=40), nullable=False),
        sa.Column("claim_s", sa.Integer(), nullable=False),
        sa.Column("started_by", sa.BigInteger(), nullable=False),
        sa.Column("starts_at", UtcDateTime(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("seed_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed_seed", sa.LargeBinary(length=128), nullable=False),
        sa.Column("seed", sa.LargeBinary(length=32), nullable=True),
        sa.Column("entries_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("draws", sa.Integer(), nullable=False),
        sa.Column("told_draws", sa.Integer(), nullable=False),
        sa.Column("drawn_at", UtcDateTime(), nullable=True),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.Column("changed_by", sa.Unicode(length=120), nullable=False),
        sa.Column("reason", sa.Unicode(length=400), nullable=False),
        sa.CheckConstraint(
            "state IN ('scheduled', 'open', 'drawing', 'drawn', 'cancelled')", name=op.f("ck_giveaways_state")
        ),
        sa.CheckConstraint("winners >= 1", name=op.f("ck_giveaways_winners")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_giveaways")),
    )
    op.create_index("ix_giveaways_guild_id_ends_at", "giveaways", ["guild_id", "ends_at"])
    op.create_index("ix_giveaways_state_ends_at", "giveaways", ["state", "ends_at"])
    op.create_table(
        "giveaway_entries",
        sa.Column("giveaway_id", sa.Unicode(length=26), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.CheckConstraint("weight >= 1", name=op.f("ck_giveaway_entries_weight")),
        sa.ForeignKeyConstraint(["giveaway_id"], ["giveaways.id"], name=op.f("fk_giveaway_entries_giveaway_id")),
        sa.PrimaryKeyConstraint("giveaway_id", "user_id", name=op.f("pk_giveaway_entries")),
    )
    op.create_table(
        "giveaway_winners",
        sa.Column("giveaway_id", sa.Unicode(length=26), nullable=False),
        sa.Column("draw", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("claim_until", UtcDateTime(), nullable=True),
        sa.Column("licence_id", sa.Unicode(length=32), nullable=True),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.CheckConstraint(
            "state IN ('drawn', 'told', 'claimed', 'unclaimed', 'left', 'replaced')",
            name=op.f("ck_giveaway_winners_state"),
        ),
        sa.ForeignKeyConstraint(["licence_id"], ["licenses.id"], name=op.f("fk_giveaway_winners_licence_id")),
        sa.ForeignKeyConstraint(["giveaway_id"], ["giveaways.id"], name=op.f("fk_giveaway_winners_giveaway_id")),
        sa.PrimaryKeyConstraint("giveaway_id", "draw", "place", name=op.f("pk_giveaway_winners")),
    )
    op.create_index("ix_giveaway_winners_state_claim_until", "giveaway_winners", ["state", "claim_until"])


def downgrade() -> None:
    """Go back from it: giveaways, tickets and what is known of people's licences are lost."""
    for table in (
        *("giveaway_winners", "giveaway_entries", "giveaways", "ticket_permissions", "tickets"),
        *("shop_events", "licence_events", "licence_uses"),
    ):
        op.drop_table(table)
    op.drop_index("ix_licenses_state_expires_at", "licenses")
    for column in ("changed_by", "changed_at", "warned_days", "note", "origin", "guild_id", "holder_id"):
        op.drop_column("licenses", column, mssql_drop_default=True)
    op.create_table(
        "giveaways",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("prize", sa.Unicode(length=200), nullable=False),
        sa.Column("winners", sa.Integer(), nullable=False),
        sa.Column("required_role_id", sa.BigInteger(), nullable=True),
        sa.Column("started_by", sa.BigInteger(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("seed_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("seed", sa.LargeBinary(length=32), nullable=True),
        sa.CheckConstraint("state IN ('open', 'drawn', 'cancelled')", name=op.f("ck_giveaways_state")),
        sa.CheckConstraint("winners >= 1", name=op.f("ck_giveaways_winners")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_giveaways")),
    )
    with op.batch_alter_table("giveaways", schema=None) as batch_op:
        batch_op.create_index("ix_giveaways_state_ends_at", ["state", "ends_at"], unique=False)
        batch_op.create_index(
            "ux_giveaways_message_id",
            ["message_id"],
            unique=True,
            sqlite_where=sa.text("message_id IS NOT NULL"),
            mssql_where=sa.text("message_id IS NOT NULL"),
        )
    op.create_table(
        "ticket_permissions",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("subject_kind", sa.Unicode(length=8), nullable=False),
        sa.Column("allow_bits", sa.BigInteger(), nullable=False),
        sa.Column("deny_bits", sa.BigInteger(), nullable=False),
        sa.Column("granted_by", sa.BigInteger(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("subject_kind IN ('user', 'role')", name=op.f("ck_ticket_permissions_subject_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ticket_permissions")),
    )
    with op.batch_alter_table("ticket_permissions", schema=None) as batch_op:
        batch_op.create_index("ix_ticket_permissions_channel_id_subject_id", ["channel_id", "subject_id"], unique=False)
    op.create_table(
        "giveaway_entries",
        sa.Column("giveaway_id", sa.Unicode(length=26), nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("won", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["giveaway_id"], ["giveaways.id"], name=op.f("fk_giveaway_entries_giveaway_id")),
        sa.PrimaryKeyConstraint("giveaway_id", "user_id", name=op.f("pk_giveaway_entries")),
    )
