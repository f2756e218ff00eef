"""Decisions: accepted once, completed when their last asset has ended (scenario C5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Select, bindparam, delete, insert, select, update

from app.db.port import Database, Landing, Read, Reader, Unit, Write
from app.db.statements import Query, Row, Statement
from app.domain.events import Event
from app.domain.tracing import TRACEPARENT
from app.models.decisions import asset_results, decisions
from app.models.trades import legs, orders, trades
from app.repositories.pages import Page, Show, Slice, make_slice, read_page, slice_parameters
from app.repositories.readable import Found, Unreadable, read_each, the_only
from app.schemas.result import AssetResult, ExecutionResult, ResultStatus

_INSERT = Statement(
    insert(decisions)
    .values({column.name: bindparam(column.name) for column in decisions.columns if column.name != "number"})
    .inline()
)
_COMPLETE = Statement(
    update(decisions)
    .where(decisions.c.account_id == bindparam("account"), decisions.c.decision_id == bindparam("decision"))
    .values({name: bindparam(name) for name in ("status", "result", "completed_at")})
)
_FIND = Query(select(decisions).where(decisions.c.decision_id == bindparam("decision")))
_PLANNED = (
    select(trades.c.id)
    .where(trades.c.account_id == bindparam("account"), trades.c.decision_id == bindparam("decision"))
    .scalar_subquery()
)
_WITHDRAW = (
    *(Statement(delete(parts).where(parts.c.trade_id.in_(_PLANNED))) for parts in (legs, orders)),
    *(
        Statement(
            delete(of_decision).where(
                of_decision.c.account_id == bindparam("account"), of_decision.c.decision_id == bindparam("decision")
            )
        )
        for of_decision in (trades, decisions)
    ),
)
_FORGET_RESULT = Statement(
    delete(asset_results).where(
        asset_results.c.decision_id == bindparam("decision"), asset_results.c.asset == bindparam("name")
    )
)
_ADD_RESULT = Statement(
    insert(asset_results).values({column.name: bindparam(column.name) for column in asset_results.columns}).inline()
)
_FORGET_RESULTS = Statement(delete(asset_results).where(asset_results.c.decision_id == bindparam("decision")))
_RESULTS_OF_ONE = Query(select(asset_results).where(asset_results.c.decision_id == bindparam("decision")))
_RESULTS_OF_ACCOUNT = Query(select(asset_results).where(asset_results.c.account_id == bindparam("account")))
_BODY = Query(select(decisions.c.body).where(decisions.c.decision_id == bindparam("decision")))
_UNFINISHED = Query(
    select(decisions)
    .where(decisions.c.account_id == bindparam("account"), decisions.c.completed_at.is_(None))
    .order_by(decisions.c.number)
)


def _page(clause: Select[*tuple[Any, ...]]) -> Query:
    return Query(clause.order_by(decisions.c.number.desc()).limit(bindparam("limit")))


def _results_of_page(clause: Select[*tuple[Any, ...]]) -> Query:
    chosen = clause.with_only_columns(decisions.c.decision_id).order_by(decisions.c.number.desc())
    return Query(
        select(asset_results).where(asset_results.c.decision_id.in_(chosen.limit(bindparam("limit")).scalar_subquery()))
    )


_FIRST = select(decisions)
_NEXT = select(decisions).where(decisions.c.number < bindparam("before"))
_FIRST_PAGE = (_page(_FIRST), _results_of_page(_FIRST))
_NEXT_PAGE = (_page(_NEXT), _results_of_page(_NEXT))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDecision:
    """A decision on record. ``body`` is what the sender said; ``result`` is None until every asset has ended.

    ``asset_results`` are the results of assets that have ended before that.
    """

    account_id: str
    decision_id: str
    body_hash: str
    body: Mapping[str, Any]
    status: ResultStatus
    received_at: datetime
    result: ExecutionResult | None = None
    completed_at: datetime | None = None
    asset_results: tuple[AssetResult, ...] = ()


class DecisionRepository:
    """Decisions of all accounts; a decision id is used once, whichever account it is for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accept(
        self,
        decision_id: str,
        account_id: str,
        body_hash: str,
        body: Mapping[str, Any],
        received_at: datetime,
        events: Sequence[Event],
        *,
        must_land: bool = False,
    ) -> Landing:
        """Record a decision that nobody has seen before, as pending; await it before anything is sent.

        The future raises StoreConflict when the id is taken, and StoreUnavailable when nothing was recorded; with
        ``must_land`` it is recorded as soon as the database takes it.
        """
        values = {
            "account_id": account_id,
            "decision_id": decision_id,
            "body_hash": body_hash,
            "body": body,
            "status": ResultStatus.PENDING,
            "result": None,
            "received_at": received_at,
            "completed_at": None,
        }
        return self._database.enqueue(Unit((Write(_INSERT, values),), tuple(events), must_land=must_land))

    def withdraw(self, account_id: str, decision_id: str) -> Landing:
        """Forget a decision of which nothing was sent, and what was planned for it, if it is on record. Must land."""
        values = {"account": account_id, "decision": decision_id}
        return self._database.enqueue(Unit(tuple(Write(one, values) for one in _WITHDRAW), must_land=True))

    def record_asset_result(
        self, account_id: str, decision_id: str, asset: str, result: Mapping[str, Any], now: datetime
    ) -> Landing:
        """Record how one asset has ended while others are at work, in place of what was known of it. Must land.

        ``result`` is the :class:`AssetResult` as JSON values.
        """
        values = {
            "decision_id": decision_id,
            "asset": asset,
            "account_id": account_id,
            "result": result,
            "recorded_at": now,
        }
        forget = Write(_FORGET_RESULT, {"decision": decision_id, "name": asset})
        return self._database.enqueue(Unit((forget, Write(_ADD_RESULT, values)), must_land=True))

    def complete(
        self,
        account_id: str,
        decision_id: str,
        status: ResultStatus,
        result: Mapping[str, Any],
        completed_at: datetime,
        events: Sequence[Event],
    ) -> Landing:
        """Record how a decision ended; a later, corrected result takes its place (scenario U10). Must land.

        ``result`` is the :class:`ExecutionResult` as JSON values.
        """
        values = {
            "account": account_id,
            "decision": decision_id,
            "status": status,
            "result": result,
            "completed_at": completed_at,
        }
        writes = (Write(_COMPLETE, values, expect_rows=1), Write(_FORGET_RESULTS, {"decision": decision_id}))
        return self._database.enqueue(Unit(writes, tuple(events), must_land=True))

    async def find(self, decision_id: str) -> StoredDecision | None:
        """The decision with that id, whichever account it is for.

        Raises:
            StoreUnavailable: the database did not answer.
            UnreadableRecord: it is on record, and can't be read.
        """
        of_one = {"decision": decision_id}
        rows, ended = await self._database.snapshot(Read(_FIND, of_one), Read(_RESULTS_OF_ONE, of_one))
        return the_only(_read_decisions(rows, ended))

    async def traceparent(self, decision_id: str) -> object:
        """The ``traceparent`` that a decision came with, as it was sent; None without one.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        rows = await self._database.fetch(_BODY, {"decision": decision_id})
        return rows[0]["body"].get(TRACEPARENT) if rows else None

    async def unfinished(self, account_id: str) -> Found[StoredDecision]:
        """Decisions of an account without an end, oldest first.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        of_account = {"account": account_id}
        rows, ended = await self._database.snapshot(
            Read(_UNFINISHED, of_account), Read(_RESULTS_OF_ACCOUNT, of_account)
        )
        return _read_decisions(rows, ended)

    async def shown(self, decision_id: str, show: Show[StoredDecision]) -> bytes | None:
        """The decision with that id, for somebody who only looks.

        Raises:
            StoreUnavailable: the database did not answer.
            UnreadableRecord: it is on record, and can't be read.
        """
        return await self._database.browse(partial(_show_one, show, decision_id))

    async def page(self, show: Show[StoredDecision], limit: int, cursor: str | None = None) -> Page:
        """At most ``limit`` decisions, newest first.

        Raises:
            InvalidCursor: ``cursor`` is not one that an earlier page gave.
            StoreUnavailable: the database did not answer.
        """

        async def ask(wanted: int, before: int | None) -> Slice:
            return await self._database.browse(partial(_show_some, show, wanted, before))

        return await read_page(ask, limit, cursor)


