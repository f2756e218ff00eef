"""Results of single assets: how an asset of a decision ended, while others are still at work."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.types import Json, UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "asset_results",
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("result", Json, nullable=False),
        sa.Column("recorded_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("decision_id", "asset", name="pk_asset_results"),
        sqlite_strict=True,
    )
