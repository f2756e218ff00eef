"""Small facts about the service itself that survive a restart, such as a halt."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from app.db.metadata import metadata
from app.db.types import Json

flags = Table(
    "flags",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Json, nullable=False),
    sqlite_strict=True,
)
