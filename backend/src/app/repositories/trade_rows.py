"""Between the values of a trade and their rows: names are the same wherever a value is a row's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Table

from app.db.statements import Row
from app.domain.errors import ErrorCode
from app.domain.ids import ClientOrderId, OrderRole
from app.domain.orders import Order
from app.domain.reports import FillReport, OrderRequest, RequestStamp
from app.domain.trades import Adjustment, Leg, Trade, TradeError
from app.models.trades import fills, legs, orders, trades
from app.repositories.readable import Found, Unreadable, read_each

Values = dict[str, Any]

_REQUEST_FIELDS = tuple(one.name for one in fields(OrderRequest))
_ORDER_FIELDS = tuple(one.name for one in fields(Order) if one.name not in ("key", "request", "stamp"))
_LEG_FIELDS = tuple(one.name for one in fields(Leg))
_FILL_FIELDS = tuple(one.name for one in fields(FillReport))
_ADJUSTMENT_FIELDS = tuple(one.name for one in fields(Adjustment) if one.name not in ("legs", "drops", "error"))
_TRADE_PARTS = ("legs", "orders", "fills", "adjustments", "error", "context")
_TRADE_FIELDS = tuple(one.name for one in fields(Trade) if one.name not in _TRADE_PARTS)
_WISHED_LEGS = TypeAdapter(tuple[Leg, ...])


def column_names(table: Table) -> tuple[str, ...]:
    """The columns that a row of ours fills; ``number`` is the database's."""
    return tuple(column.name for column in table.columns if column.name != "number")


TRADE_COLUMNS = column_names(trades)
LEG_COLUMNS = column_names(legs)
ORDER_COLUMNS = column_names(orders)
FILL_COLUMNS = column_names(fills)


def trade_values(trade: Trade) -> Values:
    """The row of a trade alone."""
    values: Values = {name: getattr(trade, name) for name in _TRADE_FIELDS}
    values["error"] = _error_values(trade.error)
    values["context"] = dict(trade.context)
    return values


def leg_values(leg: Leg, trade: Trade) -> Values:
    """The row of a leg."""
    return {"trade_id": trade.id} | {name: getattr(leg, name) for name in _LEG_FIELDS}


def adjustment_values(adjustment: Adjustment, trade: Trade) -> Values:
    """The row of an adjustment; the exits that it wishes for are values of it."""
    values: Values = {name: getattr(adjustment, name) for name in _ADJUSTMENT_FIELDS}
    values["trade_id"] = trade.id
    values["legs"] = _WISHED_LEGS.dump_python(adjustment.legs, mode="json")
    values["drops"] = [role.value for role in adjustment.drops]
    values["error"] = _error_values(adjustment.error)
    return values


def _error_values(error: TradeError | None) -> Values | None:
    return None if error is None else asdict(error)


def order_values(order: Order, trade: Trade) -> Values:
    """The row of an order: its key, its request and its stamp are columns of it."""
    request, stamp = order.request, order.stamp
    values: Values = {name: getattr(request, name) for name in _REQUEST_FIELDS}
    values.update({name: getattr(order, name) for name in _ORDER_FIELDS})
    values["trade_id"] = trade.id
    values["role"] = order.key.role
    values["attempt"] = order.key.attempt
    values["stamp_value"] = None if stamp is None else stamp.value
    values["stamp_dead_after"] = None if stamp is None else stamp.dead_after
    return values


def fill_values(fill: FillReport, trade: Trade) -> Values:
    """The row of a fill."""
    values: Values = {name: getattr(fill, name) for name in _FILL_FIELDS}
    values["trade_id"] = trade.id
    values["account_id"] = trade.account_id
    return values


def read_leg(row: Row) -> Leg:
    """The leg in a row."""
    return Leg(**{name: row[name] for name in _LEG_FIELDS})


def read_adjustment(row: Row) -> Adjustment:
    """The adjustment in a row."""
    return Adjustment(
        **{name: row[name] for name in _ADJUSTMENT_FIELDS},
        legs=_WISHED_LEGS.validate_python(row["legs"]),
        drops=tuple(OrderRole(role) for role in row["drops"]),
        error=_read_error(row["error"]),
    )


def _read_error(values: Mapping[str, Any] | None) -> TradeError | None:
    return None if values is None else TradeError(**{**values, "code": ErrorCode(values["code"])})


def read_order(row: Row) -> Order:
    """The order in a row."""
    stamp = None
    if row["stamp_value"] is not None:
        stamp = RequestStamp(value=row["stamp_value"], dead_after=row["stamp_dead_after"])
    return Order(
        key=ClientOrderId(row["trade_id"], row["role"], row["attempt"]),
        request=OrderRequest(**{name: row[name] for name in _REQUEST_FIELDS}),
        stamp=stamp,
        **{name: row[name] for name in _ORDER_FIELDS},
    )


def read_fill(row: Row) -> FillReport:
    """The fill in a row."""
    return FillReport(**{name: row[name] for name in _FILL_FIELDS})


def read_trades(
    trade_rows: Sequence[Row],
    leg_rows: Sequence[Row],
    adjustment_rows: Sequence[Row],
    order_rows: Sequence[Row],
    fill_rows: Sequence[Row],
) -> Found[Trade]:
    """Whole trades from their rows; parts come in the order in which they were recorded.

    A trade is read whole or not at all: one part that can't be read makes it unreadable.
    """
    parts = {row["id"]: _Parts() for row in trade_rows}
    for row in leg_rows:
        parts[row["trade_id"]].legs.append(row)
    for row in adjustment_rows:
        parts[row["trade_id"]].adjustments.append(row)
    for row in order_rows:
        parts[row["trade_id"]].orders.append(row)
    for row in fill_rows:
        parts[row["trade_id"]].fills.append(row)
    return read_each(trade_rows, lambda row: _read_trade(row, parts[row["id"]]), _unreadable_trade)


def read_orders(rows: Sequence[Row]) -> Found[Order]:
    """Orders alone, from their rows."""
    return read_each(rows, read_order, _unreadable_order)


def _unreadable_trade(row: Row, problem: str) -> Unreadable:
    return Unreadable(kind="trade", id=row["id"], problem=problem, asset=row["asset"], decision_id=row["decision_id"])


def _unreadable_order(row: Row, problem: str) -> Unreadable:
    return Unreadable(kind="order", id=row["client_order_id"], problem=problem, asset=row["symbol"])


@dataclass(slots=True)
class _Parts:
    legs: list[Row] = field(default_factory=list)
    adjustments: list[Row] = field(default_factory=list)
    orders: list[Row] = field(default_factory=list)
    fills: list[Row] = field(default_factory=list)


def _read_trade(row: Row, parts: _Parts) -> Trade:
    return Trade(
        **{name: row[name] for name in _TRADE_FIELDS},
        legs=tuple(map(read_leg, parts.legs)),
        adjustments=tuple(map(read_adjustment, parts.adjustments)),
        orders=tuple(map(read_order, parts.orders)),
        fills=tuple(map(read_fill, parts.fills)),
        error=_read_error(row["error"]),
        context=row["context"],
    )
