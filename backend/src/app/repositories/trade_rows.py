"""Between the values of a trade and their rows: names are the same wherever a value is a row's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Table

from app.db.statements import Row
from app.domain.errors import ErrorCode
from app.domain.ids import ClientOrderId
from app.domain.orders import Order
from app.domain.reports import FillReport, OrderRequest, RequestStamp
from app.domain.trades import Leg, Trade, TradeError
from app.models.trades import fills, legs, orders, trades

Values = dict[str, Any]

_REQUEST_FIELDS = tuple(field.name for field in fields(OrderRequest))
_ORDER_FIELDS = tuple(field.name for field in fields(Order) if field.name not in ("key", "request", "stamp"))
_LEG_FIELDS = tuple(field.name for field in fields(Leg))
_FILL_FIELDS = tuple(field.name for field in fields(FillReport))
_TRADE_FIELDS = tuple(
    field.name for field in fields(Trade) if field.name not in ("legs", "orders", "fills", "error", "context")
)


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
    values["error"] = None if trade.error is None else asdict(trade.error)
    values["context"] = dict(trade.context)
    return values


def leg_values(leg: Leg, trade: Trade) -> Values:
    """The row of a leg."""
    return {"trade_id": trade.id} | {name: getattr(leg, name) for name in _LEG_FIELDS}


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
    trade_rows: Sequence[Row], leg_rows: Sequence[Row], order_rows: Sequence[Row], fill_rows: Sequence[Row]
) -> list[Trade]:
    """Whole trades from their rows; parts come in the order in which they were recorded."""
    parts: dict[str, tuple[list[Leg], list[Order], list[FillReport]]] = {row["id"]: ([], [], []) for row in trade_rows}
    for row in leg_rows:
        parts[row["trade_id"]][0].append(read_leg(row))
    for row in order_rows:
        parts[row["trade_id"]][1].append(read_order(row))
    for row in fill_rows:
        parts[row["trade_id"]][2].append(read_fill(row))
    return [_read_trade(row, *parts[row["id"]]) for row in trade_rows]


def _read_trade(
    row: Row, trade_legs: Sequence[Leg], trade_orders: Sequence[Order], trade_fills: Sequence[FillReport]
) -> Trade:
    error: Mapping[str, Any] | None = row["error"]
    return Trade(
        **{name: row[name] for name in _TRADE_FIELDS},
        legs=tuple(trade_legs),
        orders=tuple(trade_orders),
        fills=tuple(trade_fills),
        error=None if error is None else TradeError(**{**error, "code": ErrorCode(error["code"])}),
        context=row["context"],
    )
