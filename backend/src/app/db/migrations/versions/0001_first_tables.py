"""The first tables: event log, flags, decisions, trades with their legs, orders and fills."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.types import Flag, Json, Money, UtcDateTime, Whole

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    _create_event_log()
    _create_decisions()
    _create_trades()
    _create_orders()
    _create_fills()


def _create_event_log() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", Whole, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
        sqlite_strict=True,
    )
    op.create_table(
        "events",
        sa.Column("seq", Whole, nullable=False, autoincrement=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("is_paper", Flag, nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=True),
        sa.Column("trade_id", sa.Text(), nullable=True),
        sa.Column("asset", sa.Text(), nullable=True),
        sa.Column("data", Json, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
        sa.UniqueConstraint("id", name="uq_events_id"),
        sqlite_strict=True,
    )
    op.execute("INSERT INTO counters (name, value) VALUES ('events', 0)")
    op.create_table(
        "flags",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", Json, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_flags"),
        sqlite_strict=True,
    )


def _create_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("number", Whole, nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.Text(), nullable=False),
        sa.Column("body", Json, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("result", Json, nullable=True),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("completed_at", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_decisions"),
        sa.UniqueConstraint("decision_id", name="uq_decisions_decision_id"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_decisions_unfinished",
        "decisions",
        ["account_id"],
        sqlite_where=sa.text("completed_at IS NULL"),
        postgresql_where=sa.text("completed_at IS NULL"),
    )


def _create_trades() -> None:
    op.create_table(
        "trades",
        sa.Column("number", Whole, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("position_side", sa.Text(), nullable=False),
        sa.Column("quantity", Money, nullable=False),
        sa.Column("leverage", Whole, nullable=False),
        sa.Column("requested_leverage", Whole, nullable=True),
        sa.Column("reference_price", Money, nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("externally_reduced", Money, nullable=False),
        sa.Column("entry_sent_at", UtcDateTime, nullable=True),
        sa.Column("first_fill_at", UtcDateTime, nullable=True),
        sa.Column("filled_at", UtcDateTime, nullable=True),
        sa.Column("protected_at", UtcDateTime, nullable=True),
        sa.Column("closed_at", UtcDateTime, nullable=True),
        sa.Column("deadline_at", UtcDateTime, nullable=True),
        sa.Column("close_reason", sa.Text(), nullable=True),
        sa.Column("close_attempts", Whole, nullable=False),
        sa.Column("close_retry_at", UtcDateTime, nullable=True),
        sa.Column("protection_failed", Flag, nullable=False),
        sa.Column("is_accounted", Flag, nullable=False),
        sa.Column("funding", Money, nullable=False),
        sa.Column("error", Json, nullable=True),
        sa.Column("context", Json, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_trades"),
        sa.UniqueConstraint("id", name="uq_trades_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_trades_account_id_asset", "trades", ["account_id", "asset"])
    op.create_index("ix_trades_account_id_status", "trades", ["account_id", "status"])
    op.create_index("ix_trades_asset_number", "trades", ["asset", "number"])
    op.create_index("ix_trades_decision_id", "trades", ["decision_id"])
    op.create_index("ix_trades_status_number", "trades", ["status", "number"])
    op.create_table(
        "legs",
        sa.Column("number", Whole, nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("order_type", sa.Text(), nullable=False),
        sa.Column("trigger_price", Money, nullable=False),
        sa.Column("limit_price", Money, nullable=True),
        sa.Column("working_type", sa.Text(), nullable=False),
        sa.Column("attempts", Whole, nullable=False),
        sa.Column("retry_at", UtcDateTime, nullable=True),
        sa.ForeignKeyConstraint(["trade_id"], ["trades.id"], name="fk_legs_trade_id"),
        sa.PrimaryKeyConstraint("number", name="pk_legs"),
        sa.UniqueConstraint("trade_id", "role", name="uq_legs_trade_id_role"),
        sqlite_strict=True,
    )


def _create_orders() -> None:
    op.create_table(
        "orders",
        sa.Column("number", Whole, nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("attempt", Whole, nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("quantity", Money, nullable=True),
        sa.Column("price", Money, nullable=True),
        sa.Column("stop_price", Money, nullable=True),
        sa.Column("time_in_force", sa.Text(), nullable=True),
        sa.Column("position_side", sa.Text(), nullable=False),
        sa.Column("reduce_only", Flag, nullable=False),
        sa.Column("close_position", Flag, nullable=False),
        sa.Column("working_type", sa.Text(), nullable=True),
        sa.Column("price_protect", Flag, nullable=True),
        sa.Column("activation_price", Money, nullable=True),
        sa.Column("callback_rate", Money, nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("exchange_order_id", Whole, nullable=True),
        sa.Column("executed_quantity", Money, nullable=False),
        sa.Column("average_price", Money, nullable=False),
        sa.Column("stamp_value", Whole, nullable=True),
        sa.Column("stamp_dead_after", UtcDateTime, nullable=True),
        sa.Column("submitted_at", UtcDateTime, nullable=True),
        sa.Column("acknowledged_at", UtcDateTime, nullable=True),
        sa.Column("finished_at", UtcDateTime, nullable=True),
        sa.Column("transmissions", Whole, nullable=False),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("refusal_code", Whole, nullable=True),
        sa.Column("refusal_message", sa.Text(), nullable=True),
        sa.Column("needs_query", Flag, nullable=False),
        sa.ForeignKeyConstraint(["trade_id"], ["trades.id"], name="fk_orders_trade_id"),
        sa.PrimaryKeyConstraint("number", name="pk_orders"),
        sa.UniqueConstraint("client_order_id", name="uq_orders_client_order_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_orders_state_number", "orders", ["state", "number"])
    op.create_index("ix_orders_symbol_number", "orders", ["symbol", "number"])
    op.create_index("ix_orders_trade_id", "orders", ["trade_id"])


def _create_fills() -> None:
    op.create_table(
        "fills",
        sa.Column("number", Whole, nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("exchange_trade_id", Whole, nullable=False),
        sa.Column("order_id", Whole, nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=True),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("position_side", sa.Text(), nullable=False),
        sa.Column("price", Money, nullable=False),
        sa.Column("quantity", Money, nullable=False),
        sa.Column("commission", Money, nullable=False),
        sa.Column("commission_asset", sa.Text(), nullable=False),
        sa.Column("realised_pnl", Money, nullable=False),
        sa.Column("is_maker", Flag, nullable=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.ForeignKeyConstraint(["trade_id"], ["trades.id"], name="fk_fills_trade_id"),
        sa.PrimaryKeyConstraint("number", name="pk_fills"),
        sa.UniqueConstraint("trade_id", "exchange_trade_id", name="uq_fills_trade_id_exchange_trade_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_fills_trade_id", "fills", ["trade_id"])
