"""Decisions as they came in, and what became of them."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text, UniqueConstraint

from app.db.metadata import metadata
from app.db.types import Json, Name, UtcDateTime, Whole
from app.schemas.result import ResultStatus

decisions = Table(
    "decisions",
    metadata,
    # the order of arrival: lists and their cursors follow it
    Column("number", Whole, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("body_hash", Text, nullable=False),
    Column("body", Json, nullable=False),
    Column("status", Name(ResultStatus), nullable=False),
    Column("result", Json),
    Column("received_at", UtcDateTime, nullable=False),
    Column("completed_at", UtcDateTime),
    # the idempotency key, whichever account it is for (contract, section 4)
    UniqueConstraint("decision_id"),
    sqlite_strict=True,
)

asset_results = Table(
    "asset_results",
    metadata,
    # how an asset ended whose decision is still at work with others; the decision's result takes them over
    Column("decision_id", Text, primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("result", Json, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    sqlite_strict=True,
)

Index(
    "ix_decisions_unfinished",
    decisions.c.account_id,
    sqlite_where=decisions.c.completed_at.is_(None),
    postgresql_where=decisions.c.completed_at.is_(None),
)
