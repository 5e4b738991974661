"""The host of each node: writes to its row are fenced by it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision: nodes that are there are the master's own box's, which the empty host stands for."""
    op.add_column("nodes", sa.Column("host", sa.Unicode(length=64), server_default="", nullable=False))


def downgrade() -> None:
    """Go back from it."""
    op.drop_column("nodes", "host", mssql_drop_default=True)