def _show_one(show: Show[StoredDecision], decision_id: str, reader: Reader) -> bytes | None:
    of_one = {"decision": decision_id}
    decision = the_only(_read_decisions(*reader(Read(_FIND, of_one), Read(_RESULTS_OF_ONE, of_one))))
    return None if decision is None else show(decision)


def _show_some(show: Show[StoredDecision], wanted: int, before: int | None, reader: Reader) -> Slice:
    queries = _FIRST_PAGE if before is None else _NEXT_PAGE
    parameters = slice_parameters(wanted, before)
    rows, ended = reader(*(Read(query, parameters) for query in queries))
    numbers = [row["number"] for row in rows]
    return make_slice(zip(numbers, _read_decisions(rows, ended).rows, strict=True), show, wanted)


def _read_decisions(rows: Iterable[Row], ended: Iterable[Row]) -> Found[StoredDecision]:
    return read_each(
        rows,
        lambda row: _stored(row, ended),
        lambda row, problem: Unreadable(kind="decision", id=row["decision_id"], problem=problem),
    )


def _stored(row: Row, ended: Iterable[Row]) -> StoredDecision:
    values = {column.name: row[column.name] for column in decisions.columns}
    values["asset_results"] = tuple(
        AssetResult.model_validate(one["result"]) for one in ended if one["decision_id"] == row["decision_id"]
    )
    del values["number"]
    if values["result"] is not None:
        values["result"] = ExecutionResult.model_validate(values["result"])
    return StoredDecision(**values)
