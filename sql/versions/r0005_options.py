"""Options of a node, programs without a bot, and folders that nodes share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BOT, _FOLDER = "ux_nodes_bot_user_id_alive", "ux_nodes_folder_alive"
_ALIVE = "lifecycle <> 'removed'"


def _unique(name: str, column: str, where: str) -> None:
    op.create_index(name, "nodes", [column], unique=True, sqlite_where=sa.text(where), mssql_where=sa.text(where))


def upgrade() -> None:
    """Go to this revision: nodes that are there have no options."""
    op.add_column("nodes", sa.Column("options", sa.Unicode(length=4000), server_default="", nullable=False))
    op.drop_index(_FOLDER, table_name="nodes")
    op.drop_index(_BOT, table_name="nodes")
    _unique(_BOT, "bot_user_id", f"{_ALIVE} AND bot_user_id <> 0")


def downgrade() -> None:
    """Go back from it: fails while nodes share a folder, or two have no bot."""
    op.drop_index(_BOT, table_name="nodes")
    _unique(_BOT, "bot_user_id", _ALIVE)
    _unique(_FOLDER, "folder", _ALIVE)
    op.drop_column("nodes", "options", mssql_drop_default=True)
