"""Licences are found by their holder. By itself: SQL Server compiles a block as a whole, before its column is there."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_index("ix_licenses_holder_id", "licenses", ["holder_id"])


def downgrade() -> None:
    """Go back from it."""
    op.drop_index("ix_licenses_holder_id", "licenses")
