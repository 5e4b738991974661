"""The first ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from master.ledger.schema.tables import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade to this revision."""
    op.create_table(
        "audit_log",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.Unicode(length=120), nullable=False),
        sa.Column("face", sa.Unicode(length=16), nullable=False),
        sa.Column("action", sa.Unicode(length=40), nullable=False),
        sa.Column("node_id", sa.Unicode(length=26), nullable=True),
        sa.Column("outcome", sa.Unicode(length=16), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.Column("chain", sa.LargeBinary(length=32), nullable=False),
        sa.CheckConstraint("outcome IN ('done', 'refused', 'failed')", name=op.f("ck_audit_log_outcome")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_log")),
    )
    with op.batch_alter_table("audit_log", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_log_node_id"), ["node_id"], unique=False)

    op.create_table(
        "nodes",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("name", sa.Unicode(length=40), nullable=False),
        sa.Column("name_key", sa.Unicode(length=40), nullable=False),
        sa.Column("folder", sa.Unicode(length=255), nullable=False),
        sa.Column("entry", sa.Unicode(length=255), nullable=False),
        sa.Column("bot_user_id", sa.BigInteger(), nullable=False),
        sa.Column("desired_state", sa.Unicode(length=16), nullable=False),
        sa.Column("lifecycle", sa.Unicode(length=16), nullable=False),
        sa.Column("readiness", sa.Unicode(length=16), nullable=False),
        sa.Column("key_epoch", sa.Integer(), nullable=False),
        sa.Column("template_version", sa.Unicode(length=32), nullable=False),
        sa.Column("tags", sa.Unicode(length=400), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("flagged_at", UtcDateTime(), nullable=True),
        sa.Column("flag_reason", sa.Unicode(length=40), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("pid_started_at", sa.Float(precision=53), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("desired_state IN ('running', 'stopped')", name=op.f("ck_nodes_desired_state")),
        sa.CheckConstraint("lifecycle IN ('provisioning', 'active', 'removed')", name=op.f("ck_nodes_lifecycle")),
        sa.CheckConstraint("readiness IN ('handshake', 'process')", name=op.f("ck_nodes_readiness")),
        sa.CheckConstraint("key_epoch >= 1", name=op.f("ck_nodes_key_epoch")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
    )
    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.create_index(
            "ux_nodes_bot_user_id_alive",
            ["bot_user_id"],
            unique=True,
            sqlite_where=sa.text("lifecycle <> 'removed'"),
            mssql_where=sa.text("lifecycle <> 'removed'"),
        )
        batch_op.create_index(
            "ux_nodes_folder_alive",
            ["folder"],
            unique=True,
            sqlite_where=sa.text("lifecycle <> 'removed'"),
            mssql_where=sa.text("lifecycle <> 'removed'"),
        )
        batch_op.create_index(
            "ux_nodes_name_key_alive",
            ["name_key"],
            unique=True,
            sqlite_where=sa.text("lifecycle <> 'removed'"),
            mssql_where=sa.text("lifecycle <> 'removed'"),
        )

    op.create_table(
        "bot_duplications",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("node_id", sa.Unicode(length=26), nullable=False),
        sa.Column("source", sa.Unicode(length=80), nullable=False),
        sa.Column("requested_by", sa.Unicode(length=120), nullable=False),
        sa.Column("outcome", sa.Unicode(length=16), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('running', 'done', 'failed', 'cleaned_up')", name=op.f("ck_bot_duplications_outcome")
        ),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_bot_duplications_node_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bot_duplications")),
    )
    with op.batch_alter_table("bot_duplications", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_bot_duplications_node_id"), ["node_id"], unique=False)

    op.create_table(
        "error_events",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.Column("node_id", sa.Unicode(length=26), nullable=False),
        sa.Column("source", sa.Unicode(length=16), nullable=False),
        sa.Column("fingerprint", sa.Unicode(length=16), nullable=False),
        sa.Column("summary", sa.Unicode(length=400), nullable=False),
        sa.Column("detail", sa.UnicodeText(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("count >= 1", name=op.f("ck_error_events_count")),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_error_events_node_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_error_events")),
    )
    with op.batch_alter_table("error_events", schema=None) as batch_op:
        batch_op.create_index("ix_error_events_node_id_fingerprint", ["node_id", "fingerprint"], unique=False)

    op.create_table(
        "handshake_events",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("node_id", sa.Unicode(length=26), nullable=True),
        sa.Column("message_type", sa.Unicode(length=40), nullable=False),
        sa.Column("outcome", sa.Unicode(length=40), nullable=False),
        sa.Column("transport", sa.Unicode(length=16), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_handshake_events_node_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_handshake_events")),
    )
    with op.batch_alter_table("handshake_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_handshake_events_at"), ["at"], unique=False)
        batch_op.create_index("ix_handshake_events_node_id_at", ["node_id", "at"], unique=False)

    op.create_table(
        "licenses",
        sa.Column("id", sa.Unicode(length=32), nullable=False),
        sa.Column("node_id", sa.Unicode(length=26), nullable=True),
        sa.Column("tier", sa.Unicode(length=40), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("issued_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("activated_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('issued', 'active', 'suspended', 'revoked', 'expired')", name=op.f("ck_licenses_state")
        ),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_licenses_node_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_licenses")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_licenses_code_hash")),
    )
    with op.batch_alter_table("licenses", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_licenses_node_id"), ["node_id"], unique=False)

    op.create_table(
        "node_tokens",
        sa.Column("node_id", sa.Unicode(length=26), nullable=False),
        sa.Column("sealed", sa.LargeBinary(length=512), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_node_tokens_node_id")),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_node_tokens")),
    )
    op.create_table(
        "process_events",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("node_id", sa.Unicode(length=26), nullable=False),
        sa.Column("kind", sa.Unicode(length=16), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("signal", sa.SmallInteger(), nullable=True),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_process_events_node_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_process_events")),
    )
    with op.batch_alter_table("process_events", schema=None) as batch_op:
        batch_op.create_index("ix_process_events_node_id_at", ["node_id", "at"], unique=False)


def downgrade() -> None:
    """Downgrade from it."""
    with op.batch_alter_table("process_events", schema=None) as batch_op:
        batch_op.drop_index("ix_process_events_node_id_at")

    op.drop_table("process_events")
    op.drop_table("node_tokens")
    with op.batch_alter_table("licenses", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_licenses_node_id"))

    op.drop_table("licenses")
    with op.batch_alter_table("handshake_events", schema=None) as batch_op:
        batch_op.drop_index("ix_handshake_events_node_id_at")
        batch_op.drop_index(batch_op.f("ix_handshake_events_at"))

    op.drop_table("handshake_events")
    with op.batch_alter_table("error_events", schema=None) as batch_op:
        batch_op.drop_index("ix_error_events_node_id_fingerprint")

    op.drop_table("error_events")
    with op.batch_alter_table("bot_duplications", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_bot_duplications_node_id"))

    op.drop_table("bot_duplications")
    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.drop_index(
            "ux_nodes_name_key_alive",
            sqlite_where=sa.text("lifecycle <> 'removed'"),
            mssql_where=sa.text("lifecycle <> 'removed'"),
        )
        batch_op.drop_index(
            "ux_nodes_folder_alive",
            sqlite_where=sa.text("lifecycle <> 'removed'"),
            mssql_where=sa.text("lifecycle <> 'removed'"),
        )
        batch_op.drop_index(
            "ux_nodes_bot_user_id_alive",
            sqlite_where=sa.text("lifecycle <> 'removed'"),
            mssql_where=sa.text("lifecycle <> 'removed'"),
        )

    op.drop_table("nodes")
    with op.batch_alter_table("audit_log", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_log_node_id"))

    op.drop_table("audit_log")
