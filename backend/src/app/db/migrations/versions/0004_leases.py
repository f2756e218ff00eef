"""Leases: one process trades an account. A counter for probes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.types import UtcDateTime, Whole

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "leases",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", Whole, nullable=False),
        sa.Column("taken_at", UtcDateTime, nullable=False),
        sa.Column("epoch", Whole, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_leases"),
        sqlite_strict=True,
    )
    # what is counted up to find out whether the database takes writes again
    op.execute("INSERT INTO counters (name, value) VALUES ('probes', 0)")
