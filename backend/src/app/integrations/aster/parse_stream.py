"""Frames of the streams, as the domain's events. A frame that can't be understood is an event too (scenario W5)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from app.domain.money import ZERO, decimal_from_text
from app.domain.reports import (
    AccountConfigUpdate,
    AccountUpdate,
    BookTicker,
    FillReport,
    MarginCall,
    MarkPrice,
    OrderReport,
    OrderUpdate,
    StreamBalance,
    StreamPosition,
    UnrecognisedEvent,
)
from app.integrations.aster import wire
from app.integrations.aster.exchange_clock import datetime_from_ms
from app.integrations.aster.parse import finite, margin_type_of, position_side_of, side_of, status_of

_log = structlog.get_logger(__name__)

LISTEN_KEY_EXPIRED = "listenKeyExpired"

AccountEvent = OrderUpdate | AccountUpdate | AccountConfigUpdate | MarginCall | UnrecognisedEvent

_RAW_LENGTH = 4096
_decode_user = msgspec.json.Decoder(wire.UserFrame).decode
_decode_combined = msgspec.json.Decoder(wire.CombinedFrame).decode
_decode_price: Callable[[bytes], wire.MarkPrice | wire.StreamTicker] = msgspec.json.Decoder(
    wire.MarkPrice | wire.StreamTicker
).decode
_decode_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode


def user_event(text: str) -> AccountEvent:
    """The event in a frame of the user stream, plain or wrapped as a combined frame."""
    try:
        frame = _decode_user(text)
    except ValueError:
        return _from_wrapped(text)
    return _from_frame(frame, text)


def _from_wrapped(text: str) -> AccountEvent:
    try:
        data = bytes(_decode_combined(text).data)
        return _from_frame(_decode_user(data), text) if data else UnrecognisedEvent(kind="", raw=text[:_RAW_LENGTH])
    except ValueError:
        return UnrecognisedEvent(kind="", raw=text[:_RAW_LENGTH])


def _from_frame(frame: wire.UserFrame, text: str) -> AccountEvent:
    try:
        match frame.kind:
            case "ORDER_TRADE_UPDATE" if frame.order is not None:
                return _order_update(frame.event_time, frame.order)
            case "ACCOUNT_UPDATE" if frame.account is not None:
                return _account_update(frame.event_time, frame.account)
            case "ACCOUNT_CONFIG_UPDATE" if frame.leverage is not None or frame.mode is not None:
                return _config_update(frame)
            case "MARGIN_CALL":
                return MarginCall(
                    event_time=datetime_from_ms(frame.event_time),
                    symbols=tuple(position.symbol for position in frame.margin_positions),
                )
    except (ValueError, OverflowError):
        return UnrecognisedEvent(kind=frame.kind, raw=text[:_RAW_LENGTH])
    return UnrecognisedEvent(kind=frame.kind, raw=text[:_RAW_LENGTH])


def _order_update(event_ms: int, order: wire.StreamOrder) -> OrderUpdate:
    side = side_of(order.side)
    position_side = position_side_of(order.position_side)
    time = datetime_from_ms(order.time)
    report = OrderReport(
        symbol=order.symbol,
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        status=status_of(order.status),
        status_text=order.status,
        type_text=order.type,
        original_type_text=order.original_type or order.type,
        side=side,
        position_side=position_side,
        price=finite(order.price),
        stop_price=finite(order.stop_price),
        average_price=finite(order.average_price),
        original_quantity=finite(order.quantity),
        executed_quantity=finite(order.filled),
        reduce_only=order.reduce_only,
        close_position=order.close_position,
        updated_at=time,
    )
    fill = None
    if order.last_quantity > ZERO:
        fill = FillReport(
            symbol=order.symbol,
            exchange_trade_id=order.trade_id,
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            side=side,
            position_side=position_side,
            price=finite(order.last_price),
            quantity=finite(order.last_quantity),
            commission=finite(order.commission),
            commission_asset=order.commission_asset or "",
            realised_pnl=finite(order.realised_pnl),
            is_maker=order.is_maker,
            time=time,
        )
    return OrderUpdate(
        event_time=datetime_from_ms(event_ms), execution_type=order.execution_type, order=report, fill=fill
    )


def _account_update(event_ms: int, account: wire.StreamAccount) -> AccountUpdate:
    return AccountUpdate(
        event_time=datetime_from_ms(event_ms),
        reason=account.reason,
        balances=tuple(
            StreamBalance(
                asset=row.asset,
                wallet_balance=finite(row.wallet_balance),
                cross_wallet_balance=finite(row.cross_wallet_balance),
            )
            for row in account.balances
        ),
        positions=tuple(
            StreamPosition(
                symbol=row.symbol,
                position_side=position_side_of(row.position_side),
                quantity=finite(row.quantity),
                entry_price=finite(row.entry_price),
                unrealised_pnl=finite(row.unrealised_pnl),
                margin_type=margin_type_of(row.margin_type),
            )
            for row in account.positions
        ),
    )


def _config_update(frame: wire.UserFrame) -> AccountConfigUpdate:
    return AccountConfigUpdate(
        event_time=datetime_from_ms(frame.event_time),
        symbol=frame.leverage.symbol if frame.leverage is not None else None,
        leverage=frame.leverage.leverage if frame.leverage is not None else None,
        is_multi_asset=frame.mode.is_multi_asset if frame.mode is not None else None,
        is_hedge_mode=frame.mode.is_hedge_mode if frame.mode is not None else None,
    )


def market_prices(text: str) -> list[MarkPrice | BookTicker]:
    """The prices in a frame of a combined stream; none when it is an answer to a subscription.

    A row that can't be understood is left out: a symbol that is not trading yet must not hide the others' prices.

    Raises:
        ValueError: the frame as a whole can't be understood.
    """
    data = bytes(_decode_combined(text).data)
    if not data:
        return []
    rows = [bytes(row) for row in _decode_rows(data)] if data[:1] == b"[" else [data]
    prices: list[MarkPrice | BookTicker] = []
    for row in rows:
        try:
            price = _decode_price(row)
            prices.append(_mark_price(price) if isinstance(price, wire.MarkPrice) else _book_ticker(price))
        except (ValueError, OverflowError) as error:
            _log.debug("aster.price_unreadable", reason=type(error).__name__)
    return prices


def _mark_price(row: wire.MarkPrice) -> MarkPrice:
    return MarkPrice(
        symbol=row.symbol,
        mark_price=finite(row.mark_price),
        index_price=finite(row.index_price),
        funding_rate=decimal_from_text(row.funding_rate) if row.funding_rate else ZERO,
        next_funding_at=datetime_from_ms(row.next_funding_time) if row.next_funding_time else None,
        time=datetime_from_ms(row.event_time),
    )


def _book_ticker(row: wire.StreamTicker) -> BookTicker:
    return BookTicker(
        symbol=row.symbol,
        bid_price=finite(row.bid_price),
        bid_quantity=finite(row.bid_quantity),
        ask_price=finite(row.ask_price),
        ask_quantity=finite(row.ask_quantity),
        time=datetime_from_ms(row.event_time),
    )
