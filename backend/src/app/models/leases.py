"""Who trades an account: one process at a time (scenario C4)."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from app.db.metadata import metadata
from app.db.types import UtcDateTime, Whole

leases = Table(
    "leases",
    metadata,
    Column("account_id", Text, primary_key=True),
    # tells one process from all others that ever were, empty when given back; host and pid are for people
    Column("owner", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Whole, nullable=False),
    Column("taken_at", UtcDateTime, nullable=False),
    # rises by one with each owner: what a commit checks
    Column("epoch", Whole, nullable=False),
    # by the clock that all processes share: the server's, or the one host's
    Column("expires_at", UtcDateTime, nullable=False),
    sqlite_strict=True,
)
