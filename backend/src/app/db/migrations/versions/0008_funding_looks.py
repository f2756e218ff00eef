"""Funding looks: how often funding is still looked for of a trade that is over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.types import Whole

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and an index of the few trades that it concerns; older trades are not looked at again."""
    op.add_column("trades", sa.Column("funding_looks", Whole, nullable=False, server_default="0"))
    op.create_index(
        "ix_trades_awaiting_funding",
        "trades",
        ["account_id"],
        sqlite_where=sa.text("funding_looks > 0"),
        postgresql_where=sa.text("funding_looks > 0"),
    )
