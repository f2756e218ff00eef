"""What a change of a trade writes: the difference between two states, row by row and column by column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy import Table, and_, bindparam, delete, insert, update

from app.db.port import Write
from app.db.statements import Statement
from app.domain.errors import InvariantBroken
from app.domain.trades import Trade
from app.models.trades import adjustments, fills, legs, orders, trades
from app.repositories import trade_rows
from app.repositories.trade_rows import Values

_KEYS: dict[Table, tuple[str, ...]] = {
    trades: ("id",),
    legs: ("trade_id", "role"),
    adjustments: ("trade_id", "decision_id"),
    orders: ("client_order_id", "trade_id"),
    fills: ("account_id", "symbol", "exchange_trade_id", "trade_id"),
}
"""What names a row, its trade included: a fill or an order never moves to another trade."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A table whose rows are parts of a trade; ``name`` tells one item of a trade from the others."""

    table: Table
    of: Callable[[Trade], Sequence[Any]]
    name: Callable[[Any], Any]
    values: Callable[[Any, Trade], Values]
    may_vanish: bool = False


_PARTS = (
    _Part(legs, attrgetter("legs"), attrgetter("role"), trade_rows.leg_values, may_vanish=True),
    _Part(adjustments, attrgetter("adjustments"), attrgetter("decision_id"), trade_rows.adjustment_values),
    _Part(orders, attrgetter("orders"), attrgetter("client_order_id"), trade_rows.order_values),
    _Part(fills, attrgetter("fills"), attrgetter("symbol", "exchange_trade_id"), trade_rows.fill_values),
)


def additions(trade: Trade) -> Iterable[Write]:
    """Writes that record a whole new trade."""
    yield Write(_insert(trades), trade_rows.trade_values(trade))
    for part in _PARTS:
        for item in part.of(trade):
            yield Write(_insert(part.table), part.values(item, trade))


def changes(before: Trade, after: Trade) -> Iterable[Write]:
    """Writes that turn the rows of ``before`` into those of ``after``: only what differs.

    Raises:
        InvariantBroken: the two are not one trade, or an order or a fill has vanished.
    """
    if (before.id, before.account_id) != (after.id, after.account_id):
        raise InvariantBroken(f"trade {before.id} can't become trade {after.id}")
    yield from _row_changes(trades, trade_rows.trade_values(before), trade_rows.trade_values(after))
    for part in _PARTS:
        yield from _part_changes(part, before, after)


def _part_changes(part: _Part, before: Trade, after: Trade) -> Iterable[Write]:
    old, new = part.of(before), part.of(after)
    if old is new:
        return
    known = {part.name(item): item for item in old}
    for item in new:
        previous = known.pop(part.name(item), None)
        if previous is None:
            yield Write(_insert(part.table), part.values(item, after))
        elif previous is not item:
            yield from _row_changes(part.table, part.values(previous, before), part.values(item, after))
    for item in known.values():
        if not part.may_vanish:
            raise InvariantBroken(f"trade {after.id} has lost a row of {part.table.name}: {part.name(item)}")
        yield _removal(part.table, part.values(item, before))


def _row_changes(table: Table, old: Values, new: Values) -> Iterable[Write]:
    changed = tuple(name for name, value in new.items() if value != old[name])
    if changed:
        parameters = {name: new[name] for name in changed}
        parameters.update({f"key_{name}": new[name] for name in _KEYS[table]})
        yield Write(_update(table, changed), parameters, expect_rows=1)


def _removal(table: Table, values: Values) -> Write:
    return Write(_delete(table), {f"key_{name}": values[name] for name in _KEYS[table]}, expect_rows=1)


@cache
def _insert(table: Table) -> Statement:
    names = trade_rows.column_names(table)
    return Statement(insert(table).values({name: bindparam(name) for name in names}).inline())


@lru_cache(maxsize=512)
def _update(table: Table, changed: tuple[str, ...]) -> Statement:
    return Statement(update(table).where(_named(table)).values({name: bindparam(name) for name in changed}))


@cache
def _delete(table: Table) -> Statement:
    return Statement(delete(table).where(_named(table)))


def _named(table: Table) -> Any:
    return and_(*(table.c[name] == bindparam(f"key_{name}") for name in _KEYS[table]))
