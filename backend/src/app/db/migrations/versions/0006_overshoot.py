"""Overshoot: what plain closes executed beyond the position."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.types import Money

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no older close was plain."""
    op.add_column("trades", sa.Column("overshoot", Money, nullable=False, server_default="0"))
