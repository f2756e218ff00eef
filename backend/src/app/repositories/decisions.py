"""Decisions: accepted once, completed when their last asset has ended (scenario C5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, insert, select, update

from app.db.port import Database, Landing, Unit, Write
from app.db.statements import Query, Row, Statement
from app.domain.events import Event
from app.domain.tracing import TRACEPARENT
from app.models.decisions import decisions
from app.repositories.pages import Page, make_page, page_parameters
from app.schemas.result import ExecutionResult, ResultStatus

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
_BODY = Query(select(decisions.c.body).where(decisions.c.decision_id == bindparam("decision")))
_UNFINISHED = Query(
    select(decisions)
    .where(decisions.c.account_id == bindparam("account"), decisions.c.completed_at.is_(None))
    .order_by(decisions.c.number)
)


def _page(clause: Select[*tuple[Any, ...]]) -> Query:
    return Query(clause.order_by(decisions.c.number.desc()).limit(bindparam("limit")))


_FIRST_PAGE = _page(select(decisions))
_NEXT_PAGE = _page(select(decisions).where(decisions.c.number < bindparam("before")))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDecision:
    """A decision on record. ``body`` is what the sender said; ``result`` is None until something is known."""

    account_id: str
    decision_id: str
    body_hash: str
    body: Mapping[str, Any]
    status: ResultStatus
    received_at: datetime
    result: ExecutionResult | None = None
    completed_at: datetime | None = None


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
    ) -> Landing:
        """Record a decision that nobody has seen before, as pending; await it before anything is sent.

        The future raises StoreConflict when the id is taken, and StoreUnavailable when nothing was recorded.
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
        return self._database.enqueue(Unit((Write(_INSERT, values),), tuple(events)))

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
        write = Write(_COMPLETE, values, expect_rows=1)
        return self._database.enqueue(Unit((write,), tuple(events), must_land=True))

    async def find(self, decision_id: str) -> StoredDecision | None:
        """The decision with that id, whichever account it is for.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        rows = await self._database.fetch(_FIND, {"decision": decision_id})
        return _stored(rows[0]) if rows else None

    async def traceparent(self, decision_id: str) -> object:
        """The ``traceparent`` that a decision came with, as it was sent; None without one.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        rows = await self._database.fetch(_BODY, {"decision": decision_id})
        return rows[0]["body"].get(TRACEPARENT) if rows else None

    async def unfinished(self, account_id: str) -> list[StoredDecision]:
        """Decisions of an account without an end, oldest first.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        return [_stored(row) for row in await self._database.fetch(_UNFINISHED, {"account": account_id})]

    async def page(self, limit: int, cursor: str | None = None) -> Page[StoredDecision]:
        """At most ``limit`` decisions, newest first.

        Raises:
            InvalidCursor: ``cursor`` is not one that an earlier page gave.
            StoreUnavailable: the database did not answer.
        """
        query = _FIRST_PAGE if cursor is None else _NEXT_PAGE
        rows = await self._database.fetch(query, page_parameters(limit, cursor))
        return make_page([_stored(row) for row in rows], [row["number"] for row in rows], limit)


def _stored(row: Row) -> StoredDecision:
    values = dict(row)
    del values["number"]
    if values["result"] is not None:
        values["result"] = ExecutionResult.model_validate(values["result"])
    return StoredDecision(**values)
