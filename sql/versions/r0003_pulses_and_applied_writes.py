"""Snapshots of pulses; the highest write applied per session."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from master.ledger.schema.tables import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade to this revision."""
    op.create_table(
        "applied_writes",
        sa.Column("session_id", sa.Unicode(length=26), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("sequence >= 1", name=op.f("ck_applied_writes_sequence")),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_applied_writes")),
    )
    op.create_table(
        "pulse_snapshots",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("node_id", sa.Unicode(length=26), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("guilds", sa.Integer(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_pulse_snapshots_node_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pulse_snapshots")),
    )
    with op.batch_alter_table("pulse_snapshots", schema=None) as batch_op:
        batch_op.create_index("ix_pulse_snapshots_node_id_at", ["node_id", "at"], unique=False)

    with op.batch_alter_table("error_events", schema=None) as batch_op:
        batch_op.create_index("ix_error_events_last_at", ["last_at"], unique=False)
        batch_op.create_index("ix_error_events_node_id_last_at", ["node_id", "last_at"], unique=False)


def downgrade() -> None:
    """Downgrade from it."""
    with op.batch_alter_table("error_events", schema=None) as batch_op:
        batch_op.drop_index("ix_error_events_node_id_last_at")
        batch_op.drop_index("ix_error_events_last_at")

    with op.batch_alter_table("pulse_snapshots", schema=None) as batch_op:
        batch_op.drop_index("ix_pulse_snapshots_node_id_at")

    op.drop_table("pulse_snapshots")
    op.drop_table("applied_writes")
