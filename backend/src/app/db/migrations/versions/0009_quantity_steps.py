"""Quantity steps: exits of positions that the exchange's step has become too coarse for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.types import Money

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what was placed before was on the step."""
    op.add_column("legs", sa.Column("quantity_step", Money, nullable=True))
