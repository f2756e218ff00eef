"""Trades with their legs, orders and fills: a row for each value of ``app.domain.trades`` and ``.orders``."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Table, Text, UniqueConstraint

from app.db.metadata import metadata
from app.db.types import Flag, Json, Money, Name, UtcDateTime, Whole
from app.domain.errors import Refusal
from app.domain.ids import OrderRole
from app.domain.orders import OrderState
from app.domain.reports import OrderType, PositionSide, Side, TimeInForce, WorkingType
from app.domain.trades import CloseReason, TradeSide, TradeStatus

trades = Table(
    "trades",
    metadata,
    # the order of recording: lists and their cursors follow it
    Column("number", Whole, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("account_id", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("side", Name(TradeSide), nullable=False),
    Column("position_side", Name(PositionSide), nullable=False),
    Column("quantity", Money, nullable=False),
    Column("leverage", Whole, nullable=False),
    Column("requested_leverage", Whole),
    Column("reference_price", Money, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("status", Name(TradeStatus), nullable=False),
    Column("externally_reduced", Money, nullable=False),
    Column("entry_sent_at", UtcDateTime),
    Column("first_fill_at", UtcDateTime),
    Column("filled_at", UtcDateTime),
    Column("protected_at", UtcDateTime),
    Column("closed_at", UtcDateTime),
    Column("deadline_at", UtcDateTime),
    Column("close_reason", Name(CloseReason)),
    Column("close_attempts", Whole, nullable=False),
    Column("close_retry_at", UtcDateTime),
    Column("protection_failed", Flag, nullable=False),
    Column("is_accounted", Flag, nullable=False),
    Column("funding", Money, nullable=False),
    Column("error", Json),
    Column("context", Json, nullable=False),
    Index(None, "account_id", "status"),
    Index(None, "account_id", "asset"),
    Index(None, "decision_id"),
    Index(None, "status", "number"),
    Index(None, "asset", "number"),
    sqlite_strict=True,
)

legs = Table(
    "legs",
    metadata,
    Column("number", Whole, primary_key=True),
    Column("trade_id", Text, ForeignKey("trades.id"), nullable=False),
    Column("role", Name(OrderRole), nullable=False),
    Column("order_type", Name(OrderType), nullable=False),
    Column("trigger_price", Money, nullable=False),
    Column("limit_price", Money),
    Column("working_type", Name(WorkingType), nullable=False),
    Column("attempts", Whole, nullable=False),
    Column("retry_at", UtcDateTime),
    Column("activation_price", Money),
    Column("callback_rate", Money),
    UniqueConstraint("trade_id", "role"),
    sqlite_strict=True,
)

orders = Table(
    "orders",
    metadata,
    Column("number", Whole, primary_key=True),
    Column("client_order_id", Text, nullable=False, unique=True),
    Column("trade_id", Text, ForeignKey("trades.id"), nullable=False),
    Column("role", Name(OrderRole), nullable=False),
    Column("attempt", Whole, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("side", Name(Side), nullable=False),
    Column("type", Name(OrderType), nullable=False),
    Column("quantity", Money),
    Column("price", Money),
    Column("stop_price", Money),
    Column("time_in_force", Name(TimeInForce)),
    Column("position_side", Name(PositionSide), nullable=False),
    Column("reduce_only", Flag, nullable=False),
    Column("close_position", Flag, nullable=False),
    Column("working_type", Name(WorkingType)),
    Column("price_protect", Flag),
    Column("activation_price", Money),
    Column("callback_rate", Money),
    Column("state", Name(OrderState), nullable=False),
    Column("exchange_order_id", Whole),
    Column("executed_quantity", Money, nullable=False),
    Column("average_price", Money, nullable=False),
    Column("stamp_value", Whole),
    Column("stamp_dead_after", UtcDateTime),
    Column("submitted_at", UtcDateTime),
    Column("acknowledged_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("transmissions", Whole, nullable=False),
    Column("refusal", Name(Refusal)),
    Column("refusal_code", Whole),
    Column("refusal_message", Text),
    Column("needs_query", Flag, nullable=False),
    Index(None, "trade_id"),
    Index(None, "state", "number"),
    Index(None, "symbol", "number"),
    sqlite_strict=True,
)

fills = Table(
    "fills",
    metadata,
    Column("number", Whole, primary_key=True),
    Column("trade_id", Text, ForeignKey("trades.id"), nullable=False),
    Column("account_id", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("exchange_trade_id", Whole, nullable=False),
    Column("order_id", Whole, nullable=False),
    Column("client_order_id", Text),
    Column("side", Name(Side), nullable=False),
    Column("position_side", Name(PositionSide), nullable=False),
    Column("price", Money, nullable=False),
    Column("quantity", Money, nullable=False),
    Column("commission", Money, nullable=False),
    Column("commission_asset", Text, nullable=False),
    Column("realised_pnl", Money, nullable=False),
    Column("is_maker", Flag, nullable=False),
    Column("time", UtcDateTime, nullable=False),
    Index(None, "trade_id"),
    # an execution counts once (scenario W4); a venue that was set up anew may count its executions from one again
    UniqueConstraint("trade_id", "exchange_trade_id"),
    sqlite_strict=True,
)
