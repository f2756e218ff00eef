"""Trades with their legs, orders and fills. Each change of a trade is one unit, together with the events it causes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import bindparam, func, select, update

from app.db.port import Database, Landing, Read, Reader, Unit, Write
from app.db.statements import Query, Statement
from app.domain.events import Event
from app.domain.orders import Order, OrderState
from app.domain.trades import CloseReason, Trade, TradeStatus
from app.models.decisions import decisions
from app.models.trades import trades
from app.repositories import trade_rows
from app.repositories.pages import Page, Show, Slice, make_slice, read_page, slice_parameters
from app.repositories.readable import Found, the_only
from app.repositories.trade_queries import (
    ALL_OPEN,
    AWAITING_FUNDING,
    OF_DECISION,
    ONE_TRADE,
    orders_page_query,
    trades_page_queries,
)
from app.repositories.trade_writes import additions, changes

_TOUCH_DECISION = Statement(
    update(decisions)
    .where(decisions.c.account_id == bindparam("account"), decisions.c.decision_id == bindparam("decision"))
    .values(account_id=decisions.c.account_id)
)
_LAST_ACTIVITY = Query(
    select(
        trades.c.asset,
        func.max(trades.c.first_fill_at).label("first_fill_at"),
        func.max(trades.c.filled_at).label("filled_at"),
        func.max(trades.c.closed_at).label("closed_at"),
    )
    .where(trades.c.account_id == bindparam("account"), trades.c.first_fill_at.is_not(None))
    .group_by(trades.c.asset)
)


_EMERGENCIES = Query(
    select(trades.c.id, trades.c.closed_at).where(
        trades.c.account_id == bindparam("account"),
        trades.c.close_reason == CloseReason.EMERGENCY,
        trades.c.closed_at >= bindparam("since"),
    )
)


class TradeRepository:
    """Trades of all accounts. Futures are done when the fact is durable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record_intent(self, trade: Trade, events: Sequence[Event]) -> Landing:
        """Record a new trade with everything planned in it; await it before the entry is sent.

        The future raises StoreConflict when the trade is known already, or its decision is not: one that the database
        has just refused leaves no trade behind. It raises StoreUnavailable when nothing was recorded.
        """
        of_decision = {"account": trade.account_id, "decision": trade.decision_id}
        guard = Write(_TOUCH_DECISION, of_decision, expect_rows=1)
        return self._database.enqueue(Unit((guard, *additions(trade)), tuple(events)))

    def record_progress(self, before: Trade | None, after: Trade, events: Sequence[Event]) -> Landing:
        """Record what differs between two states of a trade; it happened, so it must land. None before: all of it.

        Raises:
            InvariantBroken: the two are not one trade, or an order or a fill has vanished.
        """
        writes = additions(after) if before is None else changes(before, after)
        return self._database.enqueue(Unit(tuple(writes), tuple(events), must_land=True, may_linger=True))

    def record_events(self, events: Sequence[Event]) -> Landing:
        """Record events that tell of no change of ours. They must land."""
        return self._database.enqueue(Unit((), tuple(events), must_land=True, may_linger=True))

    def settled(self) -> Landing:
        """Done when everything that was recorded before is durable, so that whoever asks reads it."""
        return self._database.enqueue(Unit(()))

    async def open_trades(self, account_id: str) -> Found[Trade]:
        """Every trade of the account that has not ended, oldest first.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        rows = await self._database.snapshot(*(Read(query, {"account": account_id}) for query in ALL_OPEN))
        return trade_rows.read_trades(*rows)

    async def awaiting_funding(self, account_id: str) -> list[Trade]:
        """Every trade of the account that is closed and of which funding is still looked for, oldest first.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        rows = await self._database.snapshot(*(Read(query, {"account": account_id}) for query in AWAITING_FUNDING))
        found = trade_rows.read_trades(*rows)
        return [trade for trade in found.items if trade.status is TradeStatus.CLOSED]

    async def get(self, trade_id: str) -> Trade | None:
        """The trade with that id.

        Raises:
            StoreUnavailable: the database did not answer.
            UnreadableRecord: it is on record, and can't be read.
        """
        rows = await self._database.snapshot(*(Read(query, {"id": trade_id}) for query in ONE_TRADE))
        return the_only(trade_rows.read_trades(*rows))

    async def of_decision(self, account_id: str, decision_id: str) -> Found[Trade]:
        """Every trade that a decision led to or changed.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        parameters = {"account": account_id, "decision": decision_id}
        rows = await self._database.snapshot(*(Read(query, parameters) for query in OF_DECISION))
        return trade_rows.read_trades(*rows)

    async def latest(self, statuses: frozenset[TradeStatus], limit: int) -> Found[Trade]:
        """The newest ``limit`` trades in one of ``statuses``, newest first.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        queries = trades_page_queries(statuses, by_asset=False, by_cursor=False)
        return trade_rows.read_trades(
            *await self._database.snapshot(*(Read(query, {"limit": limit}) for query in queries))
        )

    async def shown(self, trade_id: str, show: Show[Trade]) -> bytes | None:
        """The trade with that id, for somebody who only looks.

        Raises:
            StoreUnavailable: the database did not answer.
            UnreadableRecord: it is on record, and can't be read.
        """
        return await self._database.browse(partial(_show_one, show, trade_id))

    async def page(
        self,
        show: Show[Trade],
        status: TradeStatus | Collection[TradeStatus] | None = None,
        asset: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """At most ``limit`` trades, newest first; with ``status`` only those in it, or in one of several.

        Raises:
            InvalidCursor: ``cursor`` is not one that an earlier page gave.
            StoreUnavailable: the database did not answer.
        """
        statuses = frozenset([status]) if isinstance(status, TradeStatus) else frozenset(status or ())

        async def ask(wanted: int, before: int | None) -> Slice:
            return await self._database.browse(partial(_show_trades, show, statuses, asset, wanted, before))

        return await read_page(ask, limit, cursor)

    async def orders_page(
        self,
        show: Show[Order],
        status: OrderState | Collection[OrderState] | None = None,
        asset: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """At most ``limit`` orders, the latest recorded first; otherwise like ``page``."""
        states = frozenset([status]) if isinstance(status, OrderState) else frozenset(status or ())

        async def ask(wanted: int, before: int | None) -> Slice:
            return await self._database.browse(partial(_show_orders, show, states, asset, wanted, before))

        return await read_page(ask, limit, cursor)

    async def last_activity(self, account_id: str) -> dict[str, datetime]:
        """Per asset the later of the last executed entry and the last exit, for the cooldown (contract, section 3).

        Raises:
            StoreUnavailable: the database did not answer.
        """
        rows = await self._database.fetch(_LAST_ACTIVITY, {"account": account_id})
        return {
            row["asset"]: max(
                moment for moment in (row["first_fill_at"], row["filled_at"], row["closed_at"]) if moment is not None
            )
            for row in rows
        }

    async def emergencies(self, account_id: str, since: datetime) -> list[tuple[datetime, str]]:
        """When trades of the account were closed in an emergency since then, and which.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        rows = await self._database.fetch(_EMERGENCIES, {"account": account_id, "since": since})
        return [(row["closed_at"], row["id"]) for row in rows]


def _show_one(show: Show[Trade], trade_id: str, reader: Reader) -> bytes | None:
    trade = the_only(trade_rows.read_trades(*reader(*(Read(query, {"id": trade_id}) for query in ONE_TRADE))))
    return None if trade is None else show(trade)


def _show_trades(
    show: Show[Trade],
    statuses: frozenset[TradeStatus],
    asset: str | None,
    wanted: int,
    before: int | None,
    reader: Reader,
) -> Slice:
    queries = trades_page_queries(statuses, by_asset=asset is not None, by_cursor=before is not None)
    parameters = _parameters(asset, wanted, before)
    rows = reader(*(Read(query, parameters) for query in queries))
    numbers = [row["number"] for row in rows[0]]
    return make_slice(zip(numbers, trade_rows.read_trades(*rows).rows, strict=True), show, wanted)


def _show_orders(
    show: Show[Order],
    states: frozenset[OrderState],
    asset: str | None,
    wanted: int,
    before: int | None,
    reader: Reader,
) -> Slice:
    query = orders_page_query(states, by_asset=asset is not None, by_cursor=before is not None)
    (rows,) = reader(Read(query, _parameters(asset, wanted, before)))
    numbers = [row["number"] for row in rows]
    return make_slice(zip(numbers, trade_rows.read_orders(rows).rows, strict=True), show, wanted)


def _parameters(asset: str | None, wanted: int, before: int | None) -> dict[str, Any]:
    return slice_parameters(wanted, before) | ({} if asset is None else {"asset": asset})
