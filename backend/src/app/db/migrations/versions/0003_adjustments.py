"""Adjustments: what later decisions change in a trade."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.types import Flag, Json, Money, UtcDateTime, Whole

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; trades on record have none."""
    op.create_table(
        "adjustments",
        sa.Column("number", Whole, nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("asked_at", UtcDateTime, nullable=False),
        sa.Column("reference_price", Money, nullable=False),
        sa.Column("quantity", Money, nullable=False),
        sa.Column("leverage", Whole, nullable=True),
        sa.Column("requested_leverage", Whole, nullable=True),
        sa.Column("client_order_id", sa.Text(), nullable=True),
        sa.Column("legs", Json, nullable=False),
        sa.Column("drops", Json, nullable=False),
        sa.Column("is_applied", Flag, nullable=False),
        sa.Column("sent_at", UtcDateTime, nullable=True),
        sa.Column("filled_at", UtcDateTime, nullable=True),
        sa.Column("ended_at", UtcDateTime, nullable=True),
        sa.Column("error", Json, nullable=True),
        sa.ForeignKeyConstraint(["trade_id"], ["trades.id"], name="fk_adjustments_trade_id"),
        sa.PrimaryKeyConstraint("number", name="pk_adjustments"),
        sa.UniqueConstraint("trade_id", "decision_id", name="uq_adjustments_trade_id_decision_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_adjustments_decision_id", "adjustments", ["decision_id"])
