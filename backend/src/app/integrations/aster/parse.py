"""From the wire to the domain's reports. What can't be understood raises ``ValueError`` (msgspec's errors are some).

NaN and infinities are refused here, at the door.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from app.domain.money import ZERO, decimal_from_text
from app.domain.reports import (
    AccountReport,
    BalanceReport,
    BookTicker,
    Candle,
    ExchangeOrderStatus,
    FillReport,
    IncomeReport,
    LeverageBracket,
    MarginType,
    MarkPrice,
    OrderBook,
    OrderReport,
    PositionReport,
    PositionSide,
    Side,
)
from app.integrations.aster import wire
from app.integrations.aster.exchange_clock import datetime_from_ms

_STATUS = {status.value: status for status in ExchangeOrderStatus if status is not ExchangeOrderStatus.UNRECOGNISED}
_STATUS["EXPIRED_IN_MATCH"] = ExchangeOrderStatus.EXPIRED  # it met an order of the same account, and its rest is gone
_SIDE = {side.value: side for side in Side}
_POSITION_SIDE = {side.value: side for side in PositionSide}
_MARGIN_TYPE = {
    "cross": MarginType.CROSSED,
    "crossed": MarginType.CROSSED,
    "isolated": MarginType.ISOLATED,
}

_CANDLE_COLUMNS = 5


def finite(value: Decimal) -> Decimal:
    """``value``, unless it is NaN or infinite."""
    if not value.is_finite():
        raise ValueError("the exchange sent a number that is not finite")
    return value


def side_of(text: str) -> Side:
    """BUY or SELL; anything else raises ``ValueError``."""
    try:
        return _SIDE[text]
    except KeyError:
        raise ValueError(f"the exchange sent an unknown side {text!r}") from None


def position_side_of(text: str) -> PositionSide:
    """BOTH, LONG or SHORT; anything else raises ``ValueError``."""
    try:
        return _POSITION_SIDE[text]
    except KeyError:
        raise ValueError(f"the exchange sent an unknown position side {text!r}") from None


def margin_type_of(text: str) -> MarginType:
    """Either margin type in any of the exchange's spellings; anything else raises ``ValueError``."""
    try:
        return _MARGIN_TYPE[text.lower()]
    except KeyError:
        raise ValueError(f"the exchange sent an unknown margin type {text!r}") from None


def status_of(text: str) -> ExchangeOrderStatus:
    """The status, or ``UNRECOGNISED`` (scenario W5)."""
    return _STATUS.get(text, ExchangeOrderStatus.UNRECOGNISED)


def order_report(order: wire.Order) -> OrderReport:
    """An order from any REST answer. The fill price is ``avgPrice``, else quote by quantity (scenario U6)."""
    executed = finite(order.executed_qty)
    average = finite(order.avg_price)
    if executed and not average:
        average = finite(order.cum_quote) / executed
    return OrderReport(
        symbol=order.symbol,
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        status=status_of(order.status),
        status_text=order.status,
        type_text=order.type,
        original_type_text=order.orig_type or order.type,
        side=side_of(order.side),
        position_side=position_side_of(order.position_side),
        price=finite(order.price),
        stop_price=finite(order.stop_price),
        average_price=average,
        original_quantity=finite(order.orig_qty),
        executed_quantity=executed,
        reduce_only=order.reduce_only,
        close_position=order.close_position,
        updated_at=datetime_from_ms(order.update_time),
    )


def fill_report(trade: wire.UserTrade) -> FillReport:
    """A row of user trades."""
    return FillReport(
        symbol=trade.symbol,
        exchange_trade_id=trade.id,
        order_id=trade.order_id,
        client_order_id=None,
        side=side_of(trade.side),
        position_side=position_side_of(trade.position_side),
        price=finite(trade.price),
        quantity=finite(trade.qty),
        commission=finite(trade.commission),
        commission_asset=trade.commission_asset,
        realised_pnl=finite(trade.realized_pnl),
        is_maker=trade.maker,
        time=datetime_from_ms(trade.time),
    )


