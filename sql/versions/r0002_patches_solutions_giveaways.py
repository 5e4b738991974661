"""Patches, solutions, tickets, giveaways, mail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from master.ledger.schema.tables import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade to this revision."""
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
        "gmail_watch",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("mailbox_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("history_id", sa.BigInteger(), nullable=False),
        sa.Column("last_message_at", UtcDateTime(), nullable=True),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("state IN ('watching', 'paused', 'failed')", name=op.f("ck_gmail_watch_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gmail_watch")),
        sa.UniqueConstraint("mailbox_hash", name=op.f("uq_gmail_watch_mailbox_hash")),
    )
    op.create_table(
        "patches",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("name", sa.Unicode(length=80), nullable=False),
        sa.Column("version", sa.Unicode(length=32), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("author", sa.Unicode(length=120), nullable=False),
        sa.Column("archive_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("manifest", sa.UnicodeText(), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=True),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('announced', 'canary', 'rolling', 'paused', 'done', 'rolled_back', 'failed')",
            name=op.f("ck_patches_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patches")),
        sa.UniqueConstraint("archive_hash", name=op.f("uq_patches_archive_hash")),
    )
    with op.batch_alter_table("patches", schema=None) as batch_op:
        batch_op.create_index("ux_patches_name_version", ["name", "version"], unique=True)

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
    op.create_table(
        "patch_tracking",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("patch_id", sa.Unicode(length=26), nullable=False),
        sa.Column("node_id", sa.Unicode(length=26), nullable=True),
        sa.Column("kind", sa.Unicode(length=16), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("emoji", sa.Unicode(length=64), nullable=False),
        sa.Column("status", sa.Unicode(length=16), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.CheckConstraint("kind IN ('reaction', 'status')", name=op.f("ck_patch_tracking_kind")),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_patch_tracking_node_id")),
        sa.ForeignKeyConstraint(["patch_id"], ["patches.id"], name=op.f("fk_patch_tracking_patch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patch_tracking")),
    )
    with op.batch_alter_table("patch_tracking", schema=None) as batch_op:
        batch_op.create_index("ix_patch_tracking_node_id_at", ["node_id", "at"], unique=False)
        batch_op.create_index("ix_patch_tracking_patch_id_at", ["patch_id", "at"], unique=False)

    op.create_table(
        "solution_runs",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("node_id", sa.Unicode(length=26), nullable=False),
        sa.Column("solution_id", sa.Unicode(length=64), nullable=False),
        sa.Column("error_event_id", sa.Unicode(length=26), nullable=True),
        sa.Column("action", sa.Unicode(length=32), nullable=False),
        sa.Column("outcome", sa.Unicode(length=16), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('running', 'helped', 'did_not_help', 'failed', 'skipped')",
            name=op.f("ck_solution_runs_outcome"),
        ),
        sa.ForeignKeyConstraint(["error_event_id"], ["error_events.id"], name=op.f("fk_solution_runs_error_event_id")),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_solution_runs_node_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_solution_runs")),
    )
    with op.batch_alter_table("solution_runs", schema=None) as batch_op:
        batch_op.create_index("ix_solution_runs_node_id_at", ["node_id", "at"], unique=False)
        batch_op.create_index("ix_solution_runs_solution_id_at", ["solution_id", "at"], unique=False)


def downgrade() -> None:
    """Downgrade from it."""
    with op.batch_alter_table("solution_runs", schema=None) as batch_op:
        batch_op.drop_index("ix_solution_runs_solution_id_at")
        batch_op.drop_index("ix_solution_runs_node_id_at")

    op.drop_table("solution_runs")
    with op.batch_alter_table("patch_tracking", schema=None) as batch_op:
        batch_op.drop_index("ix_patch_tracking_patch_id_at")
        batch_op.drop_index("ix_patch_tracking_node_id_at")

    op.drop_table("patch_tracking")
    op.drop_table("giveaway_entries")
    with op.batch_alter_table("ticket_permissions", schema=None) as batch_op:
        batch_op.drop_index("ix_ticket_permissions_channel_id_subject_id")

    op.drop_table("ticket_permissions")
    with op.batch_alter_table("patches", schema=None) as batch_op:
        batch_op.drop_index("ux_patches_name_version")

    op.drop_table("patches")
    op.drop_table("gmail_watch")
    with op.batch_alter_table("giveaways", schema=None) as batch_op:
        batch_op.drop_index("ux_giveaways_message_id", sqlite_where=sa.text("message_id IS NOT NULL"))
        batch_op.drop_index("ix_giveaways_state_ends_at")

    op.drop_table("giveaways")
