"""The server's wanted channels, mailboxes, announcements."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from master.ledger.schema.tables import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision: nothing has written to gmail_watch before it."""
    op.drop_table("gmail_watch")
    op.create_table(
        "gmail_watch",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("name", sa.Unicode(length=40), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(length=8192), nullable=True),
        sa.Column("uid_validity", sa.BigInteger(), nullable=True),
        sa.Column("uid_next", sa.BigInteger(), nullable=True),
        sa.Column("since", UtcDateTime(), nullable=True),
        sa.Column("last_mail_at", UtcDateTime(), nullable=True),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "state IN ('stopped', 'starting', 'ready', 'degraded', 'backoff', 'quarantined')",
            name=op.f("ck_gmail_watch_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gmail_watch")),
        sa.UniqueConstraint("name", name=op.f("uq_gmail_watch_name")),
    )
    op.create_table(
        "mails",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("mailbox", sa.Unicode(length=40), nullable=False),
        sa.Column("uid_validity", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("mail_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("message_id", sa.Unicode(length=400), nullable=False),
        sa.Column("sender", sa.Unicode(length=320), nullable=False),
        sa.Column("subject", sa.Unicode(length=400), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("is_trusted", sa.Boolean(), nullable=False),
        sa.Column("content", sa.UnicodeText(), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("state IN ('seen', 'acting', 'done', 'failed', 'ignored')", name=op.f("ck_mails_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mails")),
    )
    op.create_index("ix_mails_mailbox_uid", "mails", ["mailbox", "uid_validity", "uid"])
    op.create_index("ix_mails_state", "mails", ["state"])
    op.create_index("uq_mails_mailbox_mail_hash", "mails", ["mailbox", "mail_hash"], unique=True)
    op.create_table(
        "mail_actions",
        sa.Column("mail_id", sa.Unicode(length=26), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("rule", sa.Unicode(length=40), nullable=False),
        sa.Column("action", sa.Unicode(length=16), nullable=False),
        sa.Column("plan", sa.UnicodeText(), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("result", sa.Unicode(length=120), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "state IN ('planned', 'doing', 'done', 'failed', 'asked')", name=op.f("ck_mail_actions_state")
        ),
        sa.ForeignKeyConstraint(["mail_id"], ["mails.id"], name=op.f("fk_mail_actions_mail_id")),
        sa.PrimaryKeyConstraint("mail_id", "number", name=op.f("pk_mail_actions")),
    )
    op.create_index("ix_mail_actions_state", "mail_actions", ["state"])
    op.create_table(
        "mail_threads",
        sa.Column("ticket_id", sa.Unicode(length=26), nullable=False),
        sa.Column("mailbox", sa.Unicode(length=40), nullable=False),
        sa.Column("address", sa.Unicode(length=320), nullable=False),
        sa.Column("subject", sa.Unicode(length=400), nullable=False),
        sa.Column("last_message_id", sa.Unicode(length=400), nullable=False),
        sa.Column("message_ids", sa.UnicodeText(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name=op.f("fk_mail_threads_ticket_id")),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("pk_mail_threads")),
    )
    op.create_table(
        "mail_answers",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("ticket_id", sa.Unicode(length=26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("text", sa.UnicodeText(), nullable=False),
        sa.Column("written_by", sa.Unicode(length=120), nullable=False),
        sa.Column("message_id", sa.Unicode(length=400), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'sending', 'sent', 'failed', 'asked')", name=op.f("ck_mail_answers_state")
        ),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name=op.f("fk_mail_answers_ticket_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail_answers")),
    )
    op.create_index("ix_mail_answers_state", "mail_answers", ["state"])
    op.create_index("ix_mail_answers_ticket_id", "mail_answers", ["ticket_id"])
    op.create_table(
        "wanted_channels",
        sa.Column("key", sa.Unicode(length=100), nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.UnicodeText(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_wanted_channels")),
    )
    op.create_index("ix_wanted_channels_channel_id", "wanted_channels", ["channel_id"])
    op.create_table(
        "channel_moves",
        sa.Column("old_id", sa.BigInteger(), nullable=False),
        sa.Column("new_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Unicode(length=100), nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("old_id", name=op.f("pk_channel_moves")),
    )
    op.create_table(
        "channel_repairs",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Unicode(length=100), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("drift", sa.Unicode(length=16), nullable=False),
        sa.Column("wanted", sa.UnicodeText(), nullable=False),
        sa.Column("found", sa.UnicodeText(), nullable=False),
        sa.Column("culprit_id", sa.BigInteger(), nullable=True),
        sa.Column("culprit", sa.Unicode(length=120), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.Column("changed_by", sa.Unicode(length=120), nullable=False),
        sa.CheckConstraint(
            "drift IN ('gone', 'renamed', 'moved', 'topic', 'permissions', 'order', 'panel', 'pin')",
            name=op.f("ck_channel_repairs_drift"),
        ),
        sa.CheckConstraint(
            "state IN ('found', 'repairing', 'repaired', 'asked', 'left', 'failed', 'undoing', 'undone')",
            name=op.f("ck_channel_repairs_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channel_repairs")),
    )
    op.create_index("ix_channel_repairs_key_at", "channel_repairs", ["key", "at"])
    op.create_index("ix_channel_repairs_state", "channel_repairs", ["state"])
    op.create_table(
        "channel_panels",
        sa.Column("key", sa.Unicode(length=100), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_channel_panels")),
    )
    op.create_table(
        "announcements",
        sa.Column("id", sa.Unicode(length=26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("schedule", sa.Unicode(length=120), nullable=False),
        sa.Column("parent_id", sa.Unicode(length=26), nullable=True),
        sa.Column("title", sa.Unicode(length=200), nullable=False),
        sa.Column("text", sa.UnicodeText(), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("written_by", sa.Unicode(length=120), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "state IN ('scheduled', 'sending', 'sent', 'cancelled', 'failed')", name=op.f("ck_announcements_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_announcements")),
    )
    op.create_index("ix_announcements_state_due_at", "announcements", ["state", "due_at"])
    op.create_table(
        "announcement_places",
        sa.Column("announcement_id", sa.Unicode(length=26), nullable=False),
        sa.Column("place", sa.Unicode(length=40), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=True),
        sa.Column("url", sa.Unicode(length=400), nullable=False),
        sa.Column("detail", sa.Unicode(length=400), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'sending', 'sent', 'asked', 'given_up')", name=op.f("ck_announcement_places_state")
        ),
        sa.ForeignKeyConstraint(
            ["announcement_id"], ["announcements.id"], name=op.f("fk_announcement_places_announcement_id")
        ),
        sa.PrimaryKeyConstraint("announcement_id", "place", name=op.f("pk_announcement_places")),
    )


def downgrade() -> None:
    """Go back from it: what is known of channels, mailboxes and announcements is lost."""
    for table in (
        *("announcement_places", "announcements", "channel_panels", "channel_repairs", "channel_moves"),
        *("wanted_channels", "mail_answers", "mail_threads", "mail_actions", "mails", "gmail_watch"),
    ):
        op.drop_table(table)
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
