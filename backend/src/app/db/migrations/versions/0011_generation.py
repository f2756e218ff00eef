"""Generation: which event log it is, so that readers see when a copy was restored."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the counter, without a generation yet: the next start begins one."""
    op.execute("INSERT INTO counters (name, value) VALUES ('generation', 0)")
