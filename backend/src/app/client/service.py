"""The typed client, for decision engines. ``docs/client.md`` shows it at work, and a test runs what it shows."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError

from app.client.connection import Answer, Connection, connection
from app.client.errors import NotTheService, Refused, Unreachable
from app.core.clock import SystemClock
from app.core.randomness import SystemRandomness
from app.domain.events import EventType
from app.domain.formats import DecisionFormat
from app.domain.ids import IdSource
from app.domain.ports import Clock
from app.schemas.control import (
    ClosedPosition,
    HaltedDocument,
    ReconciliationDocument,
    ResumedDocument,
    StatusDocument,
)
from app.schemas.decision import TradingDecision
from app.schemas.events import EventDocument
from app.schemas.explanation import Explanation
from app.schemas.fields import iso
from app.schemas.records import (
    AccountDocument,
    DecisionDocument,
    ListDocument,
    OrderDocument,
    PositionDocument,
    ProjectionDocument,
    TradeDocument,
)
from app.schemas.result import AssetResult, ExecutionResult, ResultStatus

Decision = TradingDecision | Mapping[str, Any] | bytes
"""A decision as a value, as JSON values, or as JSON text. Text is sent as it is."""

_LONGEST_WAIT_S = 120
_MARGIN_S = 0.05
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_KNOWN_EVENTS = frozenset(EventType)
DocumentT = TypeVar("DocumentT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Submitted:
    """The result so far; ``is_replay`` when the decision was sent before, so that nothing was traded now."""

    result: ExecutionResult
    is_replay: bool


class ServiceClient:
    """One service, typed. Every call raises ``Refused`` when it says no, ``Unreachable`` when nobody answers.

    Numbers are ``Decimal``, times are aware, statuses are enums. Fields that a newer service adds are ignored.
    """

    def __init__(self, to: Connection, clock: Clock, ids: IdSource) -> None:
        self._to = to
        self._clock = clock
        self._ids = ids

    # --- decisions ---------------------------------------------------------------------------------------------------

    async def execute(
        self, decision: Decision, *, timeout_s: float = 120, shape: DecisionFormat | None = None
    ) -> ExecutionResult:
        """Carry a decision out once: send it, follow it to its end, through lost answers and restarts of the service.

        One without an id gets an id and a time here, so that sending it again can't trade twice, and what arrives too
        late is refused as stale. Text is sent as it is, and only once unless it has an id; ``shape`` names the engine
        whose document it is, where it is not ours.

        Returns:
            Its result; still ``pending`` when it has not ended after ``timeout_s``.

        Raises:
            Refused: for good, or still after ``timeout_s``.
            Unreachable: still after ``timeout_s``. Whether it was carried out is not known; ask with its id.
        """
        body, may_repeat = self._prepared(decision)
        end = self._clock.monotonic() + timeout_s
        pause_s = _FIRST_PAUSE_S
        while True:
            remaining_s = max(0.0, end - self._clock.monotonic())
            try:
                answer = await self._to.submit(body, wait_s=min(_LONGEST_WAIT_S, remaining_s), shape=shape)
            except (Refused, Unreachable) as error:
                is_final = isinstance(error, NotTheService) or (isinstance(error, Refused) and not error.is_passing)
                if is_final or not may_repeat or remaining_s <= pause_s:
                    raise
                await self._clock.sleep(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
                continue
            result = _read(ExecutionResult, answer.document)
            if result.status is not ResultStatus.PENDING or not may_repeat or remaining_s <= _MARGIN_S:
                return result

    async def submit(self, decision: Decision, *, wait_s: float = 30, shape: DecisionFormat | None = None) -> Submitted:
        """Send a decision once, and wait up to ``wait_s`` (0 to 120) seconds for its end.

        Give it an id of your own when you may send it again: the same id is never carried out twice.
        """
        answer: Answer = await self._to.submit(self._prepared(decision)[0], wait_s=wait_s, shape=shape)
        return Submitted(_read(ExecutionResult, answer.document), answer.is_replay)

    async def explain(self, decision: Decision, *, shape: DecisionFormat | None = None) -> Explanation:
        """What it would do, check by check; sends and keeps nothing."""
        return _read(Explanation, await self._to.explain(_text(decision), shape=shape))

    async def decision(self, decision_id: str) -> DecisionDocument:
        """A stored decision with its result so far."""
        return _read(DecisionDocument, await self._to.get(f"/v1/decisions/{_part(decision_id)}"))

    async def decisions(self, *, limit: int = 50, cursor: str | None = None) -> ListDocument[DecisionDocument]:
        """A page of stored decisions, newest first."""
        return _read(ListDocument[DecisionDocument], await self._to.get("/v1/decisions", limit=limit, cursor=cursor))

    # --- records -----------------------------------------------------------------------------------------------------

    async def trades(
        self, *, status: Iterable[str] = (), asset: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> ListDocument[TradeDocument]:
        """A page of trades, newest first."""
        wanted = ",".join(status) or None
        page = await self._to.get("/v1/trades", status=wanted, asset=asset, limit=limit, cursor=cursor)
        return _read(ListDocument[TradeDocument], page)

    async def trade(self, trade_id: str) -> TradeDocument:
        """One trade with its orders and fills."""
        return _read(TradeDocument, await self._to.get(f"/v1/trades/{_part(trade_id)}"))

    async def orders(
        self, *, status: Iterable[str] = (), asset: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> ProjectionDocument[OrderDocument]:
        """A page of the service's orders, the latest recorded first."""
        wanted = ",".join(status) or None
        page = await self._to.get("/v1/orders", status=wanted, asset=asset, limit=limit, cursor=cursor)
        return _read(ProjectionDocument[OrderDocument], page)

    async def positions(self, *, asset: str | None = None) -> ProjectionDocument[PositionDocument]:
        """Open positions as the exchange last told them."""
        return _read(ProjectionDocument[PositionDocument], await self._to.get("/v1/positions", asset=asset))

    async def accounts(self) -> tuple[AccountDocument, ...]:
        """Every account with its balances and whether it may trade."""
        return _read(ListDocument[AccountDocument], await self._to.get("/v1/accounts")).items

    # --- control -----------------------------------------------------------------------------------------------------

    async def status(self) -> StatusDocument:
        """Mode, readiness, halts and the event log's head."""
        return _read(StatusDocument, await self._to.get("/v1/status"))

    async def close(self, asset: str, *, account_id: str | None = None) -> AssetResult:
        """Close one position at market and cancel its protective orders."""
        path = f"/v1/positions/{_part(asset)}/close"
        return _read(AssetResult, await self._to.post(path, account_id=account_id))

    async def close_all(self, *, account_id: str | None = None) -> tuple[ClosedPosition, ...]:
        """Close every position that the service opened. None: on every account."""
        return _read(
            ListDocument[ClosedPosition], await self._to.post("/v1/positions/close", account_id=account_id)
        ).items

    async def reconcile(self, *, account_id: str | None = None) -> ReconciliationDocument:
        """Compare the record with the exchange now."""
        return _read(ReconciliationDocument, await self._to.post("/v1/reconcile", account_id=account_id))

    async def halt(self, reason: str, *, flatten: bool = False, account_id: str | None = None) -> HaltedDocument:
        """Stop entries, over restarts; with ``flatten`` close everything as well. None: every account."""
        body = json.dumps({"reason": reason, "flatten": flatten}).encode()
        return _read(HaltedDocument, await self._to.post("/v1/halt", body, account_id=account_id))

    async def resume(self, *, account_id: str | None = None) -> ResumedDocument:
        """Accept entries again. Needs a token with the scope ``admin``."""
        return _read(ResumedDocument, await self._to.post("/v1/resume", account_id=account_id))

    # --- events ------------------------------------------------------------------------------------------------------

    async def events(
        self, after: int | None = None, types: Iterable[EventType] = (), *, patience_s: float = 60
    ) -> AsyncGenerator[EventDocument, None]:
        """The event log behind ``after`` (None: from now on), then live, without a gap or a repetition.

        Lost connections are taken up again from the last event for ``patience_s``, restarts of the service included.
        Events of kinds that this version does not know are left out.
        """
        stream = self._to.events(after, [kind.value for kind in types], patience_s=patience_s)
        async with contextlib.aclosing(stream) as documents:
            async for document in documents:
                if document["type"] in _KNOWN_EVENTS:
                    yield _read(EventDocument, document)

    def _prepared(self, decision: Decision) -> tuple[bytes, bool]:
        """A decision's text, and whether it has an id, so that it may be sent again."""
        if isinstance(decision, bytes):
            return decision, _has_id(decision)
        said = _said(decision)
        if said.get("decision_id") is None:  # with an id of the caller's, a time of ours would make it another decision
            said["decision_id"] = self._ids.new()
            if said.get("timestamp") is None:
                said["timestamp"] = iso(self._clock.now())
        return _encoded(said), True


