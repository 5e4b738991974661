"""Patches: their keys, their roll-out on each node, the generations of what is patched; facts of a fleet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from master.ledger.schema.tables import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision: nothing has written to the tables of patches before it."""
    op.drop_table("patch_tracking")
    op.drop_table("patches")
    op.create_table(
        "patches",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("name", sa.Unicode(length=40), nullable=False),
        sa.Column("channel", sa.Unicode(length=40), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.Unicode(length=64), nullable=False),
        sa.Column("author", sa.Unicode(length=120), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("received_from", sa.Unicode(length=120), nullable=False),
        sa.Column("bundle_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("bundle_bytes", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.UnicodeText(), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("rollout_plan", sa.Unicode(length=4000), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.Column("changed_by", sa.Unicode(length=120), nullable=False),
        sa.Column("reason", sa.Unicode(length=400), nullable=False),
        sa.Column("message_channel_id", sa.BigInteger(), nullable=True),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('received', 'approved', 'rolling', 'soaking', 'asking', "
            "'paused', 'done', 'rolling_back', 'rolled_back', 'aborted', 'failed')",
            name=op.f("ck_patches_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patches")),
        sa.UniqueConstraint("bundle_hash", name=op.f("uq_patches_bundle_hash")),
    )
    op.create_index("ix_patches_received_at", "patches", ["received_at"])
    op.create_index("ix_patches_state", "patches", ["state"])
    op.create_table(
        "patch_nodes",
        sa.Column("patch_id", sa.Unicode(length=26), nullable=False),
        sa.Column("node_id", sa.Unicode(length=26), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.Column("release_after", sa.Integer(), nullable=True),
        sa.Column("release_before", sa.Integer(), nullable=True),
        sa.Column("baseline", sa.UnicodeText(), nullable=False),
        sa.Column("detail", sa.UnicodeText(), nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'ordered', 'received', 'staged', 'applied', 'healthy', "
            "'good', 'failed', 'rolling_back', 'rolled_back', 'rollback_failed', 'skipped', 'absent')",
            name=op.f("ck_patch_nodes_state"),
        ),
        sa.ForeignKeyConstraint(["patch_id"], ["patches.id"], name=op.f("fk_patch_nodes_patch_id")),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_patch_nodes_node_id")),
        sa.PrimaryKeyConstraint("patch_id", "node_id", name=op.f("pk_patch_nodes")),
    )
    op.create_index("ix_patch_nodes_node_id", "patch_nodes", ["node_id"])
    op.create_table(
        "patch_keys",
        sa.Column("id", sa.Unicode(length=64), nullable=False),
        sa.Column("name", sa.Unicode(length=80), nullable=False),
        sa.Column("kind", sa.Unicode(length=40), nullable=False),
        sa.Column("public", sa.Unicode(length=1000), nullable=False),
        sa.Column("added_at", UtcDateTime(), nullable=False),
        sa.Column("added_by", sa.Unicode(length=120), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_by", sa.Unicode(length=120), nullable=False),
        sa.Column("why", sa.Unicode(length=400), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patch_keys")),
    )
    op.create_table(
        "patch_versions",
        sa.Column("key_id", sa.Unicode(length=64), nullable=False),
        sa.Column("channel", sa.Unicode(length=40), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "channel", name=op.f("pk_patch_versions")),
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
        sa.CheckConstraint("kind IN ('reaction', 'unreaction', 'status')", name=op.f("ck_patch_tracking_kind")),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_patch_tracking_node_id")),
        sa.ForeignKeyConstraint(["patch_id"], ["patches.id"], name=op.f("fk_patch_tracking_patch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patch_tracking")),
    )
    op.create_index("ix_patch_tracking_node_id_at", "patch_tracking", ["node_id", "at"])
    op.create_index("ix_patch_tracking_patch_id_at", "patch_tracking", ["patch_id", "at"])
    op.create_table(
        "generations",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("kind", sa.Unicode(length=16), nullable=False),
        sa.Column("subject", sa.Unicode(length=80), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("cause", sa.Unicode(length=16), nullable=False),
        sa.Column("parent", sa.Unicode(length=26), nullable=False),
        sa.Column("actor", sa.Unicode(length=120), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.Column("manifest", sa.UnicodeText(), nullable=False),
        sa.Column("signature", sa.LargeBinary(length=32), nullable=False),
        sa.CheckConstraint("generation >= 1", name=op.f("ck_generations_generation")),
        sa.CheckConstraint("kind IN ('node', 'template', 'patch', 'solution')", name=op.f("ck_generations_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generations")),
    )
    op.create_index(
        "ux_generations_kind_subject_generation", "generations", ["kind", "subject", "generation"], unique=True
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.Unicode(length=40), nullable=False),
        sa.Column("value", sa.Unicode(length=400), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_facts")),
    )


def downgrade() -> None:
    """Go back from it: what was patched, by whom, and what nodes were before is lost."""
    for table in ("facts", "generations", "patch_tracking", "patch_versions", "patch_keys", "patch_nodes", "patches"):
        op.drop_table(table)
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
