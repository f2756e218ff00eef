"""Events by type: streams and lists that want few types read no others."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index; a million events take a second or two."""
    op.create_index("ix_events_type_seq", "events", ["type", "seq"])
