"""Trailing stops: a leg knows its callback rate, and the price that it waits for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.types import Money

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; no older leg has either."""
    op.add_column("legs", sa.Column("activation_price", Money, nullable=True))
    op.add_column("legs", sa.Column("callback_rate", Money, nullable=True))
