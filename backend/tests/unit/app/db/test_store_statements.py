"""Statements are compiled once and take exactly their parameters."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from sqlalchemy import Column, MetaData, Table, bindparam, insert, select, update

from app.db.event_log import INSERT_EVENT
from app.db.statements import POSTGRESQL, SQLITE, Query, Statement
from app.db.types import Money, Whole
from app.domain.errors import InvariantBroken
from app.domain.orders import OrderState
from app.domain.trades import TradeStatus
from app.models import metadata
from app.repositories import decisions, events, flags, trade_queries, trade_writes, trades

PRICES = Table("prices", MetaData(), Column("id", Whole, primary_key=True), Column("price", Money, nullable=False))


def test_a_statement_binds_its_parameters_and_constants_in_order() -> None:
    """Constants are encoded once, parameters each time."""
    statement = Statement(
        update(PRICES)
        .where(PRICES.c.price == Decimal("1.50"), PRICES.c.id == bindparam("key"))
        .values({"price": bindparam("price")})
    ).compiled(SQLITE)
    assert statement.text == "UPDATE prices SET price=? WHERE prices.price = ? AND prices.id = ?"
    assert statement.bind({"key": 7, "price": Decimal(2)}) == ("2", "1.50", 7)


@pytest.mark.parametrize("parameters", [{}, {"id": 1}, {"id": 1, "price": Decimal(1), "prise": Decimal(1)}])
def test_missing_and_unknown_parameters_are_refused(parameters: dict[str, object]) -> None:
    """A misspelt parameter never writes NULL."""
    statement = Statement(insert(PRICES).values({"id": bindparam("id"), "price": bindparam("price")}))
    with pytest.raises(InvariantBroken, match="pri"):
        statement.compiled(SQLITE).bind(parameters)


def test_a_query_decodes_its_columns() -> None:
    """Rows come out as values of the domain."""
    query = Query(select(PRICES.c.id, PRICES.c.price)).compiled(SQLITE)
    assert query.rows([(1, "0.10")]) == [{"id": 1, "price": Decimal("0.10")}]


def test_statements_are_compiled_once() -> None:
    """The hot path never meets the compiler."""
    statement = Statement(insert(PRICES).values({"id": bindparam("id"), "price": bindparam("price")}))
    assert statement.compiled(SQLITE) is statement.compiled(SQLITE)


def test_the_event_statement_starts_with_seq() -> None:
    """The commit puts ``seq`` in front of a row that is encoded already."""
    assert INSERT_EVENT.compiled(SQLITE).text.startswith("INSERT INTO events (seq, ")


def every_statement() -> Iterator[Statement | Query]:
    for module in (decisions, events, flags, trades):
        yield from (value for value in vars(module).values() if isinstance(value, Statement | Query))
    yield from trade_queries.ONE_TRADE
    yield from trade_queries.ALL_OPEN
    yield from trade_queries.trades_page_queries(frozenset(TradeStatus), by_asset=True, by_cursor=True)
    yield trade_queries.orders_page_query(frozenset(OrderState), by_asset=True, by_cursor=True)
    for name in ("trades", "legs", "orders", "fills"):
        table = metadata.tables[name]
        yield trade_writes._insert(table)
        yield trade_writes._update(table, trade_rows_columns(table))
        yield trade_writes._delete(table)


def trade_rows_columns(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.columns if column.name != "number")


def test_every_statement_compiles_in_both_dialects_with_the_same_parameters() -> None:
    """PostgreSQL runs the same units: nothing SQLite-only has crept into a statement."""
    for statement in every_statement():
        ours, theirs = statement.compiled(SQLITE), statement.compiled(POSTGRESQL)
        assert ours.names == theirs.names
        assert "RETURNING" not in theirs.text
