"""When a conditional order was triggered: a limit stop that was gapped through protects nothing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.types import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("orders", sa.Column("triggered_at", UtcDateTime, nullable=True))
