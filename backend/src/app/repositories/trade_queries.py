"""Queries that find trades: five each, for the trades' rows and those of legs, adjustments, orders and fills."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import Column, Select, bindparam, literal_column, or_, select

from app.db.statements import Query
from app.domain.orders import OrderState
from app.domain.trades import ENDED, TradeStatus
from app.models.trades import adjustments, fills, legs, orders, trades

TradeQueries: TypeAlias = tuple[Query, Query, Query, Query, Query]


def _whole(chosen: Select[*tuple[Any, ...]]) -> TradeQueries:
    """``chosen`` selects trades; the parts are those of the same trades."""
    ids = chosen.with_only_columns(trades.c.id).scalar_subquery()

    def parts(table: Any) -> Query:
        return Query(select(table).where(table.c.trade_id.in_(ids)).order_by(table.c.number))

    return Query(chosen), parts(legs), parts(adjustments), parts(orders), parts(fills)


def _any_of(column: Column[Any], values: Iterable[Any]) -> Any:
    return or_(*(column == value for value in sorted(values)))


ONE_TRADE = _whole(select(trades).where(trades.c.id == bindparam("id")))
OF_DECISION = _whole(
    select(trades)
    .where(
        trades.c.account_id == bindparam("account"),
        or_(
            trades.c.decision_id == bindparam("decision"),
            trades.c.id.in_(
                select(adjustments.c.trade_id)
                .where(adjustments.c.decision_id == bindparam("decision"))
                .scalar_subquery()
            ),
        ),
    )
    .order_by(trades.c.number)
)
ALL_OPEN = _whole(
    select(trades)
    .where(trades.c.account_id == bindparam("account"), _any_of(trades.c.status, set(TradeStatus) - ENDED))
    .order_by(trades.c.number)
)
AWAITING_FUNDING = _whole(
    select(trades)
    # in the statement itself, and alone: so the index is used that holds only such trades
    .where(trades.c.account_id == bindparam("account"), trades.c.funding_looks > literal_column("0"))
    .order_by(trades.c.number)
)


@lru_cache(maxsize=128)
def trades_page_queries(statuses: frozenset[TradeStatus], *, by_asset: bool, by_cursor: bool) -> TradeQueries:
    """A page of trades, newest first. Parameters: ``limit``, and ``asset`` and ``before`` where asked for."""
    chosen = select(trades)
    if statuses:
        chosen = chosen.where(_any_of(trades.c.status, statuses))
    if by_asset:
        chosen = chosen.where(trades.c.asset == bindparam("asset"))
    if by_cursor:
        chosen = chosen.where(trades.c.number < bindparam("before"))
    return _whole(chosen.order_by(trades.c.number.desc()).limit(bindparam("limit")))


@lru_cache(maxsize=128)
def orders_page_query(states: frozenset[OrderState], *, by_asset: bool, by_cursor: bool) -> Query:
    """A page of orders, the latest recorded first; parameters as for trades."""
    chosen = select(orders)
    if states:
        chosen = chosen.where(_any_of(orders.c.state, states))
    if by_asset:
        chosen = chosen.where(orders.c.symbol == bindparam("asset"))
    if by_cursor:
        chosen = chosen.where(orders.c.number < bindparam("before"))
    return Query(chosen.order_by(orders.c.number.desc()).limit(bindparam("limit")))
