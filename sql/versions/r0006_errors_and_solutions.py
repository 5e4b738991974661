"""Groups of errors; solutions, their versions and their runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from master.ledger.schema.tables import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_OUTCOMES = (
    "outcome IN ('running', 'watching', 'helped', 'did_not_help', 'failed', 'skipped', 'interrupted', "
    "'detected', 'asked', 'declined', 'told')"
)


def upgrade() -> None:
    """Go to this revision: nothing has written to ``solution_runs`` before it."""
    op.drop_table("solution_runs")
    op.create_table(
        "solution_runs",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("node_id", sa.Unicode(length=26), nullable=False),
        sa.Column("solution_id", sa.Unicode(length=64), nullable=False),
        sa.Column("content_hash", sa.Unicode(length=16), nullable=False),
        sa.Column("fingerprint", sa.Unicode(length=16), nullable=False),
        sa.Column("seen_in", sa.Unicode(length=16), nullable=False),
        sa.Column("line", sa.Unicode(length=400), nullable=False),
        sa.Column("action", sa.Unicode(length=40), nullable=False),
        sa.Column("outcome", sa.Unicode(length=16), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.Column("actor", sa.Unicode(length=120), nullable=False),
        sa.Column("ready_ms", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(_OUTCOMES, name=op.f("ck_solution_runs_outcome")),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_solution_runs_node_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_solution_runs")),
    )
    op.create_index("ix_solution_runs_node_id_at", "solution_runs", ["node_id", "at"])
    op.create_index("ix_solution_runs_solution_id_at", "solution_runs", ["solution_id", "at"])
    op.create_index("ix_solution_runs_outcome", "solution_runs", ["outcome"])
    op.create_table(
        "solutions",
        sa.Column("solution_id", sa.Unicode(length=64), nullable=False),
        sa.Column("mode", sa.Unicode(length=16), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("first_at", UtcDateTime(), nullable=False),
        sa.Column("content_hash", sa.Unicode(length=16), nullable=False),
        sa.Column("why", sa.Unicode(length=400), nullable=False),
        sa.Column("changed_by", sa.Unicode(length=120), nullable=False),
        sa.CheckConstraint("mode IN ('detecting', 'on', 'off', 'suspended')", name=op.f("ck_solutions_mode")),
        sa.PrimaryKeyConstraint("solution_id", name=op.f("pk_solutions")),
    )
    op.create_table(
        "solution_versions",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("solution_id", sa.Unicode(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.Unicode(length=120), nullable=False),
        sa.Column("why", sa.Unicode(length=400), nullable=False),
        sa.Column("content", sa.UnicodeText(), nullable=False),
        sa.CheckConstraint("version >= 1", name=op.f("ck_solution_versions_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_solution_versions")),
    )
    op.create_index(
        "ux_solution_versions_solution_id_version", "solution_versions", ["solution_id", "version"], unique=True
    )
    op.create_table(
        "error_groups",
        sa.Column("fingerprint", sa.Unicode(length=16), nullable=False),
        sa.Column("kind", sa.Unicode(length=16), nullable=False),
        sa.Column("title", sa.Unicode(length=400), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("first_at", UtcDateTime(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("sample", sa.UnicodeText(), nullable=False),
        sa.Column("muted_until", UtcDateTime(), nullable=True),
        sa.Column("changed_at", UtcDateTime(), nullable=True),
        sa.Column("changed_by", sa.Unicode(length=120), nullable=False),
        sa.CheckConstraint("count >= 1", name=op.f("ck_error_groups_count")),
        sa.CheckConstraint("kind IN ('exception', 'exit', 'line', 'state')", name=op.f("ck_error_groups_kind")),
        sa.CheckConstraint(
            "state IN ('new', 'known', 'regressed', 'resolved', 'muted')", name=op.f("ck_error_groups_state")
        ),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_error_groups")),
    )
    op.create_index("ix_error_groups_last_at", "error_groups", ["last_at"])
    op.create_index("ix_error_events_fingerprint", "error_events", ["fingerprint", "last_at"])


def downgrade() -> None:
    """Go back from it: what was learned of errors and solutions is lost."""
    op.drop_index("ix_error_events_fingerprint", table_name="error_events")
    for table in ("error_groups", "solution_versions", "solutions", "solution_runs"):
        op.drop_table(table)
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
    op.create_index("ix_solution_runs_node_id_at", "solution_runs", ["node_id", "at"])
    op.create_index("ix_solution_runs_solution_id_at", "solution_runs", ["solution_id", "at"])