def income_report(row: wire.Income) -> IncomeReport:
    """A row of the income history."""
    return IncomeReport(
        symbol=row.symbol,
        kind=row.income_type,
        amount=finite(row.income),
        asset=row.asset,
        time=datetime_from_ms(row.time),
        transfer_id=str(row.tran_id),
        exchange_trade_id=str(row.trade_id),
    )


def balance_report(row: wire.Balance) -> BalanceReport:
    """One asset's balance."""
    return BalanceReport(
        asset=row.asset,
        wallet_balance=finite(row.balance),
        cross_wallet_balance=finite(row.cross_wallet_balance),
        available_balance=finite(row.available_balance),
    )


def position_report(row: wire.PositionRisk) -> PositionReport:
    """One position row; leverage comes as text."""
    return PositionReport(
        symbol=row.symbol,
        position_side=position_side_of(row.position_side),
        quantity=finite(row.position_amt),
        entry_price=finite(row.entry_price),
        mark_price=finite(row.mark_price),
        unrealised_pnl=finite(row.unrealized_profit),
        liquidation_price=finite(row.liquidation_price),
        leverage=int(row.leverage),
        margin_type=margin_type_of(row.margin_type),
        isolated_margin=finite(row.isolated_margin),
        maximum_notional=finite(row.max_notional_value),
        updated_at=datetime_from_ms(row.update_time),
    )


def account_report(account: wire.Account) -> AccountReport:
    """The account's totals."""
    return AccountReport(
        wallet_balance=finite(account.total_wallet_balance),
        unrealised_pnl=finite(account.total_unrealized_profit),
        margin_balance=finite(account.total_margin_balance),
        initial_margin=finite(account.total_initial_margin),
        maintenance_margin=finite(account.total_maint_margin),
        available_balance=finite(account.available_balance),
        can_trade=account.can_trade,
    )


def mark_price(row: wire.PremiumIndex) -> MarkPrice:
    """Mark price from REST."""
    return MarkPrice(
        symbol=row.symbol,
        mark_price=finite(row.mark_price),
        index_price=finite(row.index_price),
        funding_rate=decimal_from_text(row.last_funding_rate) if row.last_funding_rate else ZERO,
        next_funding_at=datetime_from_ms(row.next_funding_time) if row.next_funding_time else None,
        time=datetime_from_ms(row.time),
    )


def book_ticker(row: wire.BookTicker) -> BookTicker:
    """Best bid and ask."""
    return BookTicker(
        symbol=row.symbol,
        bid_price=finite(row.bid_price),
        bid_quantity=finite(row.bid_qty),
        ask_price=finite(row.ask_price),
        ask_quantity=finite(row.ask_qty),
        time=datetime_from_ms(row.time),
    )


def candle(row: list[str | int | float]) -> Candle:
    """A row of ``klines``: open time, open, high, low, close, and what we have no use for.

    Raises:
        ValueError: it has too few columns, or no numbers in them.
    """
    if len(row) < _CANDLE_COLUMNS:
        raise ValueError("a candle without its prices")
    high, low, close = (decimal_from_text(str(row[column])) for column in (2, 3, 4))
    return Candle(opened_at=datetime_from_ms(int(row[0])), high=high, low=low, close=close)


def order_book(symbol: str, depth: wire.Depth) -> OrderBook:
    """Both sides of the book."""
    return OrderBook(
        symbol=symbol, bids=_levels(depth.bids), asks=_levels(depth.asks), time=datetime_from_ms(depth.event_time)
    )


def _levels(rows: Iterable[tuple[Decimal, Decimal]]) -> tuple[tuple[Decimal, Decimal], ...]:
    return tuple((finite(price), finite(quantity)) for price, quantity in rows)


def brackets(row: wire.SymbolBrackets) -> tuple[LeverageBracket, ...]:
    """The tiers of a symbol, from the smallest notional up."""
    tiers = (
        LeverageBracket(
            notional_floor=finite(tier.notional_floor),
            notional_cap=finite(tier.notional_cap),
            maximum_leverage=tier.initial_leverage,
            maintenance_rate=finite(tier.maint_margin_ratio),
            cumulative=finite(tier.cum),
        )
        for tier in row.brackets
    )
    return tuple(sorted(tiers, key=lambda tier: tier.notional_floor))
