"""Trades, orders, positions, accounts and decisions as the API shows them (contract, sections 6 and 9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from app.domain.commissions import commissions_of
from app.domain.exits_stood import exits_stood_at
from app.domain.ids import OrderRole
from app.domain.orders import Order, OrderState
from app.domain.reports import FillReport, OrderType, PositionSide, Side, TimeInForce, WorkingType
from app.domain.trades import CloseReason, Trade, TradeError, TradeSide, TradeStatus
from app.schemas import commissions
from app.schemas.commissions import CommissionDocument
from app.schemas.decision import TradingDecision, UnreadableDecision
from app.schemas.fields import Number, UtcTime
from app.schemas.result import AssetResult, AssetStatus, ExecutionResult, ResultError, ResultStatus, unreadable_result

ItemT = TypeVar("ItemT")


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class UnreadableDocument(_Document):
    """A row on record that this version can't read: another version wrote it, or somebody changed the database."""

    kind: str = Field(description="trade, order or decision")
    id: str
    asset: str | None
    problem: str = Field(description="which value it is that this version does not know")


class ListDocument(_Document, Generic[ItemT]):
    """A page of a list. Pass ``next_cursor`` as ``cursor`` to get the page behind it; null: there is none."""

    items: tuple[ItemT, ...]
    next_cursor: str | None = None
    unreadable: tuple[UnreadableDocument, ...] = Field(
        default=(),
        description="rows of this page that can't be read, where there are any",
        exclude_if=lambda value: not value,
    )


class ProjectionDocument(ListDocument[ItemT], Generic[ItemT]):
    """A page of what we know about the exchange, as of the moment when it last told us; null: not yet."""

    as_of: UtcTime | None = None


class FillDocument(_Document):
    """One execution."""

    exchange_trade_id: int
    order_id: int
    side: Side
    price: Number
    quantity: Number
    commission: Number
    commission_asset: str
    realised_pnl: Number
    is_maker: bool
    time: UtcTime


class OrderDocument(_Document):
    """One of our orders. ``status`` has the exchange's spelling, and our own words for what it never saw."""

    client_order_id: str
    order_id: int | None
    trade_id: str
    asset: str
    role: OrderRole
    side: Side
    position_side: PositionSide
    type: OrderType
    status: OrderState
    quantity: Number | None
    executed_quantity: Number
    average_price: Number | None
    price: Number | None
    stop_price: Number | None
    activation_price: Number | None
    callback_rate: Number | None
    time_in_force: TimeInForce | None
    working_type: WorkingType | None
    reduce_only: bool
    close_position: bool
    submitted_at: UtcTime | None
    acknowledged_at: UtcTime | None
    finished_at: UtcTime | None
    exchange_code: int | None
    refusal: str | None


class TradeDocument(_Document):
    """A trade with everything that belongs to it. ``id`` and ``trade_id`` are the same."""

    id: str
    trade_id: str
    account_id: str
    decision_id: str
    asset: str
    side: TradeSide
    status: TradeStatus
    close_reason: CloseReason | None
    quantity: Number
    filled_quantity: Number
    open_quantity: Number
    leverage: int
    requested_leverage: int | None
    reference_price: Number
    entry_price: Number | None
    exit_price: Number | None
    take_profit_price: Number | None
    stop_loss_price: Number | None
    realised_pnl: Number
    commission: Number | None
    commission_asset: str | None
    commissions: tuple[CommissionDocument, ...] = Field(
        default=(),
        description="what was paid in each asset, where there are several; commission is null then",
        exclude_if=lambda value: not value,
    )
    funding: Number
    is_accounted: bool
    received_at: UtcTime
    created_at: UtcTime
    filled_at: UtcTime | None
    protected_at: UtcTime | None
    closed_at: UtcTime | None
    error: ResultError | None
    orders: tuple[OrderDocument, ...]
    fills: tuple[FillDocument, ...]
    context: dict[str, Any] = Field(description="exit_plan, rationale, confidence, risk_level, source of the decision")


class PositionDocument(_Document):
    """A position; ``trade_id`` is null when the service did not open it."""

    account_id: str
    asset: str
    side: TradeSide
    quantity: Number
    entry_price: Number
    mark_price: Number | None
    leverage: int | None
    unrealised_pnl: Number | None
    trade_id: str | None