def _said(decision: TradingDecision | Mapping[str, Any]) -> dict[str, Any]:
    return decision.body() if isinstance(decision, TradingDecision) else dict(decision)


def _text(decision: Decision) -> bytes:
    return decision if isinstance(decision, bytes) else _encoded(_said(decision))


def _encoded(said: dict[str, Any]) -> bytes:
    """JSON text; a Decimal inside becomes text, which is as exact."""
    return json.dumps(said, default=str).encode()


def _has_id(text: bytes) -> bool:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("decision_id") is not None


def _part(text: str) -> str:
    """``text`` as one segment of a path."""
    return quote(text, safe="")


def _read(kind: type[DocumentT], document: Any) -> DocumentT:
    """A document as a value.

    Raises:
        NotTheService: it is none of this kind.
    """
    try:
        return TypeAdapter(kind).validate_python(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise NotTheService(f"the answer is no {kind.__name__}: {place}: {first['msg']}") from None


@asynccontextmanager
async def connected(url: str, token: str | None = None, *, clock: Clock | None = None) -> AsyncIterator[ServiceClient]:
    """A client of the service at ``url``; nothing is sent before the first call."""
    clock = clock or SystemClock()
    async with connection(url, token, clock=clock) as to:
        yield ServiceClient(to, clock, IdSource(clock, SystemRandomness()))