class AccountDocument(_Document):
    """An account's balances in US dollars as the exchange last told them, and whether it may trade."""

    account_id: str
    is_paper: bool
    wallet_balance: Number | None
    available_balance: Number | None
    as_of: UtcTime | None
    is_ready: bool
    reasons: tuple[str, ...]


class DecisionDocument(ExecutionResult):
    """A stored decision: its result so far, and what the sender said."""

    decision: dict[str, Any]


def pending_result(
    body: Mapping[str, Any],
    ended: Iterable[AssetResult],
    *,
    decision_id: str,
    account_id: str,
    is_paper: bool,
    received_at: datetime,
) -> ExecutionResult:
    """The result of a decision that has none on record yet: what could be read and has not ``ended`` is pending."""
    known = {result.asset: result for result in ended}
    results = tuple(
        unreadable_result(item)
        if isinstance(item, UnreadableDecision)
        else known.get(item.asset)
        or AssetResult(asset=item.asset, action=item.action, status=AssetStatus.PENDING, success=False)
        for item in TradingDecision.from_record(body).items
    )
    return ExecutionResult(
        decision_id=decision_id,
        account_id=account_id,
        is_paper=is_paper,
        status=ResultStatus.PENDING,
        success=False,
        received_at=received_at,
        completed_at=None,
        results=results,
    )


def decision_document(result: ExecutionResult, body: Mapping[str, Any]) -> DecisionDocument:
    """The public form of a stored decision."""
    return DecisionDocument(**dict(result), decision=dict(body))


def fill_document(fill: FillReport) -> FillDocument:
    """The public form of an execution."""
    return FillDocument.model_validate(fill)


def order_document(order: Order) -> OrderDocument:
    """The public form of an order."""
    request = order.request
    return OrderDocument(
        client_order_id=order.client_order_id,
        order_id=order.exchange_order_id,
        trade_id=order.key.trade_id,
        asset=request.symbol,
        role=order.role,
        side=request.side,
        position_side=request.position_side,
        type=request.type,
        status=order.state,
        quantity=request.quantity,
        executed_quantity=order.executed_quantity,
        average_price=order.average_price or None,
        price=request.price,
        stop_price=request.stop_price,
        activation_price=request.activation_price,
        callback_rate=request.callback_rate,
        time_in_force=request.time_in_force,
        working_type=request.working_type,
        reduce_only=request.reduce_only,
        close_position=request.close_position,
        submitted_at=order.submitted_at,
        acknowledged_at=order.acknowledged_at,
        finished_at=order.finished_at,
        exchange_code=order.refusal_code,
        refusal=order.refusal_message,
    )


def trade_document(trade: Trade) -> TradeDocument:
    """The public form of a trade."""
    return TradeDocument(
        id=trade.id,
        trade_id=trade.id,
        account_id=trade.account_id,
        decision_id=trade.decision_id,
        asset=trade.asset,
        side=trade.side,
        status=trade.status,
        close_reason=trade.close_reason,
        quantity=trade.quantity,
        filled_quantity=trade.entered_quantity,
        open_quantity=trade.exposure,
        leverage=trade.leverage,
        requested_leverage=trade.requested_leverage,
        reference_price=trade.reference_price,
        entry_price=trade.entry_price,
        exit_price=trade.exit_price,
        take_profit_price=_trigger(trade, OrderRole.TAKE_PROFIT),
        stop_loss_price=_trigger(trade, OrderRole.STOP_LOSS),
        realised_pnl=trade.realised_pnl,
        **commissions.told(commissions_of(trade.fills))._asdict(),
        funding=trade.funding,
        is_accounted=trade.is_accounted,
        received_at=trade.received_at,
        created_at=trade.created_at,
        filled_at=trade.filled_at,
        protected_at=exits_stood_at(trade),
        closed_at=trade.closed_at,
        error=_error(trade.error),
        orders=tuple(order_document(order) for order in trade.orders),
        fills=tuple(fill_document(fill) for fill in trade.fills),
        context=dict(trade.context),
    )


def _trigger(trade: Trade, role: OrderRole) -> Decimal | None:
    leg = trade.leg(role)
    return None if leg is None else leg.trigger_price


def _error(error: TradeError | None) -> ResultError | None:
    if error is None:
        return None
    return ResultError(
        code=error.code,
        message=error.message,
        retry_after_seconds=error.retry_after_s,
        exchange_code=error.exchange_code,
    )
